"""Where ``zoo predict`` spends its time: ``python benchmarks/predict.py FILE.extxyz [--model schnet-qm9]``.

First the parts one after another, each over all structures (reading; checks and neighbour lists; the model; writing),
then end to end as the command does it, where reading goes on while the model computes. Rounds alternate; medians are
printed; shares are of the sum of the parts. Without a file: molecules of the collection g2 of ASE, moved a little.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ase.io import iread

import zoo_runtime
from zoo_runtime import cli
from zoo_runtime.frames import read_frames
from zoo_runtime.model import _groups, _Input
from zoo_runtime.report import sources
from zoo_runtime.writers import WRITERS


def molecules(path: Path, n: int) -> None:
    from ase.build import molecule
    from ase.collections import g2
    from ase.io import write

    known = [atoms for atoms in map(molecule, g2.names) if set(atoms.numbers) <= {1, 6, 7, 8, 9} and len(atoms) > 2]
    structures = [known[k % len(known)].copy() for k in range(n)]
    for seed, atoms in enumerate(structures):
        atoms.set_initial_magnetic_moments(None)
        atoms.rattle(0.02, seed=seed)
        atoms.info["REF_energy"] = -1.5 * seed
    write(path, structures)


class Clock:
    """Wall clock, or the processor time of all threads."""

    def __init__(self, cpu: bool) -> None:
        self.now = time.process_time if cpu else time.perf_counter

    def __call__(self, function: Callable[[], Any]) -> tuple[float, Any]:
        start = self.now()
        result = function()
        return self.now() - start, result


def rounds(path: Path, model: zoo_runtime.Model, folder: Path, name: str, timed: Clock) -> dict[str, float]:
    seconds: dict[str, float] = {}
    seconds["reading"], frames = timed(lambda: list(read_frames([path])))
    seconds["reading by ASE (not used)"], _ = timed(lambda: sum(1 for _ in iread(path, ":")))
    seconds["checks and neighbour lists"], prepared = timed(lambda: [model._prepare(f.structure) for f in frames])
    groups = [[item for item in group if isinstance(item, _Input)] for group in _groups(prepared)]
    seconds["model"], results = timed(lambda: [result for group in groups for result in model._compute(group)])
    good = [frame for frame, item in zip(frames, prepared, strict=True) if isinstance(item, _Input)]
    told = sources([model], [list(model.metadata.outputs)])
    for suffix in (".jsonl", ".csv", ".extxyz", ".db"):
        writer = WRITERS[suffix](folder / f"out{suffix}", told, 0)

        def write(writer: Any = writer) -> None:
            for frame, result in zip(good, results, strict=True):
                writer.write(frame, [result])
            writer.close(whole=True)

        seconds[f"writing {suffix}"], _ = timed(write)
    words = ["predict", f"model={name}", str(path), f"output={folder / 'whole.jsonl'}"]
    seconds["end to end (.jsonl)"], _ = timed(lambda: cli.run(words))
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--model", default="schnet-qm9")
    parser.add_argument("--structures", type=int, default=10_000, help="without a file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpu", action="store_true", help="processor time of all threads, for a machine that is busy")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = options.file or folder / "molecules.extxyz"
        if not options.file:
            molecules(path, options.structures)
        model = zoo_runtime.load(options.model)
        n = sum(1 for _ in read_frames([path]))
        taken = [
            quiet(lambda: rounds(path, model, folder, options.model, Clock(options.cpu))) for _ in range(options.rounds)
        ]
    print(f"{n:,} structures, {model}")
    median = {part: statistics.median(one[part] for one in taken) for part in taken[0]}
    parts = ("reading", "checks and neighbour lists", "model", "writing .jsonl")
    whole = sum(median[part] for part in parts)
    for part, seconds in median.items():
        share = f"{seconds / whole:6.0%}" if part in parts else " " * 6
        print(f"  {part:28s} {seconds:8.2f} s {n / seconds:10,.0f} structures/s {share}")


def quiet(function: Callable[[], Any]) -> Any:
    """Run with what the command prints thrown away."""
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return function()


if __name__ == "__main__":
    main()
