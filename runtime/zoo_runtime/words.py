"""``key=value`` on the command line: rewritten to ``--key=value`` before it is parsed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from typer.core import TyperGroup

from zoo_registry.errors import UsageError, close_matches

KEY = re.compile(r"[A-Za-z][\w-]*")
LINE = "zoo_runtime.line"
FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class WordsGroup(TyperGroup):
    """A group of commands whose options can all be written ``key=value`` too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Rewrite the words of the command that they name, then parse as usual."""
        if ctx.resilient_parsing:  # a shell asks how the line could go on
            ctx.meta[LINE] = args
            args = []
        return super().parse_args(ctx, options_from_words(self, args))

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Return what may stand at the end of a line, for the Tab key."""
        from zoo_runtime.completion import complete

        return complete(ctx, ctx.meta[LINE], incomplete)


def options_from_words(group: Any, words: list[str]) -> list[str]:
    """Rewrite each ``key=value`` whose key is an option of the command, or one of its arguments.

    Any other word with ``=`` is a file if it exists. A command that reads settings of its own says so by typer's
    ``ignore_unknown_options``, and gets what is left.

    Args:
        group: The typer group of all commands; groups in it are followed.
        words: The words of the command line after the program's name.

    Raises:
        UsageError: A key that is no option; names the closest.
    """
    for start, word in enumerate(words, 1):
        if word in group.commands:
            command = group.commands[word]
            rewrite = options_from_words if hasattr(command, "commands") else _rewrite
            return words[:start] + rewrite(command, words[start:])
        if not word.startswith("-"):
            break
    return words


def _rewrite(command: Any, words: list[str]) -> list[str]:
    options = {name.lstrip("-"): option for option in command.params for name in option.opts if name.startswith("--")}
    result: list[str] = []
    is_value = False  # of the --option before it
    for index, word in enumerate(words):
        if word == "--":
            return result + words[index:]
        result += [word] if is_value else _rewrite_word(command, options, word)
        option = options.get(word.removeprefix("--")) if word.startswith("--") else None
        is_value = not is_value and option is not None and not option.is_flag
    return result


def _rewrite_word(command: Any, options: dict[str, Any], word: str) -> list[str]:
    key, equals, value = word.partition("=")
    name = key.replace("_", "-")
    arguments = [p.name for p in command.params if p.param_type_name == "argument" and p.nargs == 1]
    if not equals or not KEY.fullmatch(key):
        return [word]
    if name in options and options[name].is_flag:
        if value.lower() not in FLAGS:
            raise UsageError(f"{key}={value!r} must be true or false.")
        return [f"--{name}"] if FLAGS[value.lower()] else []
    if name in options:
        return [f"--{name}={value}"]
    if key in arguments:
        return [value]
    if command.context_settings.get("ignore_unknown_options") or Path(word).exists():
        return [word]
    raise UsageError(f"zoo {command.name} has no option {key!r}{close_matches(key, [*options, *arguments])}")
