"""``zoo md``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo_runtime.commands.options import Backend, Device, Dtype, File, Hub, Json, ModelName, Strict, Threads
from zoo_runtime.commands.simulation import (
    check_apart,
    errors_told,
    last_structure,
    live_line,
    print_facts,
    quantity,
    warnings_on_stderr,
)

if TYPE_CHECKING:
    from zoo_runtime.simulate.dynamics import Dynamics, Progress


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("md")(md)


def md(
    file: File,
    model: ModelName,
    ensemble: Annotated[str, typer.Option(help="nve, langevin or npt.")] = "nve",
    temperature: Annotated[
        float | None, typer.Option(help="K; default 300, or the velocities of FILE in nve.", show_default=False)
    ] = None,
    timestep: Annotated[float, typer.Option(help="fs.")] = 0.5,
    steps: Annotated[int, typer.Option(help="In all, also where a run goes on; a multiple of interval.")] = 2000,
    interval: Annotated[int, typer.Option(help="Steps between frames, and lines of the log.")] = 4,
    friction: Annotated[float, typer.Option(help="1/ps, of the thermostat.")] = 10.0,
    pressure: Annotated[float, typer.Option(help="GPa, of the barostat.")] = 1e-4,
    seed: Annotated[int, typer.Option(help="Of velocities and thermostat.")] = 0,
    trajectory: Annotated[
        Path, typer.Option(help="ASE .traj; one of the same command goes on where it stopped.")
    ] = Path("md.traj"),
    log: Annotated[Path | None, typer.Option(help="CSV; default beside the trajectory.", show_default=False)] = None,
    backend: Backend = "auto",
    device: Device = "auto",
    dtype: Dtype = "float32",
    threads: Threads = None,
    hub: Hub = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Run molecular dynamics: zoo md model=schnet-rmd17-ethanol mol.xyz ensemble=langevin temperature=300 steps=10000.

    A run that was stopped goes on with the same command, and a finished one with more steps.
    """
    from zoo_runtime.model import load
    from zoo_runtime.simulate.dynamics import molecular_dynamics

    with errors_told(as_json, file=file, model=model), live_line() as show, warnings_on_stderr():
        check_apart(file=file, trajectory=trajectory, log=log)
        structure = last_structure(file)
        loaded = load(model, backend, device, dtype, hub, threads, strict=strict)
        done = molecular_dynamics(
            loaded,
            structure,
            trajectory,
            log=log,
            ensemble=ensemble,
            temperature=temperature,
            timestep=timestep,
            steps=steps,
            interval=interval,
            friction=friction,
            pressure=pressure,
            seed=seed,
            report=lambda progress: show(_line(progress)),
        )
    if as_json:
        name = loaded.metadata.label
        told = {"file": str(file), "model": name, "backend": loaded.backend.name, "ensemble": ensemble}
        typer.echo(json.dumps(told | _record(done), ensure_ascii=False))
        return
    print_facts(_facts(done))
    typer.echo(f"backend: {loaded.backend.description}")


def _line(progress: Progress) -> str:
    drift = "" if progress.drift is None else f", drift {progress.drift:+.3f} meV/atom/ps"
    place = f"step {progress.step:,} of {progress.steps:,}"
    return f"{place}, {progress.temperature:.0f} K{drift}, {progress.speed:.3g} ns/day"


def _facts(done: Dynamics) -> list[tuple[str, str]]:
    begun = f", from step {done.first_step:,} on in this call" if done.first_step else ""
    facts = [
        ("steps", f"{done.steps:,} ({done.duration:g} ps){begun}"),
        ("temperature", f"{done.temperature:.4g} K, standard deviation {done.temperature_spread:.3g} K"),
        ("total energy", f"{done.energy:.6f} eV at the end"),
    ]
    if done.drift is not None:
        facts.append(("energy drift", f"{done.drift:+.4f} meV/atom/ps"))
    if done.steps > done.first_step:
        facts.append(("speed", f"{done.speed:.3g} ns/day"))
    return [*facts, ("trajectory", str(done.trajectory)), ("log", str(done.log))]


def _record(done: Dynamics) -> dict[str, Any]:
    from zoo_runtime.prediction import described

    return {
        "first_step": done.first_step,
        "steps": done.steps,
        "duration": quantity(done.duration, "ps"),
        "temperature": quantity(done.temperature, "K") | {"standard_deviation": done.temperature_spread},
        "energy": quantity(done.energy, "eV"),
        "drift": None if done.drift is None else quantity(done.drift, "meV/atom/ps"),
        "speed": quantity(done.speed, "ns/day"),
        "trajectory": str(done.trajectory),
        "log": str(done.log),
        "warnings": described(done.warnings),
    }
