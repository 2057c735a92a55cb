"""``zoo predict``."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo_registry.errors import UsageError, ZooError, close_matches
from zoo_runtime.commands.options import Backend, Device, Dtype, Hub, Strict, Threads

if TYPE_CHECKING:
    from ase import Atoms

    from zoo_runtime.frames import Frame, Place
    from zoo_runtime.model import Model
    from zoo_runtime.report import Result, Source


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("predict")(predict)


def predict(
    files: Annotated[list[Path], typer.Argument(help="Structures, in any format that ASE reads.")],
    model: Annotated[str, typer.Option(help="name, name@version, or the path of a release; several with commas.")],
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write .extxyz or .db (everything), .json, .jsonl, or .csv (one row a structure). The same command "
            "goes on with what a stopped run has written."
        ),
    ] = None,
    properties: Annotated[str, typer.Option(help="Only these, for example energy,forces.")] = "",
    strict: Strict = False,
    backend: Backend = "auto",
    device: Device = "auto",
    dtype: Dtype = "float32",
    threads: Threads = None,
    hub: Hub = None,
    trust: Annotated[bool, typer.Option("--trust", help="Run the code in this release (TorchScript).")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a structure.")] = False,
) -> None:
    """Predict energy (eV), forces (eV/Å) and whatever else a model has: zoo predict model=schnet-qm9 mol.xyz."""
    from zoo_runtime.model import load
    from zoo_runtime.output import check_output, command_of, open_output
    from zoo_runtime.progress import follow
    from zoo_runtime.report import sources
    from zoo_runtime.table import open_table

    if output:
        check_output(output, files)
    models = [load(name, backend, device, dtype, hub, threads, trust, strict) for name in _models(model)]
    told = sources(models, _names(properties, [list(loaded.metadata.outputs) for loaded in models]))
    _check_different(told)
    complain = _Complaints(told)
    with ExitStack() as stack:
        show = stack.enter_context(open_table(told, [loaded.backend.description for loaded in models], as_json))
        start: Place = (0, 0)
        done = 0
        if output:
            command = command_of(files, told, dtype=dtype, strict=strict)
            file = stack.enter_context(open_output(output, told, command))
            start, done, complain.failed = file.start, file.done, file.failed
            if done:
                typer.echo(f"zoo: {output}: goes on after {done:,} structures of a run that was stopped", err=True)
        for frame, results in follow(_results(models, files, start), len(files), done):
            show(frame, results)
            if output:
                file.write(frame, results)
            complain(frame, results)
    if complain.failed:
        raise typer.Exit(1)


def _results(models: Sequence[Model], files: Sequence[Path], start: Place) -> Iterator[tuple[Frame, list[Result]]]:
    """Pair every structure of the files with its predictions, in order, without holding all of them."""
    from zoo_runtime.frames import read_frames

    waiting: deque[Frame] = deque()

    def structures() -> Iterator[Atoms | ZooError]:
        for frame in read_frames(files, start):
            waiting.append(frame)
            yield frame.structure

    streams = tee(structures(), len(models))
    predicted = [model.predict_many(stream, errors="return") for model, stream in zip(models, streams, strict=True)]
    for results in zip(*predicted, strict=True):
        yield waiting.popleft(), list(results)


class _Complaints:
    """Says on standard error what went wrong, and each warning once.

    Attributes:
        failed: Whether anything has.
    """

    def __init__(self, models: Sequence[Source]) -> None:
        self.failed = False
        self._labels = [f"{model.label}: " if model.label else "" for model in models]
        self._told: set[str] = set()

    def __call__(self, frame: Frame, results: Sequence[Result]) -> None:
        place = f"{frame.file}, frame {frame.index}"
        for label, result in zip(self._labels, results, strict=True):
            if isinstance(result, ZooError):
                self.failed = True
                typer.echo(f"zoo: {place}: {label}{result}", err=True)
                continue
            for warning in result.warnings:
                if label + warning not in self._told:
                    typer.echo(f"zoo: {place}: {label}warning: {warning}", err=True)
                    self._told.add(label + warning)


def _models(given: str) -> list[str]:
    if Path(given).exists():
        return [given]
    names = [name.strip() for name in given.split(",")]
    if not all(names):
        raise UsageError(f"model={given} has an empty name; write model=NAME, or model=NAME,NAME for several.")
    return names


def _check_different(models: Sequence[Source]) -> None:
    labels = [model.label for model in models]
    if twice := next((model.model for model in models if labels.count(model.label) > 1), None):
        raise UsageError(f"model= names {twice} twice; name each model once.")


def _names(properties: str, available: Sequence[list[str]]) -> list[list[str]]:
    """Of each model the properties to tell: those asked for that it has, or all."""
    names = [name.strip() for name in properties.split(",") if name.strip()]
    every = list(dict.fromkeys(name for of_model in available for name in of_model))
    for name in names:
        if name not in every:
            raise UsageError(f"properties={properties}: the model has no {name!r}{close_matches(name, every)}")
    return [[name for name in names if name in of_model] if names else of_model for of_model in available]
