"""The ``zoo`` command: how it is put together, and how every failure becomes one line and an exit code.

Other rooms, and other packages, join through the entry-point group ``zoo.commands``. The name of an entry point is
the extra of atomzoo that brings what its commands need.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Annotated, Any, NoReturn

import typer

from zoo_registry.errors import MissingDependency, YankedWarning, ZooError
from zoo_runtime.commands import (
    benchmark,
    doctor,
    environment,
    ipi,
    md,
    models,
    predict,
    publish,
    relax,
    spectrum,
    verify,
    vibrations,
)
from zoo_runtime.words import WordsGroup

ENTRY_POINTS = "zoo.commands"
ROOMS = ("zoo", "zoo_export", "zoo_runtime", "zoo_registry")


def main() -> NoReturn:
    """Run the ``zoo`` command and exit: 0 good, 1 a structure failed, 2 wrong usage, 3 no such model, 130 Ctrl-C."""
    sys.exit(run(sys.argv[1:]))


def run(words: list[str]) -> int:
    """Run the ``zoo`` command.

    Args:
        words: What follows the program's name.

    Returns:
        The exit code.
    """
    app = build_app()
    command = next((word for word in words if not word.startswith("-")), "")
    extras = {} if command in _commands(app) else add_rooms(app)
    try:
        with _yanked_told():
            code = typer.main.get_command(app).main(words or ["--help"], "zoo", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except ZooError as error:
        return _complain(error, error.exit_code)
    except ModuleNotFoundError as error:
        if command not in extras or str(error.name).partition(".")[0] in ROOMS:
            raise
        text = f"zoo {command} needs {error.name}; pip install 'atomzoo[{extras[command]}]'"
        return _complain(text, MissingDependency.exit_code)
    except Exception as error:
        if not hasattr(error, "format_message"):  # as all complaints of typer about usage have
            raise
        return _complain(
            f"{error.format_message()} See: {' '.join(['zoo', command]).strip()} --help", getattr(error, "exit_code", 2)
        )


def build_app() -> typer.Typer:
    """Return the command line with the commands of this room."""
    app = typer.Typer(
        cls=WordsGroup,
        help="Run, train and publish interatomic neural networks. Every option can be written key=value too.",
        epilog="Example: zoo predict model=schnet-qm9 mol.xyz, and zoo predict --help for what else it can do.",
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    predict.register(app)
    models.register(app)
    for command in (relax, md, vibrations, spectrum, ipi, doctor, benchmark, verify, publish, environment):
        command.register(app)
    return app


def add_rooms(app: typer.Typer) -> dict[str, str]:
    """Let the other rooms add their commands; one that cannot is named on stderr and left out.

    Returns:
        Each new command with the extra that brings what it needs.
    """
    extras: dict[str, str] = {}
    for point in entry_points(group=ENTRY_POINTS):
        before = _commands(app)
        try:
            point.load()(app)
        except Exception as error:  # a broken plug-in must not take the other commands with it
            typer.echo(f"zoo: the commands of {point.value} are left out: {error}", err=True)
        extras |= dict.fromkeys(_commands(app) - before, point.name)
    return extras


def _commands(app: typer.Typer) -> set[str]:
    return set(typer.main.get_group(app).commands)


@contextmanager
def _yanked_told() -> Iterator[None]:
    """Say on stderr, in one line, that a version which is fetched was taken back."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", YankedWarning)
        show = warnings.showwarning

        def tell(message: Any, category: Any, *where: Any, **more: Any) -> None:
            if issubclass(category, YankedWarning):
                typer.echo(f"zoo: warning: {message}", err=True)
            else:
                show(message, category, *where, **more)

        warnings.showwarning = tell
        yield


def _version(asked: bool) -> None:
    if asked:
        import zoo_registry

        typer.echo(zoo_registry.__version__)
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Hold the options that come before a command."""


def _complain(text: object, code: int) -> int:
    # What a hub or a file sent may be quoted in it, and must not steer the terminal.
    typer.echo(f"zoo: {''.join(letter if letter.isprintable() else ' ' for letter in str(text))}", err=True)
    return code
