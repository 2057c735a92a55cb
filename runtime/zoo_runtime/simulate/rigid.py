"""Motions of a system as a whole: they cost no energy, so they are no vibrations and hold no heat in NVE."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from ase import Atoms

LINEAR = 0.01  # Å; a turn about an axis that all atoms are this near to is no motion


def rigid_motions(atoms: Atoms) -> npt.NDArray[np.float64]:
    """Return an orthonormal basis of the mass-weighted translations, and of the rotations of a molecule.

    Args:
        atoms: n atoms.

    Returns:
        [3n, k]: k = 6 for a molecule, 5 for a linear one, 3 for an atom or a periodic system, 0 where ASE constraints
        hold atoms.
    """
    n = len(atoms)
    if atoms.constraints:
        return np.zeros((3 * n, 0))
    weights = np.sqrt(atoms.get_masses() / atoms.get_masses().sum())
    translations = np.einsum("i,ab->iab", weights, np.eye(3)).reshape(3 * n, 3)
    if atoms.pbc.any():
        return translations
    arms = atoms.positions - atoms.get_center_of_mass()
    turns = np.stack([np.cross(axis, arms) for axis in np.eye(3)], axis=-1)  # [n, 3, 3]
    basis, radii, _ = np.linalg.svd((weights[:, None, None] * turns).reshape(3 * n, 3), full_matrices=False)
    return np.hstack([translations, basis[:, radii > LINEAR]])


def without_rigid_motion(atoms: Atoms, momenta: npt.NDArray) -> npt.NDArray[np.float64]:
    """Return momenta, [n, 3] in ASE's units, without the motion of the system as a whole."""
    roots = np.repeat(np.sqrt(atoms.get_masses()), 3)
    weighted = np.ravel(momenta) / roots
    basis = rigid_motions(atoms)
    return ((weighted - basis @ (basis.T @ weighted)) * roots).reshape(-1, 3)
