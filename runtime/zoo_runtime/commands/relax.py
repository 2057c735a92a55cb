"""``zoo relax``."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo_registry.errors import ZooError
from zoo_runtime.commands.options import Backend, Device, Dtype, Hub, Json, ModelName, Strict, Threads
from zoo_runtime.commands.simulation import check_suffix, live_line, quantity, warnings_on_stderr

if TYPE_CHECKING:
    from zoo_runtime.frames import Frame
    from zoo_runtime.report import Source
    from zoo_runtime.simulate.relaxation import Relaxation

TITLES = ("file", "frame", "formula", "steps", "converged", "energy (eV)", "change (eV)", "max |force| (eV/Å)")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("relax")(relax)


def relax(
    files: Annotated[
        list[Path], typer.Argument(help="Structures, in any format that ASE reads.", exists=True, dir_okay=False)
    ],
    model: ModelName,
    output: Annotated[Path, typer.Option(help="Where the relaxed structures go: .extxyz or .xyz.")] = Path(
        "relaxed.extxyz"
    ),
    fmax: Annotated[float, typer.Option(help="eV/Å; the largest force to leave.")] = 0.01,
    steps: Annotated[int, typer.Option(help="At most so many.")] = 500,
    cell: Annotated[bool, typer.Option("--cell", help="Relax the cell too.")] = False,
    optimizer: Annotated[str, typer.Option(help="bfgs, lbfgs or fire.")] = "bfgs",
    backend: Backend = "auto",
    device: Device = "auto",
    dtype: Dtype = "float32",
    threads: Threads = None,
    hub: Hub = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Relax structures to an energy minimum: zoo relax model=schnet-rmd17-ethanol mol.xyz output=relaxed.extxyz."""
    from zoo_runtime.frames import read_frames
    from zoo_runtime.model import load
    from zoo_runtime.output import check_output, command_of, open_output
    from zoo_runtime.report import footnote, sources
    from zoo_runtime.simulate.relaxation import relax as relax_one
    from zoo_runtime.table import print_rows

    check_suffix("output", output, (".extxyz", ".xyz"))
    check_output(output, files)
    loaded = load(model, backend, device, dtype, hub, threads, strict=strict)
    told = sources([loaded], [list(loaded.metadata.outputs)])
    options = {"fmax": fmax, "steps": steps, "cell": cell, "optimizer": optimizer, "dtype": dtype, "strict": strict}
    rows: list[list[str]] = []
    with ExitStack() as stack:
        show = stack.enter_context(live_line())
        stack.enter_context(warnings_on_stderr(show=False))
        file = stack.enter_context(open_output(output, told, command_of(files, told, **options)))
        if file.done:
            typer.echo(f"zoo: {output}: goes on after {file.done:,} structures of a run that was stopped", err=True)
        for frame in read_frames(files, file.start):
            place = f"{frame.file}, frame {frame.index}"
            try:
                if isinstance(frame.structure, ZooError):
                    raise frame.structure

                def report(step: int, force: float, place: str = place) -> None:
                    show(f"{place}: step {step}, max |force| {force:.4f} eV/Å")

                result: Relaxation | ZooError = relax_one(loaded, frame.structure, fmax, steps, cell, optimizer, report)
            except ZooError as error:
                if error.exit_code != 1:
                    raise
                result = error
            file.failed |= _tell(place, result)
            written, prediction = _written(frame, result)
            file.write(written, [prediction])
            if as_json:
                typer.echo(json.dumps(_record(told[0], frame, result), ensure_ascii=False))
            rows.append(_row(frame, result))
    if not as_json:
        print_rows(TITLES, rows)
        typer.echo(f"{footnote(told[0])}\nbackend: {loaded.backend.description}\nwritten: {output}")
    if file.failed:
        raise typer.Exit(1)


def _tell(place: str, result: Relaxation | ZooError) -> bool:
    """Say on stderr what went wrong; return whether the structure failed."""
    if isinstance(result, ZooError):
        typer.echo(f"zoo: {place}: {result}", err=True)
        return True
    for warning in result.warnings:
        typer.echo(f"zoo: {place}: warning: {warning}", err=True)
    if not result.converged:
        typer.echo(f"zoo: {place}: not converged in {result.steps} steps; give more steps= or a larger fmax=", err=True)
    return not result.converged


def _written(frame: Frame, result: Relaxation | ZooError) -> tuple[Frame, Any]:
    if isinstance(result, ZooError):
        return frame, result
    return replace(frame, structure=result.atoms), result.prediction


def _row(frame: Frame, result: Relaxation | ZooError) -> list[str]:
    words = [frame.file, str(frame.index), frame.formula or ""]
    if isinstance(result, ZooError):
        return [*words, *["failed"] * 5]
    return [
        *words,
        str(result.steps),
        "yes" if result.converged else "no",
        f"{result.prediction.energy:.6f}",
        f"{result.energy_change:.6f}",
        f"{result.largest_force:.4f}",
    ]


def _record(model: Source, frame: Frame, result: Relaxation | ZooError) -> dict[str, Any]:
    from zoo_runtime.report import record

    written, prediction = _written(frame, result)
    told = record(written, [prediction], [model])
    if isinstance(result, ZooError):
        return told
    return told | {
        "converged": result.converged,
        "steps": result.steps,
        "energy_change": quantity(result.energy_change, "eV"),
        "largest_force": quantity(result.largest_force, "eV/Å"),
        "positions": quantity(result.atoms.positions.tolist(), "Å"),
        "cell": quantity(result.atoms.cell.tolist(), "Å"),
    }
