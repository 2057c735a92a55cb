"""Forces, stress and conserved energy against the energy that they belong to."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from zoo_runtime import keys
from zoo_runtime.verification.subject import Subject

if TYPE_CHECKING:
    from ase import Atoms

STEP = 1e-4
"""Å, or strain, of the numerical derivatives of a float64 network."""
SINGLE_STEP = 4e-3
"""The same for float32, whose energies are a thousand times as rough."""
POINTS = np.array([-2.0, -1.0, 1.0, 2.0])
WEIGHTS = np.array([1.0, -8.0, 8.0, -1.0]) / 12.0
"""Central differences of fourth order."""
SMALLEST_FORCE = 1.0  # eV/Å; below, errors count as absolute ones
SMALLEST_STRESS = 0.01  # eV/Å³
TIME_STEP, STEPS, TEMPERATURE = 0.25, 40, 300.0  # fs, -, K
LITTLE = 1e-3  # eV/atom; less than that is not worth a ratio


def forces_error(subject: Subject, named: dict[str, Atoms]) -> float:
    """Return the largest difference between the forces and -ΔE/Δx, in units of the largest force."""
    step = SINGLE_STEP if subject.single else STEP
    errors = []
    for atoms in _different(named):
        moved = []
        for i, axis, point in itertools.product(range(len(atoms)), range(3), POINTS):
            moved.append(atoms.copy())
            moved[-1].positions[i, axis] += point * step
        slopes = subject.run(*moved)[keys.ENERGY].reshape(-1, len(POINTS)) @ WEIGHTS / step
        errors.append(_relative(subject.run(atoms)[keys.FORCES], -slopes.reshape(-1, 3), SMALLEST_FORCE))
    return float(np.max(errors))


def stress_error(subject: Subject, named: dict[str, Atoms]) -> float:
    """Return the largest difference between the stress and ΔE/Δε/V, in units of the largest component."""
    step = SINGLE_STEP / 4 if subject.single else STEP
    errors = []
    for atoms in _different(named):
        if not atoms.pbc.all():
            continue
        strained = []
        for a, b, point in itertools.product(range(3), range(3), POINTS):
            strain = np.zeros((3, 3))
            strain[a, b] += point * step / 2
            strain[b, a] += point * step / 2
            strained.append(atoms.copy())
            strained[-1].set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        slopes = subject.run(*strained)[keys.ENERGY].reshape(-1, len(POINTS)) @ WEIGHTS / step
        stress = slopes.reshape(3, 3) / atoms.get_volume()
        errors.append(_relative(subject.run(atoms)[keys.STRESS][0], stress, SMALLEST_STRESS))
    return float(np.max(errors))


def _different(named: dict[str, Atoms]) -> list[Atoms]:
    """Return one small structure of each kind of periodicity, and a second molecule."""
    kinds: dict[tuple[bool, ...], list[Atoms]] = {}
    for atoms in sorted(named.values(), key=len):
        if len(atoms) > (1 if atoms.pbc.any() else 2):
            kinds.setdefault(tuple(atoms.pbc), []).append(atoms)
    return [atoms for pbc, found in kinds.items() for atoms in found[: 1 if any(pbc) else 2]]


def _relative(value: npt.NDArray, numerical: npt.NDArray, smallest: float) -> float:
    return float(np.abs(value - numerical).max() / np.maximum(smallest, np.abs(numerical).max()))


def drift(subject: Subject, named: dict[str, Atoms]) -> float:
    """Return how much of the energy exchanged in free dynamics from 300 K gets lost or made.

    The largest change of the total energy, in units of the largest change of the kinetic energy. Velocity Verlet, 40
    steps of 0.25 fs and twice as many of half that; the integrator's own error falls with the square of the step, so
    it is extrapolated away: what is left is that of the forces.
    """
    structures = [atoms for atoms in _different(named) if not atoms.pbc.any()]
    coarse, fine = (_energies(subject, structures, TIME_STEP / n, n) for n in (1, 2))
    total, kinetic = (4.0 * fine - coarse) / 3.0  # each [STEPS + 1, s]
    if not np.isfinite(total).all():
        return float("nan")
    exchanged = np.maximum(np.abs(kinetic - kinetic[0]).max(0), LITTLE)
    return float((np.abs(total - total[0]).max(0) / exchanged).max())


def _energies(subject: Subject, structures: list[Atoms], time_step: float, every: int) -> npt.NDArray:
    """Return total and kinetic energies in eV/atom, [2, STEPS + 1, s], at each so many steps of a time in fs."""
    from ase import units

    structures = [atoms.copy() for atoms in structures]
    sizes = [len(atoms) for atoms in structures]
    starts = np.cumsum([0, *sizes[:-1]])
    masses = np.concatenate([atoms.get_masses() for atoms in structures])[:, None]
    velocities = np.sqrt(TEMPERATURE * units.kB / masses) * np.random.default_rng(0).normal(size=(len(masses), 3))
    step = time_step * units.fs
    results = subject.run(*structures)
    energies = []
    for n in range(STEPS * every + 1):
        if n % every == 0:
            kinetic = np.add.reduceat(0.5 * masses[:, 0] * (velocities**2).sum(1), starts)
            energies.append(np.stack([results[keys.ENERGY] + kinetic, kinetic]) / sizes)
        velocities = velocities + 0.5 * step * results[keys.FORCES] / masses
        for atoms, start in zip(structures, starts, strict=True):
            atoms.positions += step * velocities[start : start + len(atoms)]
        results = subject.run(*structures)
        velocities = velocities + 0.5 * step * results[keys.FORCES] / masses
    return np.stack(energies, axis=1)
