"""Writes docs/cli.md and docs/api.md from the program itself: ``python docs/reference.py``."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import typer

HERE = Path(__file__).parent
PYTHON = {
    "zoo_runtime": ["load", "Model", "Prediction"],
    "zoo_runtime.calculator": ["ZooCalculator"],
    "zoo_runtime.simulate": ["relax", "molecular_dynamics", "vibrations", "spectrum"],
}
CLI = """# Command line

Written by `python docs/reference.py` from the commands themselves; `zoo COMMAND --help` says the same.

Every option can be written `key=value`, `--key=value` or `--key value`, flags as `key=true` or `--key`; `_` and `-` are
the same in a key. Results go to standard output, progress, warnings and errors to standard error. Exit codes: 0 all
good, 1 a structure failed, 2 wrong usage, 3 no such model (or none that can run), 130 stopped by Ctrl-C.

`zoo --install-completion` teaches bash, zsh or fish to complete commands, keys, values and names of models with Tab.

"""
API = """# Python API

Written by `python docs/reference.py` from the code. Energies are in eV, lengths in Å, everywhere; each result says its
units. What can go wrong is a `ZooError` (`zoo_registry.errors`), whose text is one line made for a user.

"""


def main() -> None:
    """Write both pages."""
    (HERE / "cli.md").write_text(cli(), encoding="utf-8")
    (HERE / "api.md").write_text(api(), encoding="utf-8")


def cli() -> str:
    """Return the page of all commands."""
    return CLI + "\n".join(_commands("zoo", group()))


def group() -> Any:
    """Return all commands, those of the other rooms included."""
    from zoo.cli import register as register_training
    from zoo_export.cli import register as register_export
    from zoo_runtime.cli import build_app

    app = build_app()
    register_training(app)
    register_export(app)
    return typer.main.get_command(app)


def _commands(path: str, group: Any) -> list[str]:
    pages = []
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            pages += _commands(f"{path} {name}", command)
        else:
            pages.append(_command(f"{path} {name}", command))
    return pages


def _command(path: str, command: Any) -> str:
    shown = [parameter for parameter in command.params if parameter.name != "help"]
    words = [_usage(parameter) for parameter in shown if _is_argument(parameter) or parameter.required]
    options = any(not _is_argument(parameter) and not parameter.required for parameter in shown)
    lines = [f"## {path}", "", inspect.cleandoc(command.help), "", "```"]
    lines += [" ".join([path, *words, *["[key=value ...]"] * options]), "```", ""]
    if shown:
        lines += ["| word | default | meaning |", "| --- | --- | --- |"]
        lines += [f"| `{_word(p)}` | {_default(p)} | {_cell(p.help or '')} |" for p in shown]
        lines.append("")
    return "\n".join(lines)


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _word(parameter: Any) -> str:
    if _is_argument(parameter):
        return str(parameter.metavar or parameter.name.upper())
    key = next(name for name in parameter.opts if name.startswith("--"))
    return key if parameter.is_flag else f"{key[2:]}="


def _usage(parameter: Any) -> str:
    if not _is_argument(parameter):
        return f"{_word(parameter)}..."
    word = _word(parameter) + ("..." if parameter.nargs == -1 else "")
    return word if parameter.required else f"[{word}]"


def _default(parameter: Any) -> str:
    if parameter.required:
        return "*must be given*"
    plain = isinstance(parameter.default, (str, int, float, Path)) and not isinstance(parameter.default, bool)
    return f"`{parameter.default}`" if plain and str(parameter.default) else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def api() -> str:
    """Return the page of the public functions and classes, with a short form of it on top."""
    short, parts = [], []
    for module_name, names in PYTHON.items():
        module = importlib.import_module(module_name)
        short.append(f"# {module_name}")
        parts.append(f"## {module_name}\n\n{_text(module)}")
        for name in names:
            thing = getattr(module, name)
            short += _short(name, thing)
            parts.append(f"### {name}\n\n{_signature(name, thing)}\n{_text(thing)}")
            for method, function in _methods(thing).items():
                short += [f"    {line}" for line in _short(f".{method}", function)]
                parts.append(f"#### {name}.{method}\n\n{_signature(method, function)}\n{_text(function)}")
    page = "\n".join(["## On one page", "", "```python", *short, "```", ""])
    return "\n".join([API + page, *parts, "## zoo_registry.errors\n", _errors()])


def _methods(thing: Any) -> dict[str, Any]:
    functions = {name: value for name, value in getattr(thing, "__dict__", {}).items() if inspect.isfunction(value)}
    inherited = set(dir(thing.__mro__[1])) if functions else set()
    return {name: value for name, value in functions.items() if name[0] != "_" and name not in inherited}


def _short(name: str, thing: Any) -> list[str]:
    """Return a function with its parameters, or a dataclass with its fields, each in one line."""
    if dataclasses.is_dataclass(thing):
        means = dict(re.findall(r"^    (\w+): (.*)$", inspect.cleandoc(thing.__doc__), re.MULTILINE))
        fields = [
            f"    .{field.name}: {field.type}  # {means[field.name].partition(';')[0].rstrip('.')}"
            for field in dataclasses.fields(thing)
        ]
        return [f"{name}  # {_first(thing)}", *fields]
    return [f"{name}({', '.join(_parameters(thing, annotated=False))})  # {_first(thing)}"]


def _first(thing: Any) -> str:
    return inspect.cleandoc(thing.__doc__).partition("\n")[0]


def _parameters(thing: Any, annotated: bool = True) -> list[str]:
    """Return the parameters of a function as they are written."""
    found = []
    for name, parameter in inspect.signature(thing).parameters.items():
        kind = f": {parameter.annotation}" if annotated and isinstance(parameter.annotation, str) else ""
        equals = " = " if kind else "="
        default = "" if parameter.default is inspect.Parameter.empty else f"{equals}{parameter.default!r}"
        found += [] if name == "self" else [f"{name}{kind}{default}"]
    return found


def _signature(name: str, thing: Any) -> str:
    result = inspect.signature(thing).return_annotation
    arrow = f" -> {result}" if isinstance(result, str) and result != "None" else ""
    rows = "".join(f"    {text},\n" for text in _parameters(thing))
    return f"```python\n{name}(" + (f"\n{rows}" if rows else "") + f"){arrow}\n```\n"


def _text(thing: Any) -> str:
    """Return a docstring as Markdown: its sections as fenced blocks, which keep Google's layout."""
    lines: list[str] = []
    block = False
    for line in inspect.cleandoc(thing.__doc__ or "").splitlines():
        if block and line and not line.startswith(" "):
            lines[-1:] = ["```", ""] if lines[-1] == "" else [lines[-1], "```", ""]
            block = False
        if line in ("Args:", "Attributes:", "Returns:", "Yields:", "Raises:", "Example:"):
            lines += [f"**{line[:-1]}**", "", "```pycon" if line == "Example:" else "```text"]
            block = True
        else:
            lines.append(line.removeprefix("    ") if block else line.replace("``", "`"))
    return "\n".join(lines + ["```"] * block) + "\n"


def _errors() -> str:
    from zoo_registry import errors

    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, errors.ZooError)]
    rows = [f"| `{k.__name__}` | `{k.__base__.__name__}` | {k.exit_code} | {_cell(k.__doc__ or '')} |" for k in kinds]
    return "\n".join(["| error | is a | exit code | |", "| --- | --- | --- | --- |", *rows]) + "\n"


if __name__ == "__main__":
    main()
