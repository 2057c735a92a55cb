"""How far a long run is: structures, their rate and the time that is left, on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator

from zoo_runtime.frames import Frame
from zoo_runtime.report import Result


def follow(
    results: Iterable[tuple[Frame, list[Result]]], n_files: int, done: int = 0
) -> Iterator[tuple[Frame, list[Result]]]:
    """Pass results on, and show on standard error where they stand, if that is a terminal.

    Args:
        results: Of structure after structure.
        n_files: How many files there are.
        done: How many structures an earlier run had done.
    """
    if not sys.stderr.isatty():
        yield from results
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    began = time.monotonic()
    first: float | None = None
    fields = [TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()]
    with Progress(*fields, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("structures", total=None)
        for count, (frame, result) in enumerate(results, 1):
            yield frame, result
            number = frame.next[0] if frame.next[1] == 0 else frame.next[0] + (frame.share or 0.0)
            share = None if frame.share is None and n_files == 1 else number / n_files
            seconds = time.monotonic() - began
            first = share if first is None else first
            text = f"{done + count:,} structures, {count / max(seconds, 1e-9):,.0f}/s{_left(first, share, seconds)}"
            progress.update(task, description=text, total=None if share is None else 1.0, completed=share)


def _left(first: float | None, share: float | None, seconds: float) -> str:
    if first is None or share is None or share <= first:
        return ""
    left = round(seconds * (1 - share) / (share - first))
    return f", {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
