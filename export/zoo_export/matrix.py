"""Every backend in every precision against the float64 network, on shapes that break careless code."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from ase import Atoms
from safetensors.torch import load_file

from zoo.models import Potential, build
from zoo_export.eager import Eager
from zoo_registry.release import Release
from zoo_runtime import keys
from zoo_runtime.backends import BackendUnavailable, choose, native
from zoo_runtime.backends.committee import NativeCommittee
from zoo_runtime.verification.shapes import LARGE, large, structures
from zoo_runtime.verification.subject import Results, Subject, deviations

FLOAT32 = (2e-6, 2e-5)
"""Largest |dE| in eV/atom and |dF| in eV/Å that are accepted of float32, and of tables of filters."""
FLOAT64 = (1e-9, 1e-9)
"""The same of float64."""


class Column(NamedTuple):
    """A way to compute.

    Attributes:
        name: For the table.
        subject: What computes.
        limits: See `FLOAT32`.
    """

    name: str
    subject: Subject
    limits: tuple[float, float]


class Row(NamedTuple):
    """A shape with the results of the float64 network, one batch.

    Attributes:
        name: For the table.
        structures: The batch.
        expected: Results.
        huge: Whether float64 in a graph runtime would need more memory than is worth it: some 10 GB.
    """

    name: str
    structures: list[Atoms]
    expected: Results
    huge: bool = False


class Cell(NamedTuple):
    """One entry: how far a way to compute is from the float64 network on a shape.

    Attributes:
        shape: Name of the shape.
        column: Name of the column.
        energy: Largest |dE|, eV/atom; 0 where it was left out.
        forces: Largest |dF|, eV/Å; 0 where it was left out.
        passed: Whether both are within the limits.
        made: Whether it was computed.
    """

    shape: str
    column: str
    energy: float
    forces: float
    passed: bool
    made: bool = True

    def __str__(self) -> str:
        if not self.made:
            return "-"
        return f"{self.energy:.0e} {self.forces:.0e}{'' if self.passed else ' !'}"


def network(release: Release) -> Potential:
    """Return the network of a release, from its weights and hyperparameters alone."""
    potential = build(release.metadata.hyperparameters)
    potential.load_state_dict(load_file(release.file("model.safetensors")))
    return potential.eval()


def columns(release: Release, backends: list[str]) -> Iterator[Column]:
    """Yield the ways to compute that are here.

    Args:
        release: A release whose programs are trusted.
        backends: Names of the backends to look at.
    """
    metadata = release.metadata
    single = Eager(copy.deepcopy(network(release)))
    single.potential.cast(torch.float32)
    yield Column("eager float32", Subject(single, metadata, "float32"), FLOAT32)
    for name in backends:
        for dtype, limits in (("float32", FLOAT32), ("float64", FLOAT64)):
            try:
                runner: Any = choose(release, name, "cpu", dtype)
            except BackendUnavailable:
                continue
            if name == "native" and dtype == "float64":
                yield Column("native float64 tables", Subject(runner, metadata, dtype), FLOAT32)
                if metadata.architecture != "schnet":
                    continue  # its symmetry functions are always tabulated
                runner = _exact(release, dtype)
            yield Column(f"{name} {dtype}", Subject(runner, metadata, dtype), limits)


def _exact(release: Release, dtype: str) -> Any:
    """Return the engine with SchNet's filter networks themselves in place of their tables."""
    file = release.file(native.FILE)
    members = release.metadata.hyperparameters.get("committee")
    if members is None:
        return native.NativeModel(file, dtype, exact=True)
    return NativeCommittee([native.NativeModel(file, dtype, exact=True, member=k) for k in range(members)])


def rows(reference: Subject, with_large: bool) -> Iterator[Row]:
    """Yield the shapes, each alone, then all as one batch, then one of 20,000 atoms.

    The last is a repeated crystal, for which the results of its cell are repeated: nothing could check the float64
    network on 20,000 atoms but itself.

    Args:
        reference: The float64 network.
        with_large: Whether the last one is wanted.
    """
    metadata = reference.metadata
    named = structures(metadata.species, metadata.cutoff)
    for name, atoms in named.items():
        yield Row(name, [atoms], reference.run(atoms))
    yield Row("a batch of very different sizes", list(named.values()), reference.run(*named.values()))
    if with_large:
        cell, repeats = large(metadata.species, metadata.cutoff)
        copies, one = int(np.prod(repeats)), reference.run(cell)
        expected = {keys.ENERGY: copies * one[keys.ENERGY], keys.FORCES: np.tile(one[keys.FORCES], (copies, 1))}
        yield Row(f"{LARGE:,} atoms", [cell * repeats], expected, huge=True)


def cell(column: Column, row: Row) -> Cell:
    """Return how far a way to compute is from the float64 network on a shape."""
    metadata = column.subject.metadata
    if row.huge and not column.subject.single and column.subject.backend.name != "native":
        return Cell(row.name, column.name, 0.0, 0.0, passed=True, made=False)
    graph = column.subject.graph(*row.structures)
    found = deviations(metadata, graph, column.subject.backend.compute(graph), row.expected)
    energy, forces = found[keys.ENERGY], found[keys.FORCES]
    passed = energy < column.limits[0] and forces < column.limits[1]
    return Cell(row.name, column.name, energy, forces, passed)


def matrix(release: Release, backends: list[str], with_large: bool = True) -> Iterator[list[Cell]]:
    """Yield the entries of one shape after the other.

    Args:
        release: A release of a model with energy and forces, whose programs are trusted.
        backends: Names of the backends to look at.
        with_large: Whether 20,000 atoms are among the shapes; some GB of memory.
    """
    ways = list(columns(release, backends))
    reference = Subject(Eager(network(release)), release.metadata, "float64")
    for row in rows(reference, with_large):
        yield [cell(column, row) for column in ways]
