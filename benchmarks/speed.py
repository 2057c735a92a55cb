"""Compare backends on the same weights: ``python benchmarks/speed.py [--model model.safetensors | --release DIR]``.

One step is one call of an ASE calculator for energy and forces after all atoms moved a little, neighbour list included;
a batch is one call for all molecules. Contenders take turns; medians are printed. Times are of the wall clock, so use a
quiet machine, or pass --cpu for the time of this thread (one thread only).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import contenders  # noqa: E402
import numpy as np  # noqa: E402
from systems import SPECIES, systems  # noqa: E402

MOVE = 0.01  # Å per step and direction


def random_model(kind: str, folder: str) -> Path:
    """Untrained weights are as fast as trained ones."""
    import torch
    from safetensors.torch import save_file

    from zoo.models import build

    torch.manual_seed(0)
    representation = {"kind": kind, "species": SPECIES, "cutoff": 5.0}
    head = {"kind": "atomwise", "property": "energy", "unit": "eV"}
    if kind == "wacsf":
        head |= {"kind": "elemental_atomwise", "hidden": [100]}
    model = build({"representation": representation, "heads": {"energy": head}})
    if kind == "wacsf":
        # Bring the functions to the scale of trained ones.
        model.representation.stddev.fill_(100.0)
    document = {"schema": 1, "name": kind, "version": "0.0.0", "hyperparameters": model.hyperparameters}
    if kind == "schnet":
        document["hyperparameters"]["representation"] |= {"features": 128, "interactions": 6, "gaussians": 50}
    path = Path(folder) / "model.safetensors"
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path, {"zoo.json": json.dumps(document)})
    return path


def make(name: str, path: Path, release: Path | None, batch: bool) -> contenders.Compute:
    if name.startswith("native"):
        return contenders.native(path, int(name.partition("x")[2] or 1), batch)
    if name == "eager":
        return contenders.eager(path)
    if name.startswith("schnetpack"):
        return contenders.schnetpack(path, "flushed" in name, batch)
    assert release is not None, name  # noqa: S101
    return contenders.release(release, "native" if name == "calculator" else name, batch)


def moved(atoms: Any, random: np.random.Generator) -> None:
    for one in atoms if isinstance(atoms, list) else [atoms]:
        one.positions += random.uniform(-MOVE, MOVE, one.positions.shape)


def start_again(copies: Any, atoms: Any) -> Any:
    for copy, one in zip(copies, atoms, strict=True) if isinstance(atoms, list) else [(copies, atoms)]:
        copy.positions = one.positions
    return copies


def measure(
    names: list[str], path: Path, release: Path | None, atoms: Any, seconds: float, clock: Any
) -> dict[str, float]:
    batch = isinstance(atoms, list)
    computes = {name: make(name, path, release, batch) for name in names}
    # Each has its own copy, so that no calculator finds another's result in it.
    copies = {name: [a.copy() for a in atoms] if batch else atoms.copy() for name in names}
    reference = None
    for name in names:
        energy, forces = computes[name](copies[name])
        reference = (energy, forces) if reference is None else reference
        worst = np.abs(forces - reference[1]).max()
        if worst > 1e-3:
            raise SystemExit(f"{name} gives other forces than {names[0]}: {worst:.1e} eV/Å")
    times: dict[str, list[float]] = {name: [] for name in names}
    random = np.random.default_rng(0)
    end = time.monotonic() + seconds
    while time.monotonic() < end or min(map(len, times.values())) < 3:
        for name in names:
            # As many steps of the fast ones as fit beside one of the slow ones.
            spent = 0.0
            for step in range(20):
                if len(times[name]) % 100 == 99:  # before the walk brings atoms together
                    copies[name] = start_again(copies[name], atoms)
                moved(copies[name], random)
                start = clock()
                computes[name](copies[name])
                times[name].append(clock() - start)
                spent += times[name][-1]
                if spent > 0.05 and step >= 1:
                    break
    return {name: statistics.median(values) * 1e3 for name, values in times.items()}


def peak_memory(name: str, arguments: list[str], system: str) -> float:
    os.sched_setaffinity(0, contenders.CORES)  # the child would inherit the one core of a pinned thread
    command = [sys.executable, __file__, *arguments, "--memory-of", name, "--systems", system]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def resident() -> float:
    """Return the peak memory of this process in MB; getrusage would give that of the parent where it is larger."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="model.safetensors; default: random weights")
    parser.add_argument("--release", type=Path, help="a release folder, to time its other backends too")
    parser.add_argument("--kind", default="schnet", choices=["schnet", "wacsf"], help="of the random weights")
    kinds = "native, nativex2, eager, schnetpack, ...; with --release also onnx, torchscript and calculator"
    parser.add_argument("--contenders", default="native,eager", help=kinds)
    parser.add_argument("--systems", default="", help="names separated by commas; default all")
    parser.add_argument("--seconds", type=float, default=5.0, help="at least this long for each system")
    parser.add_argument("--cpu", action="store_true", help="time of this thread instead of the wall clock")
    parser.add_argument("--memory", action="store_true", help="also the peak memory of each, in a process of its own")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    clock = time.thread_time if options.cpu else time.perf_counter
    names = options.contenders.split(",")
    wanted = [name for name in options.systems.split(",") if name]
    with tempfile.TemporaryDirectory() as folder:
        path = options.model or (options.release / "model.safetensors" if options.release else None)
        path = path or random_model(options.kind, folder)
        chosen = {name: atoms for name, atoms in systems().items() if not wanted or name in wanted}
        if options.memory_of:
            (atoms,) = chosen.values()
            make(options.memory_of, path, options.release, isinstance(atoms, list))(atoms)
            print(resident())
            return
        own = ["--kind", options.kind] + (["--model", str(path)] if options.model else [])
        own += ["--release", str(options.release)] if options.release else []
        first = 0.0
        for system, atoms in chosen.items():
            n = sum(map(len, atoms)) if isinstance(atoms, list) else len(atoms)
            print(f"\n{system} ({n} atoms)")
            for name, ms in measure(names, path, options.release, atoms, options.seconds, clock).items():
                first = ms if name == names[0] else first
                line = f"  {name:24s} {ms:10.3f} ms {ms * 1e3 / n:9.2f} µs/atom   {ms / first:7.2f} x"
                if options.memory:
                    line += f" {peak_memory(name, own, system):9.0f} MB"
                print(line, flush=True)


if __name__ == "__main__":
    main()
