"""What a shell offers at the Tab key: commands, ``key=value`` words and the names of models.

typer writes the scripts of bash, zsh and fish (``zoo --install-completion``), and asks the group of commands; see
`zoo_runtime.words.WordsGroup`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

HIDDEN = ("help", "install-completion", "show-completion")


class Candidate(NamedTuple):
    """A word that may stand here, in the shape that typer prints."""

    value: str
    help: str = ""
    type: str = "plain"


def complete(context: Any, words: list[str], incomplete: str) -> list[Candidate]:
    """Return the words that may stand at the end of a command line; none leaves the place to the shell, for files.

    Args:
        context: typer's, of the group of all commands; groups in it are followed.
        words: The whole words after the program's name.
        incomplete: What is typed of the next. bash cuts ``key=value`` at the sign: then key and sign are words.
    """
    command, words = _command(context.command, words)
    options = _options(command)
    key, sign, typed = incomplete.rpartition("=")
    if not sign and words:  # bash: key [=] typed; any shell: --key typed
        key = words[-2] if words[-1] == "=" and len(words) > 1 else words[-1]
    name = key.lstrip("-").replace("_", "-")
    found: Iterable[Candidate]
    if name in options and not (options[name].is_flag and key.startswith("-")):
        before = f"{key}=" if sign else ""
        found = (Candidate(before + value) for value in _values(context, options[name], name, typed))
    elif incomplete.startswith("-"):
        found = (Candidate(f"--{name}", option.help or "") for name, option in options.items())
    elif hasattr(command, "commands"):
        found = (Candidate(name, _first_line(inner.help)) for name, inner in command.commands.items())
    else:
        free = {name: option for name, option in options.items() if not _is_given(name, words)}
        found = _words(context, command, free, incomplete)
    return [candidate for candidate in found if candidate.value.startswith(incomplete)]


def _command(group: Any, words: list[str]) -> tuple[Any, list[str]]:
    for start, word in enumerate(words, 1):
        if word in group.commands:
            command = group.commands[word]
            return _command(command, words[start:]) if hasattr(command, "commands") else (command, words[start:])
    return group, words


def _options(command: Any) -> dict[str, Any]:
    named = {name[2:]: option for option in command.params for name in option.opts if name.startswith("--")}
    return {name: option for name, option in named.items() if name not in HIDDEN}


def _is_given(name: str, words: list[str]) -> bool:
    keys = {word.partition("=")[0].replace("_", "-") for word in words}
    return name in keys or f"--{name}" in keys


def _words(context: Any, command: Any, options: dict[str, Any], incomplete: str) -> Iterator[Candidate]:
    """Where nothing is typed yet: what must be given; else keys, with their values, since shells put a space after."""
    for argument in command.params:
        if argument.param_type_name == "argument":
            yield from map(Candidate, _values(context, argument, argument.name, incomplete))
    for name, option in options.items():
        if option.required or incomplete:
            values = _values(context, option, name, "") or [str(option.default)] * (option.default not in (None, ""))
            yield from (Candidate(f"{name}={value}", option.help or "") for value in values or [""])


def _values(context: Any, option: Any, name: str, incomplete: str) -> list[str]:
    if getattr(option, "is_flag", False):
        return ["true", "false"]
    if known := _known(name):
        done, comma, _ = incomplete.rpartition(",")  # model=a,b
        return [f"{done}{comma}{value}" for value in known if value not in done.split(",")]
    found = option.shell_complete(context, incomplete)  # what a command says by autocompletion=
    return [item.value for item in found if item.type == "plain"]


def _known(name: str) -> list[str]:
    """Return the values of options that mean the same in every command."""
    from zoo_registry.store import BUNDLED, cache_folder, repositories
    from zoo_registry.versions import versions_in
    from zoo_runtime.backends import BACKENDS, DEVICES, DTYPES

    if name in ("model", "models", "dipole"):
        return sorted({*versions_in(BUNDLED), *versions_in(cache_folder()), *repositories()})
    words: dict[str, Iterable[str]] = {
        "backend": ("auto", *BACKENDS),
        "device": ("auto", *DEVICES),
        "dtype": DTYPES,
        "ensemble": ("nve", "langevin", "npt"),
    }
    return list(words.get(name, ()))


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]
