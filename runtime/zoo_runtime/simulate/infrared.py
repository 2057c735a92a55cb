"""Infrared intensities from the dipoles of a model."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from zoo_registry.units import AVOGADRO, ELEMENTARY_CHARGE, SPEED_OF_LIGHT
from zoo_runtime import keys
from zoo_runtime.model import Model
from zoo_runtime.prediction import PredictionWarning

if TYPE_CHECKING:
    from ase import Atoms

VACUUM_PERMITTIVITY = 8.8541878128e-12  # F/m, CODATA 2018
DALTON = 1.66053906660e-27  # kg, CODATA 2018
# Integrated absorption of a derivative of 1 e u^(-1/2).
KM_PER_MOL = AVOGADRO * ELEMENTARY_CHARGE**2 / DALTON / (12 * VACUUM_PERMITTIVITY * SPEED_OF_LIGHT**2) / 1000

Array = npt.NDArray[np.float64]


def infrared_intensities(
    model: Model, atoms: Atoms, modes: Array, free: list[int], displacement: float
) -> tuple[Array, list[PredictionWarning]]:
    """Return the integrated absorption of normal modes in the double harmonic approximation.

    It is N_A |dμ/dQ|² / (12 ε0 c²), with the derivative of the dipole along the mode by central differences
    (D. Porezag, M. R. Pederson, Phys. Rev. B 54, 7830 (1996), doi:10.1103/PhysRevB.54.7830).

    Args:
        model: Has a dipole.
        atoms: A molecule of n atoms at its minimum.
        modes: [k, n, 3] u^(-1/2).
        free: Which atoms may move.
        displacement: Å.

    Returns:
        [k] km/mol, and what the model warned of.

    Raises:
        StructureError: The model refuses the structure.
    """
    predictions = model.predict(displaced(atoms, free, displacement))
    dipoles = np.array([np.asarray(prediction.properties[keys.DIPOLE]) for prediction in predictions])
    slopes = ((dipoles[::2] - dipoles[1::2]) / (2 * displacement)).reshape(len(free), 3, 3)  # atom, its axis, dipole's
    along = np.einsum("kax,axd->kd", modes[:, free], slopes)  # e u^(-1/2)
    return KM_PER_MOL * (along**2).sum(axis=1), predictions[0].warnings if predictions else []


def displaced(atoms: Atoms, free: list[int], displacement: float) -> list[Atoms]:
    """Return copies with one coordinate moved: of each free atom, x, y and z, forth and back."""
    images = []
    for atom in free:
        for axis in range(3):
            for sign in (1, -1):
                image = atoms.copy()
                image.positions[atom, axis] += sign * displacement
                images.append(image)
    return images


def with_dipoles(model: Model, trajectory: Iterable[Atoms]) -> Iterator[Atoms]:
    """Yield structures with the dipoles of a model as their results; what it warns of becomes a warning, once.

    Raises:
        StructureError: The model refuses one.
    """
    from ase.calculators.singlepoint import SinglePointCalculator

    waiting: deque[Atoms] = deque()
    told: set[PredictionWarning] = set()

    def passing() -> Iterator[Atoms]:
        for atoms in trajectory:
            waiting.append(atoms)
            yield atoms

    for prediction in model.predict_many(passing()):
        for warning in prediction.warnings:
            if warning not in told:
                told.add(warning)
                warnings.warn(warning, stacklevel=2)
        atoms = waiting.popleft()
        atoms.calc = SinglePointCalculator(atoms, dipole=prediction.properties[keys.DIPOLE])
        yield atoms
