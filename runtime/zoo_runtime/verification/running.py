"""What a program that computes must do beside computing right: repeat itself, share, and give memory back."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo_runtime.verification.subject import Results, Subject, deviations, worst

if TYPE_CHECKING:
    from ase import Atoms

REPEATS = 10
WARM_UP = 3
"""Calls after which a backend that optimises itself while running has settled."""
THREADS = 4
ROUNDS, CALLS = 4, 25
MEMORY = Path("/proc/self/statm")
"""Where Linux tells how much memory this process has."""


def repeat_error(subject: Subject, named: dict[str, Atoms]) -> float:
    """Return the largest difference between repeats of one batch, any output, in its unit."""
    graph = subject.graph(*named.values())
    for _ in range(WARM_UP):
        subject.backend.compute(graph)
    first = _copy(subject.backend.compute(graph))
    repeats = [deviations(subject.metadata, graph, subject.backend.compute(graph), first) for _ in range(REPEATS)]
    return float(np.max(list(worst(*repeats).values())))


def batch_error(subject: Subject, named: dict[str, Atoms]) -> float:
    """Return how much the results of one batch of very different sizes differ from those one by one."""
    graph = subject.graph(*named.values())
    singles = [subject.run(atoms) for atoms in named.values()]
    joined = {name: np.concatenate([single[name] for single in singles]) for name in singles[0]}
    found = deviations(subject.metadata, graph, subject.backend.compute(graph), joined)
    return float(np.max(list(found.values())))


def thread_error(subject: Subject, named: dict[str, Atoms]) -> float:
    """Return how much results differ when several threads compute different structures at once."""
    graphs = [subject.graph(atoms) for atoms in named.values()] * THREADS
    alone = [_copy(subject.backend.compute(graph)) for graph in graphs]
    with ThreadPoolExecutor(THREADS) as pool:
        together = list(pool.map(lambda graph: _copy(subject.backend.compute(graph)), graphs))
    found = [
        deviations(subject.metadata, graph, got, expected)
        for graph, got, expected in zip(graphs, together, alone, strict=True)
    ]
    return float(np.max(list(worst(*found).values())))


def can_measure_memory() -> bool:
    """Whether this system tells how much memory the process has."""
    return MEMORY.is_file()


def leak(subject: Subject, named: dict[str, Atoms]) -> float:
    """Return by how many bytes the process grows a call: the lesser of the last two rounds, since a leak shows in each.

    The first ones may find room in what was given back before.
    """
    graph = subject.graph(max(named.values(), key=len))
    for _ in range(WARM_UP):
        subject.backend.compute(graph)
    grown = []
    for _ in range(ROUNDS):
        before = _memory()
        for _ in range(CALLS):
            subject.backend.compute(graph)
        grown.append((_memory() - before) / CALLS)
    return max(0.0, min(grown[-2:]))


def _memory() -> int:
    return int(MEMORY.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _copy(results: Results) -> Results:
    return {name: np.array(value) for name, value in results.items()}
