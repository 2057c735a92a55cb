"""``zoo benchmark``: how long a step takes on this machine, with each backend that can run the model."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from zoo_registry.errors import UsageError
from zoo_runtime.commands.options import Device, Dtype, Hub, ModelName

if TYPE_CHECKING:
    from ase import Atoms

    from zoo_runtime.model import Model

MOVE = 0.01
"""Å by which atoms move between two steps, at most, so that no result of the step before can be used."""
WARM = 5
"""Steps that do not count, during which backends compile and optimise themselves."""
LEAST = 5


class Timing(NamedTuple):
    """What one backend needs.

    Attributes:
        median: Seconds of a step.
        first: Seconds of opening the model and of its first step.
    """

    median: float
    first: float


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("benchmark")(benchmark)


def benchmark(
    model: ModelName,
    file: Annotated[Path | None, typer.Argument(help="A structure; default: a molecule that the model knows.")] = None,
    backend: Annotated[str, typer.Option(help="Some of native,onnx,torchscript,aoti; default all.")] = "all",
    device: Device = "cpu",
    dtype: Dtype = "float32",
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    seconds: Annotated[float, typer.Option(help="Measure each backend at least this long.")] = 2.0,
    cpu: Annotated[
        bool, typer.Option("--cpu", help="Processor time instead of the clock's, on a busy machine.")
    ] = False,
    hub: Hub = None,
    trust: Annotated[bool, typer.Option("--trust", help="Run the code in this release (TorchScript) too.")] = False,
) -> None:
    """Time a step of dynamics, all outputs and neighbour list included, on each backend that is here.

    Example: zoo benchmark model=schnet-qm9 mol.xyz threads=1
    """
    from zoo_runtime.backends import BACKENDS, BackendUnavailable
    from zoo_runtime.model import load
    from zoo_runtime.table import print_rows
    from zoo_runtime.verification.shapes import structures

    if seconds <= 0:
        raise UsageError(f"seconds={seconds} must be above 0.")
    models: dict[str, Model] = {}
    opening: dict[str, float] = {}
    for name in BACKENDS if backend == "all" else backend.split(","):
        start = time.perf_counter()
        try:
            models[name] = load(model, name, device, dtype, hub, threads, trust)
        except BackendUnavailable as error:
            typer.echo(f"{name}: not timed: {error}", err=True)
        opening[name] = time.perf_counter() - start
    if not models:
        raise BackendUnavailable(f"no backend here can run {model} with device={device} dtype={dtype}.")
    metadata = next(iter(models.values())).metadata
    atoms = _read(file) if file else next(iter(structures(metadata.species, metadata.cutoff).values()))
    timings = measure(models, atoms, seconds, time.process_time if cpu else time.perf_counter)
    best = min(timing.median for timing in timings.values())
    rows = [
        [
            name,
            f"{1e3 * t.median:.3f}",
            f"{1e6 * t.median / len(atoms):.1f}",
            f"{t.median / best:.2f}",
            f"{opening[name] + t.first:.2f}",
            models[name].backend.description,
        ]
        for name, t in timings.items()
    ]
    typer.echo(f"{metadata.label}, {atoms.get_chemical_formula()}, {len(atoms)} atoms, {dtype}")
    print_rows(["backend", "ms a step", "µs an atom", "of the best", "s until the first", "what runs"], rows)


def measure(models: dict[str, Model], atoms: Atoms, seconds: float, clock: Callable[[], float]) -> dict[str, Timing]:
    """Time steps, in turns, so that whatever else runs on the machine slows all alike.

    Args:
        models: The same model on several backends.
        atoms: Each step is a small displacement of it; nothing is changed in it.
        seconds: At least this long for each.
        clock: Gives seconds.
    """
    import numpy as np

    random = np.random.default_rng(0)
    times: dict[str, list[float]] = {name: [] for name in models}
    spent = dict.fromkeys(models, 0.0)
    while waiting := [name for name in models if spent[name] < seconds or len(times[name]) < WARM + LEAST]:
        moved = atoms.copy()
        moved.positions += random.uniform(-MOVE, MOVE, moved.positions.shape)
        for name in waiting:
            start = clock()
            models[name].follow(moved)
            times[name].append(clock() - start)
            spent[name] += times[name][-1] if len(times[name]) > WARM else 0.0
    return {name: Timing(statistics.median(t[WARM:]), t[0]) for name, t in times.items()}


def _read(file: Path) -> Atoms:
    from zoo_runtime.frames import read_frames

    structure = next(read_frames([file])).structure
    if isinstance(structure, Exception):
        raise structure
    return structure
