"""``zoo predict``."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo_registry.errors import UsageError, ZooError, close_matches

if TYPE_CHECKING:
    from ase import Atoms

    from zoo_runtime.frames import Frame
    from zoo_runtime.model import Model
    from zoo_runtime.report import Result


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("predict")(predict)


def predict(
    files: Annotated[list[Path], typer.Argument(help="Structures, in any format that ASE reads.")],
    model: Annotated[str, typer.Option(help="name, name@version, or the path of a release.")],
    output: Annotated[
        Path | None, typer.Option(help="Write .extxyz (everything), .json, .jsonl, or .csv (one row a structure).")
    ] = None,
    properties: Annotated[str, typer.Option(help="Only these, for example energy,forces.")] = "",
    backend: Annotated[str, typer.Option(help="auto, native, onnx or torchscript.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    hub: Annotated[str | None, typer.Option(help="Folder or URL of a hub, such as hf://owner/repo.")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Run the code in this release (TorchScript).")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a structure.")] = False,
) -> None:
    """Predict energy (eV), forces (eV/Å) and whatever else a model has: zoo predict model=schnet-qm9 mol.xyz."""
    from zoo_runtime.model import load
    from zoo_runtime.output import check_output, open_output
    from zoo_runtime.table import open_table

    if output:
        check_output(output, files)
    loaded = load(model, backend, device, dtype, hub, threads, trust)
    names = _names(properties, list(loaded.metadata.outputs))
    if not as_json:
        _shown(names, loaded)
    failed = False
    told: set[str] = set()
    with ExitStack() as stack:
        writes = [stack.enter_context(open_table(loaded, names, as_json))]
        if output:
            writes.append(stack.enter_context(open_output(output, loaded.metadata, loaded.backend.name, names)))
        for frame, result in _progress(_results(loaded, files)):
            for write in writes:
                write(frame, result)
            place = f"{frame.file}, frame {frame.index}"
            if isinstance(result, ZooError):
                failed = True
                typer.echo(f"zoo: {place}: {result}", err=True)
                continue
            for warning in result.warnings:
                if warning not in told:
                    typer.echo(f"zoo: {place}: warning: {warning}", err=True)
            told.update(result.warnings)
    if failed:
        raise typer.Exit(1)


def _results(model: Model, files: Sequence[Path]) -> Iterator[tuple[Frame, Result]]:
    """Pair every structure of the files with its prediction, in order, without holding all of them."""
    from zoo_runtime.frames import read_frames

    waiting: deque[Frame] = deque()

    def structures() -> Iterator[Atoms | ZooError]:
        for frame in read_frames(files):
            waiting.append(frame)
            yield frame.structure

    for result in model.predict_many(structures(), errors="return"):
        yield waiting.popleft(), result


def _progress(results: Iterable[tuple[Frame, Result]]) -> Iterable[tuple[Frame, Result]]:
    if not sys.stderr.isatty():
        return results
    from rich.console import Console
    from rich.progress import track

    return track(results, "structures", total=None, console=Console(stderr=True), transient=True)


def _names(properties: str, available: Sequence[str]) -> list[str]:
    names = [name.strip() for name in properties.split(",") if name.strip()]
    for name in names:
        if name not in available:
            raise UsageError(f"properties={properties}: the model has no {name!r}{close_matches(name, available)}")
    return names or list(available)


def _shown(names: Sequence[str], loaded: Model) -> None:
    """Refuse to print a table without a number."""
    from zoo_runtime.report import columns

    if not columns(loaded.metadata, names):
        raise UsageError(f"properties={','.join(names)} has no number for a table; add --json, or output=FILE.jsonl.")
