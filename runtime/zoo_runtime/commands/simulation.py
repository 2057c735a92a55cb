"""What the commands of simulation share."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from zoo_registry.errors import StructureError, UsageError, ZooError

if TYPE_CHECKING:
    from ase import Atoms

LINE_SECONDS = 30  # between lines of progress where stderr is a file


def last_structure(file: Path) -> Atoms:
    """Return the last structure of a file; says so where it is not the only one.

    Raises:
        StructureError: It cannot be read.
    """
    from zoo_runtime.frames import read_frames

    frame = deque(read_frames([file]), maxlen=1)[0]
    if isinstance(frame.structure, StructureError):
        raise frame.structure
    if frame.index:
        typer.echo(f"zoo: {file}: takes the last of {frame.index + 1} structures", err=True)
    return frame.structure


def print_facts(facts: list[tuple[str, str]]) -> None:
    """Print names and values, one a line."""
    width = max(len(title) for title, _ in facts) + 2
    for title, text in facts:
        typer.echo(f"{title:<{width}}{text}")


def quantity(value: Any, unit: str) -> dict[str, Any]:
    """Return a number or numbers with their unit, for JSON."""
    return {"value": value, "unit": unit}


def check_suffix(option: str, path: Path, allowed: tuple[str, ...]) -> None:
    """Refuse a file of another kind, before anything is computed.

    Raises:
        UsageError: Says which are allowed.
    """
    if path.suffix not in allowed:
        raise UsageError(f"{option}={path} has the suffix {path.suffix!r}. Allowed: {', '.join(allowed)}")


def check_apart(**paths: Path | None) -> None:
    """Refuse options that name the same file, since one would overwrite the other.

    Raises:
        UsageError: Names both.
    """
    seen: dict[Path, str] = {}
    for option, path in paths.items():
        if path is None:
            continue
        other = seen.setdefault(path.resolve(), option)
        if other != option:
            raise UsageError(f"{option}={path} is the same file as {other}; choose another name.")


@contextmanager
def errors_told(as_json: bool, **place: Any) -> Iterator[None]:
    """Print what goes wrong as a JSON object too, where JSON is asked for.

    Args:
        as_json: Whether it is.
        place: What the object says beside the error.
    """
    from zoo_runtime.report import described_error

    try:
        yield
    except ZooError as error:
        if as_json:
            told = {name: str(value) for name, value in place.items()} | {"error": described_error(error)}
            typer.echo(json.dumps(told, ensure_ascii=False))
        raise


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Give a temporary path of the same suffix that is renamed into its place at the end.

    Raises:
        UsageError: The file cannot be written.
    """
    temporary = path.with_name(f".part-{os.getpid()}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}); choose another place.") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def live_line() -> Iterator[Any]:
    """Give a function that shows how things stand: one line that changes on a terminal, else one now and then."""
    terminal = sys.stderr.isatty()
    shown = time.monotonic()

    def show(text: str) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown < (0.1 if terminal else LINE_SECONDS):
            return
        shown = now
        sys.stderr.write(f"\r\x1b[K{text}" if terminal else f"{text}\n")
        sys.stderr.flush()

    try:
        yield show
    finally:
        if terminal:
            sys.stderr.write("\r\x1b[K")


@contextmanager
def warnings_on_stderr(show: bool = True) -> Iterator[None]:
    """Let warnings of the calculator be one line each on stderr, or leave them to the result."""
    with warnings.catch_warnings():
        warnings.simplefilter("always" if show else "ignore", UserWarning)
        warnings.showwarning = lambda message, *_, **__: typer.echo(f"zoo: warning: {message}", err=True)
        yield
