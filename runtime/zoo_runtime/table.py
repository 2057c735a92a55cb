"""Predictions on standard output: a table for people, or JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from zoo_runtime.frames import Frame
from zoo_runtime.report import Result, cells, columns, footnote, record

if TYPE_CHECKING:
    from zoo_runtime.model import Model


@contextmanager
def open_table(model: Model, names: Sequence[str], as_json: bool) -> Iterator[Callable[[Frame, Result], None]]:
    """Give a function that takes one result; a table comes when all are there, JSON at once.

    Args:
        model: What predicts.
        names: The properties to tell.
        as_json: JSON lines instead of a table.
    """
    if as_json:
        yield lambda frame, result: typer.echo(
            json.dumps(record(frame, result, model.metadata, model.backend.name, names), ensure_ascii=False)
        )
        return
    numbers = columns(model.metadata, names)
    rows: list[list[str]] = []

    def add(frame: Frame, result: Result) -> None:
        values = zip(numbers, cells(numbers, result), strict=True)
        words = ["failed" if value is None else f"{value:.{column.digits}f}" for column, value in values]
        rows.append([frame.file, str(frame.index), frame.formula or "", *words])

    yield add
    titles = ["file", "frame", "formula", *(column.title for column in numbers)]
    print_rows(titles, rows)
    typer.echo(f"{footnote(model.metadata, names)}\nbackend: {model.backend.description}")


def print_rows(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: framed on a terminal, else plain aligned text.

    Args:
        titles: Of the columns.
        rows: The cells.
    """
    left = [all(not _is_number(row[i]) for row in rows) for i in range(len(titles))]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table()
        for title, words in zip(titles, left, strict=True):
            table.add_column(title, justify="left" if words else "right", overflow="fold")
        for row in rows:
            table.add_row(*row)
        Console().print(table)
        return
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    for row in [titles, *rows]:
        cells = zip(row, widths, left, strict=True)
        typer.echo("  ".join(f"{cell:{'<' if words else '>'}{width}}" for cell, width, words in cells).rstrip())


def _is_number(cell: str) -> bool:
    return cell.removeprefix("-").replace(".", "", 1).isdigit()
