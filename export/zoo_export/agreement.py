"""Proof that an exported file computes what the network does, before the release is written."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from zoo_export.checks import Check
from zoo_export.eager import Eager
from zoo_registry.release import Release
from zoo_runtime import keys
from zoo_runtime.backends import choose
from zoo_runtime.graph import Graph, build

ENERGY_TOLERANCE = 1e-5
"""Largest |dE| that is accepted, in eV/atom; float32 gives about 1e-7."""
FORCES_TOLERANCE = 1e-4
"""Largest |dF| that is accepted, in eV/Å; float32 gives about 1e-6. The same number holds for all other outputs."""
REPEATS = 10
CHANGING = ("torchscript",)
"""Backends that optimise themselves during the first calls, which changes the last digits."""


def agreement(reference: Eager, release: Release, backend: str, named: dict[str, Atoms]) -> list[Check]:
    """Compare a backend on the files of a release with the float64 network.

    Each structure is computed alone, and all of them as one batch; the batch several times over, with one and with
    two threads, since races show only now and then.

    Args:
        reference: The float64 network.
        release: The folder that holds the exported file.
        backend: Name of the backend that runs it.
        named: The structures.
    """
    graphs = [build([atoms], reference.cutoff, reference.needs_triples) for atoms in named.values()]
    together = build(list(named.values()), reference.cutoff, reference.needs_triples)
    expected = [reference.compute(graph) for graph in graphs]
    expected_together = reference.compute(together)
    worst = dict.fromkeys(reference.outputs, 0.0)
    unequal = 0
    for threads in (1, 2):
        runner = choose(release, backend, device="cpu", dtype="float32", threads=threads)
        for graph, result in zip(graphs, expected, strict=True):
            _record(worst, graph, result, runner.compute(graph))
        repeats = [runner.compute(together) for _ in range(REPEATS)]
        for repeat in repeats:
            _record(worst, together, expected_together, repeat)
            unequal += any(not np.array_equal(repeat[name], repeats[0][name]) for name in worst)
    tolerances = {keys.ENERGY: ENERGY_TOLERANCE}
    units = reference.units | {keys.ENERGY: "eV/atom"}
    checks = [
        Check(f"{backend} = eager: {name}", value, tolerances.get(name, FORCES_TOLERANCE), units[name])
        for name, value in worst.items()
    ]
    if backend not in CHANGING:
        checks.append(Check(f"{backend} repeats bit by bit", float(unequal), 0.0, "unequal repeats"))
    return checks


def _record(worst: dict[str, float], graph: Graph, expected: dict[str, np.ndarray], got: dict[str, np.ndarray]) -> None:
    atoms = np.bincount(graph.system, minlength=graph.n_systems)
    for name in worst:
        difference = np.abs(np.asarray(got[name], dtype=np.float64) - expected[name])
        if name == keys.ENERGY:
            difference = difference / atoms
        # np.fmax would lose a NaN, which must count as a disagreement.
        worst[name] = float(np.maximum(worst[name], difference.max(initial=0.0)))
