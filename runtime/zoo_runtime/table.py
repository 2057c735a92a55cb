"""Predictions on standard output: a table for people, or JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import typer

from zoo_registry.errors import UsageError
from zoo_runtime.frames import Frame
from zoo_runtime.report import Result, Source, cells, columns, footnote, record

LONGEST = 1000  # rows of a table that is printed as a whole; from there on rows are printed as they come
Show = Callable[[Frame, Sequence[Result]], None]


@contextmanager
def open_table(models: Sequence[Source], descriptions: Sequence[str], as_json: bool) -> Iterator[Show]:
    """Give a function that takes the results of one structure; a table comes when all are there, JSON at once.

    Args:
        models: What is told.
        descriptions: Of their backends, for people.
        as_json: JSON lines instead of a table.

    Raises:
        UsageError: The table would be without a number.
    """
    if as_json:
        yield lambda frame, results: typer.echo(json.dumps(record(frame, results, models), ensure_ascii=False))
        return
    numbers = [columns(model) for model in models]
    if not any(numbers):
        names = ",".join(dict.fromkeys(name for model in models for name in model.names))
        raise UsageError(f"properties={names} has no number for a table; add --json, or output=FILE.jsonl.")
    titles = ["file", "frame", "formula", *(column.title for group in numbers for column in group)]
    rows: list[list[str]] = []
    widths: list[int] = []

    def add(frame: Frame, results: Sequence[Result]) -> None:
        words = [frame.file, str(frame.index), frame.formula or ""]
        for group, result in zip(numbers, results, strict=True):
            values = zip(group, cells(group, result), strict=True)
            words += ["failed" if value is None else f"{value:.{column.digits}f}" for column, value in values]
        if widths:
            typer.echo(_line(words, widths))
            return
        rows.append(words)
        if len(rows) > LONGEST:
            widths.extend(_widths(titles, rows))
            for row in [titles, *rows]:
                typer.echo(_line(row, widths))
            rows.clear()

    yield add
    if not widths:
        print_rows(titles, rows)
    for model, description in zip(models, descriptions, strict=True):
        typer.echo(f"{footnote(model)}\nbackend: {description}")


def print_rows(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: framed on a terminal, else plain aligned text.

    Args:
        titles: Of the columns.
        rows: The cells.
    """
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table()
        for title, width in zip(titles, _widths(titles, rows), strict=True):
            table.add_column(title, justify="left" if width < 0 else "right", overflow="fold")
        for row in rows:
            table.add_row(*row)
        Console().print(table)
        return
    widths = _widths(titles, rows)
    for row in [titles, *rows]:
        typer.echo(_line(row, widths))


def _widths(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """Width of each column; negative where it holds no numbers and goes to the left."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    words = [all(not _is_number(row[i]) for row in rows) for i in range(len(titles))]
    return [-width if left else width for width, left in zip(widths, words, strict=True)]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = zip(row, widths, strict=True)
    return "  ".join(f"{cell:{'<' if width < 0 else '>'}{abs(width)}}" for cell, width in cells).rstrip()


def _is_number(cell: str) -> bool:
    return cell.removeprefix("-").replace(".", "", 1).isdigit()
