"""Physics that a network must obey, measured on its float64 form.

Named after the verification checks of OpenKIM where there is one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase import Atoms

from zoo_export.eager import Eager
from zoo_runtime import keys
from zoo_runtime.graph import build

STEPS = np.array([-2.0, -1.0, 1.0, 2.0]) * 1e-4
"""Displacements in Å, or strains, of the numerical derivatives."""
WEIGHTS = np.array([1.0, -8.0, 8.0, -1.0]) / 12e-4
"""Central differences of fourth order."""


@dataclass(frozen=True)
class Check:
    """One line of the verification report.

    Attributes:
        name: What was checked.
        value: The largest deviation found.
        tolerance: The largest that is accepted.
        unit: Unit of both.
    """

    name: str
    value: float
    tolerance: float
    unit: str

    @property
    def passed(self) -> bool:
        """Whether the deviation is a number and small enough."""
        return bool(self.value <= self.tolerance)

    def line(self) -> dict[str, Any]:
        """Return the check as plain values."""
        return asdict(self) | {"passed": self.passed}


def physics(reference: Eager, named: dict[str, Atoms]) -> list[Check]:
    """Check derivatives and symmetries of an energy model on some structures.

    Args:
        reference: The float64 network.
        named: The structures.
    """
    if keys.FORCES not in reference.outputs:
        return []
    solids = {name: atoms for name, atoms in named.items() if atoms.pbc.all()}
    large = {name: atoms for name, atoms in named.items() if len(atoms) > 1}
    return [
        Check("forces vs numerical derivative", _worst(_forces_error, reference, large), 1e-5, "relative"),
        Check("stress vs numerical strain", _worst(_stress_error, reference, solids), 1e-5, "relative"),
        Check("objectivity (rotation and translation)", _worst(_rotation_error, reference, large), 1e-8, "eV/Å"),
        Check("permutation symmetry", _worst(_permutation_error, reference, large), 1e-8, "eV/Å"),
        Check("inversion symmetry", _worst(_inversion_error, reference, large), 1e-8, "eV/Å"),
        Check("extensivity (two copies far apart)", _worst(_copy_error, reference, _clusters(named)), 1e-8, "eV"),
    ]


def _worst(error: Callable[[Eager, Atoms], float], reference: Eager, named: dict[str, Atoms]) -> float:
    # np.max keeps a NaN where Python's max may lose it.
    return float(np.max([error(reference, atoms) for atoms in named.values()]))


def _run(reference: Eager, *structures: Atoms) -> dict[str, np.ndarray]:
    return reference.compute(build(structures, reference.cutoff, reference.needs_triples))


def _forces_error(reference: Eager, atoms: Atoms) -> float:
    moved = []
    for i, axis, step in itertools.product(range(len(atoms)), range(3), STEPS):
        moved.append(atoms.copy())
        moved[-1].positions[i, axis] += step
    slopes = _run(reference, *moved)[keys.ENERGY].reshape(-1, len(STEPS)) @ WEIGHTS
    return _relative(_run(reference, atoms)[keys.FORCES], -slopes.reshape(-1, 3))


def _stress_error(reference: Eager, atoms: Atoms) -> float:
    strained = []
    for a, b, step in itertools.product(range(3), range(3), STEPS):
        strain = np.zeros((3, 3))
        strain[a, b] += step / 2
        strain[b, a] += step / 2
        strained.append(atoms.copy())
        strained[-1].set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    slopes = _run(reference, *strained)[keys.ENERGY].reshape(-1, len(STEPS)) @ WEIGHTS
    return _relative(_run(reference, atoms)[keys.STRESS][0], slopes.reshape(3, 3) / atoms.get_volume())


def _relative(value: np.ndarray, numerical: np.ndarray) -> float:
    """Return the largest deviation in units of the largest component, or of 1 where that is smaller."""
    return float(np.abs(value - numerical).max() / max(1.0, np.abs(value).max()))


def _rotation_error(reference: Eager, atoms: Atoms) -> float:
    rotated = atoms.copy()
    rotated.rotate(57.0, (1.0, 2.0, 3.0), rotate_cell=True)
    turn = Atoms("H3", np.eye(3))
    turn.rotate(57.0, (1.0, 2.0, 3.0))
    rotated.positions += (0.3, -0.2, 0.1)
    return _difference(reference, atoms, rotated, lambda forces: forces @ turn.positions)


def _permutation_error(reference: Eager, atoms: Atoms) -> float:
    order = np.random.default_rng(0).permutation(len(atoms))
    return _difference(reference, atoms, atoms[order], lambda forces: forces[order])


def _inversion_error(reference: Eager, atoms: Atoms) -> float:
    mirrored = atoms.copy()
    mirrored.positions *= -1.0
    mirrored.set_cell(-atoms.cell.array)
    return _difference(reference, atoms, mirrored, lambda forces: -forces)


def _difference(reference: Eager, atoms: Atoms, other: Atoms, transform: Callable[[np.ndarray], np.ndarray]) -> float:
    before, after = _run(reference, atoms), _run(reference, other)
    energy = np.abs(before[keys.ENERGY] - after[keys.ENERGY]).max()
    return float(max(energy, np.abs(transform(before[keys.FORCES]) - after[keys.FORCES]).max()))


def _copy_error(reference: Eager, atoms: Atoms) -> float:
    other = atoms.copy()
    other.positions += 1000.0
    return float(np.abs(2 * _run(reference, atoms)[keys.ENERGY] - _run(reference, atoms + other)[keys.ENERGY])[0])


def _clusters(named: dict[str, Atoms]) -> dict[str, Atoms]:
    return {name: atoms for name, atoms in named.items() if not atoms.pbc.any()}
