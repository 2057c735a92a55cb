"""Compare training steps: ``python benchmarks/training.py [--schnetpack PYTHON]``.

A step is a batch from stored data, forward and backward pass, and AdamW, for SchNet with 128 features and 6
interactions. Every contender runs in a process of its own; they take turns of some steps, and medians are printed.
PYTHON is that of an environment with SchNetPack 2, which runs as it comes and with denormal numbers flushed. Times are
of the wall clock, so use a quiet machine, or pass --cpu for the time of the processes (one thread only). Targets are
random: a step takes as long with them.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import molecule
from systems import pentanol

TASKS = {
    "ethanol, forces, 10": ("ethanol", True, 10),
    "ethanol, forces, 32": ("ethanol", True, 32),
    "QM9-sized, energies, 100": ("pentanol", False, 100),
}
CONTENDERS = ["tabulated", "eager", "schnetpack", "schnetpack-flushed"]
SPECIES = [1, 6, 7, 8, 9]


def structures(name: str, count: int) -> list[Atoms]:
    """Molecules in a row of random displacements."""
    made = [molecule("CH3CH2OH") if name == "ethanol" else pentanol() for _ in range(count)]
    for number, atoms in enumerate(made):
        atoms.rattle(0.05, seed=number)
    return made


def ours(folder: Path, system: str, forces: bool, batch: int, tabulated: bool) -> Callable[[], None]:
    """Return a function that takes one step of this package's own training."""
    import torch

    from zoo.data.cache import write_cache
    from zoo.data.writer import Property
    from zoo.models import build
    from zoo.train.module import TrainingModule
    from zoo.train.recipe import parse_recipe
    from zoo.train.resident import Resident
    from zoo.train.tabulated import tabulate

    torch.set_flush_denormal(True)
    atoms, random = structures(system, 10 * batch), np.random.default_rng(0)
    values = {"E": random.normal(size=len(atoms)), "F": random.normal(size=(sum(map(len, atoms)), 3))}
    cache = write_cache(
        folder / "data",
        n_atoms=np.array([len(one) for one in atoms]),
        numbers=np.concatenate([one.numbers for one in atoms]),
        positions=np.concatenate([one.positions for one in atoms]),
        values=values,
        properties={"E": Property("system", (), "eV"), "F": Property("atom", (3,), "eV/Å")},
    )
    targets = {"energy": "E"} | ({"forces": "F"} if forces else {})
    recipe = parse_recipe(
        {
            "name": "step",
            "data": {"dataset": str(cache.folder), "n_train": 1, "n_val": 1, "targets": targets},
            "references": "none",
            "model": {
                "representation": {"kind": "schnet", "species": SPECIES, "cutoff": 5.0},
                "heads": {"energy": {"kind": "atomwise"}},
            },
            "loss": {name: {} for name in targets},
        }
    )
    module = TrainingModule(build(recipe.model.model_dump()), recipe, folder)
    if tabulated and not tabulate(module.potential, torch.device("cpu")):
        raise SystemExit("tabulated needs a C++ compiler")
    data = Resident(cache, torch.device("cpu"), tuple(targets.values()), 5.0)
    batches = endless(data.loader(np.arange(len(atoms)), batch, True, 0))
    optimizer = torch.optim.AdamW(module.parameters(), fused=True)

    def step() -> None:
        loss = module.training_step(next(batches), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def schnetpack(folder: Path, system: str, forces: bool, batch: int, flush: bool) -> Callable[[], None]:
    """Return a function that takes one step of SchNetPack's training."""
    import schnetpack as spk
    import torch
    from schnetpack.data import ASEAtomsData, AtomsLoader

    torch.set_flush_denormal(flush)
    atoms, random = structures(system, 10 * batch), np.random.default_rng(0)
    path = str(folder / "data.db")
    data = ASEAtomsData.create(path, distance_unit="Ang", property_unit_dict={"energy": "eV", "forces": "eV/Ang"})
    rows = [{"energy": random.normal(size=1), "forces": random.normal(size=(len(one), 3))} for one in atoms]
    data.add_systems(rows, atoms)
    data = ASEAtomsData(path, transforms=[spk.transform.MatScipyNeighborList(5.0), spk.transform.CastTo32()])
    representation = spk.representation.SchNet(
        n_atom_basis=128,
        n_interactions=6,
        radial_basis=spk.nn.GaussianRBF(50, 5.0),
        cutoff_fn=spk.nn.CosineCutoff(5.0),
    )
    model = spk.model.NeuralNetworkPotential(
        representation,
        input_modules=[spk.atomistic.PairwiseDistances()],
        output_modules=[
            spk.atomistic.Atomwise(128, output_key="energy"),
            *([spk.atomistic.Forces()] if forces else []),
        ],
    )
    batches = endless(AtomsLoader(data, batch_size=batch, shuffle=True))
    optimizer = torch.optim.AdamW(model.parameters())

    def step() -> None:
        inputs = next(batches)
        targets = {name: inputs[name].clone() for name in ("energy", "forces")}
        outputs = model(inputs)
        loss = (outputs["energy"] - targets["energy"]).square().mean()
        if forces:
            loss = loss + (outputs["forces"] - targets["forces"]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def endless(batches: Any) -> Iterator[Any]:
    while True:
        yield from batches


def work(contender: str, task: str, cpu: bool) -> None:
    """Take as many steps as each line of the input says, and answer with the seconds they took."""
    with tempfile.TemporaryDirectory() as folder:
        make = schnetpack if contender.startswith("schnetpack") else ours
        step = make(Path(folder), *TASKS[task], contender in ("tabulated", "schnetpack-flushed"))
        clock = time.process_time if cpu else time.perf_counter
        for line in sys.stdin:
            start = clock()
            for _ in range(int(line)):
                step()
            print("seconds", clock() - start, flush=True)


class Worker:
    """A contender in a process of its own."""

    def __init__(self, name: str, python: str, task: str, threads: int, cpu: bool) -> None:
        command = [python, "-W", "ignore", __file__, "--work", name, "--task", task, *(["--cpu"] if cpu else [])]
        variables = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | variables
        )

    def take(self, steps: int) -> float:
        """Return the seconds of a step."""
        print(steps, file=self.process.stdin, flush=True)
        for line in self.process.stdout or ():
            if line.startswith("seconds"):
                return float(line.split()[1]) / steps
        raise SystemExit("a contender failed")

    def close(self) -> None:
        self.process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schnetpack", metavar="PYTHON", help="of an environment with SchNetPack 2")
    parser.add_argument("--task", help=f"one of: {'; '.join(TASKS)}; default all")
    parser.add_argument("--threads", default="1", help="for example 1,2")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--cpu", action="store_true", help="time of the processes instead of the wall clock")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work, options.task, options.cpu)
        return
    tasks = [options.task] if options.task else list(TASKS)
    for task, threads in itertools.product(tasks, map(int, options.threads.split(","))):
        workers = {
            name: Worker(name, options.schnetpack or "", task, threads, options.cpu)
            if name.startswith("schnetpack")
            else Worker(name, sys.executable, task, threads, options.cpu)
            for name in CONTENDERS
            if options.schnetpack or not name.startswith("schnetpack")
        }
        # So many steps that a turn takes about half a second.
        steps = {name: max(1, int(0.5 / min(w.take(1), w.take(2), w.take(2)))) for name, w in workers.items()}
        times: dict[str, list[float]] = {name: [] for name in workers}
        for _ in range(options.turns):
            for name, worker in workers.items():
                times[name].append(worker.take(steps[name]))
        print(f"\n{task}; {threads} thread{'s' * (threads > 1)}")
        first = 0.0
        for name, values in times.items():
            seconds = statistics.median(values)
            first = first or seconds
            rate = TASKS[task][2] / seconds
            print(f"  {name:20s} {seconds * 1e3:9.2f} ms {rate:8.0f} molecules/s {seconds / first:8.2f} x", flush=True)
            workers[name].close()


if __name__ == "__main__":
    main()
