"""Prepare and train on millions of conformations in ANI-1's layout: ``python benchmarks/streaming.py [--systems N]``.

The files are synthetic: chains of 1 to 8 heavy atoms with their hydrogens, most of them long as in ANI-1, displaced at
random, with a harmonic energy of the displacements. Every stage runs in a process of its
own, whose largest resident memory is printed; of mapped files it counts what the system keeps in memory because nobody
else wants it, so the part that is not of files stands beside it. Times are of the processor.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np  # noqa: E402

SHARES = np.array([0.001, 0.002, 0.007, 0.03, 0.08, 0.08, 0.27, 0.53])  # of molecules of 1 to 8 heavy atoms
CONFORMATIONS = 400  # of a molecule
HARTREE = {"H": -0.500607632585, "C": -37.8302333826, "N": -54.5680045287, "O": -75.0362229210}
STAGES = ["make", "prepare", "neighbours", "epoch"]


def chain(heavy: int, random: np.random.Generator) -> tuple[list[str], np.ndarray]:
    """Return symbols and positions of a zigzag chain of heavy atoms with two or three hydrogens on each."""
    symbols = list(random.choice(["C", "C", "C", "N", "O"], heavy))
    k = np.arange(heavy)
    backbone = np.stack([1.27 * k, 0.4 * (-1.0) ** k, np.zeros(heavy)], axis=1)
    hydrogens = []
    for i, symbol in enumerate(symbols):
        up = np.sign(backbone[i, 1])
        directions = [[0, 0.63 * up, 0.89], [0, 0.63 * up, -0.89]][: {"C": 2, "N": 1, "O": 0}[symbol]]
        directions += [[-1, 0, 0]] * (i == 0) + [[1, 0, 0]] * (i == heavy - 1)
        hydrogens += [backbone[i] + 1.09 * np.array(direction) for direction in directions]
    return symbols + ["H"] * len(hydrogens), np.array([*backbone, *hydrogens])


def make(folder: Path, systems: int) -> None:
    """Write ``ani_gdb_s01.h5`` to ``ani_gdb_s08.h5`` with that many conformations in all."""
    import h5py  # type: ignore[import-untyped]

    random = np.random.default_rng(0)
    counts = np.floor(SHARES * systems).astype(int)
    counts[-1] += systems - counts.sum()
    for heavy, count in enumerate(counts, 1):
        with h5py.File(folder / f"ani_gdb_s0{heavy}.h5", "w") as file:
            for number, start in enumerate(range(0, count, CONFORMATIONS)):
                symbols, positions = chain(heavy, random)
                n = min(CONFORMATIONS, count - start)
                moved = 0.05 * random.normal(size=(n, len(symbols), 3))
                stiffness = np.where(np.array(symbols) == "H", 0.2, 0.6)  # hartree/Å²
                energies = sum(HARTREE[s] for s in symbols) - 0.16 * len(symbols) + 0.5 * (moved**2).sum(-1) @ stiffness
                group = file.create_group(f"gdb11_s0{heavy}/gdb11_s0{heavy}-{number}")
                group["coordinates"] = (positions + moved).astype(np.float32)
                group["energies"] = energies
                group["species"] = np.array(symbols, dtype="S1")
                group["smiles"] = np.array(["C"], dtype="S1")


def prepare(folder: Path, systems: int) -> None:
    """Stream the files into the cache."""
    from zoo.data import dataset

    dataset("ani1").prepare(folder, str(folder))


def neighbours(folder: Path, systems: int) -> None:
    """Compute the neighbour lists."""
    from zoo.data.cache import Cache

    Cache(folder / "ani1" / "ani1.cache").neighbors(5.0)


def epoch(folder: Path, systems: int) -> None:
    """Train a small network for one epoch on 99 % of the conformations."""
    from zoo.train.recipe import load_recipe
    from zoo.train.run import train

    settings = {
        "data.root": str(folder), "data.n_train": str(systems - systems // 100), "data.n_val": str(systems // 100),
        "model.representation.features": "32", "model.representation.interactions": "2",
        "optimizer.lr": "1e-3", "trainer.max_epochs": "1", "trainer.batch_size": "1000", "trainer.threads": "1",
        "out": str(folder / "run"),
    }  # fmt: skip
    train(load_recipe("schnet-ani1", settings))


def watched(stage: Callable[[Path, int], None], folder: Path, systems: int) -> None:
    """Run a stage and print its processor time and its largest memory."""
    largest, done = 0, threading.Event()

    def watch() -> None:
        nonlocal largest
        while not done.wait(0.2):
            lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
            largest = max(largest, *(int(line.split()[1]) for line in lines if line.startswith("RssAnon")))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    start, wall = time.process_time(), time.perf_counter()
    stage(folder, systems)
    seconds, passed = time.process_time() - start, time.perf_counter() - wall
    done.set()
    watcher.join()
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"| {stage.__name__} | {seconds:.0f} | {systems / seconds:,.0f} | {passed:.0f} | {resident / 2**20:.2f} "
        f"| {largest / 2**20:.2f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", type=int, default=2_000_000, help="conformations")
    parser.add_argument("--folder", type=Path, help="where the files go and stay; default a temporary folder")
    parser.add_argument("--stage", choices=STAGES, help="only this one, in this process")
    given = parser.parse_args()
    if given.stage is not None:
        watched(globals()[given.stage], given.folder, given.systems)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        print(f"{given.systems:,} conformations\n")
        print("| stage | CPU s | conformations/CPU s | wall s | resident, GiB | not of files, GiB |")
        print("|---|---|---|---|---|---|", flush=True)
        for stage in STAGES:
            words = [sys.executable, __file__, "--stage", stage, "--folder", folder, "--systems", str(given.systems)]
            subprocess.run(list(map(str, words)), check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
