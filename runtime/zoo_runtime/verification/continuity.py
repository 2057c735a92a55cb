"""Energies without steps or kinks, and atoms that see no farther than stated."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from zoo_runtime import keys
from zoo_runtime.verification.subject import Subject

if TYPE_CHECKING:
    from ase import Atoms

PAIRS = 36  # of elements at most, evenly chosen
INTERVALS = 100  # of the first grid of distances
KEPT = 6  # of the roughest intervals of each pair of elements, which are halved again
HALVINGS = 16
SINGLE_HALVINGS = 12
BEYOND = 1e-6  # Å on either side of the cutoff
SINGLE_BEYOND = 1e-5
SHORTEST = 0.7  # of the sum of the covalent radii


def dimer_jump(subject: Subject, named: dict[str, Atoms]) -> float:
    """Return the largest jump of energy (eV) or force (eV/Å) along the distance of any pair of elements.

    Where energy and force are continuous, their second difference over an interval vanishes as it is halved; at a step
    or a kink it stays. The roughest intervals of each pair are halved again and again. Jumps are relative where the
    force is above 1 eV/Å.
    """
    from ase.data import covalent_radii

    cutoff = subject.metadata.cutoff
    pairs = list(itertools.combinations_with_replacement(subject.metadata.species, 2))
    pairs = pairs[:: -(-len(pairs) // PAIRS)]
    shortest = np.array([SHORTEST * (covalent_radii[a] + covalent_radii[b]) for a, b in pairs])
    grid = np.linspace(0.0, 1.0, INTERVALS + 1)
    ends = shortest[:, None] + (1.01 * cutoff - shortest)[:, None] * grid  # [p, I + 1]
    low, high = ends[:, :-1], ends[:, 1:]
    f_low, f_high = (_curve(subject, pairs, r) for r in (low, high))
    jump = np.zeros(1)
    for _ in range(SINGLE_HALVINGS if subject.single else HALVINGS):
        middle = 0.5 * (low + high)
        f_middle = _curve(subject, pairs, middle)
        size = np.maximum(1.0, np.abs(f_middle[..., 1:]))
        rough = (np.abs(f_low + f_high - 2 * f_middle) / size).max(-1)  # [p, I]
        jump = rough.max(initial=0.0)
        keep = np.argsort(-rough, axis=1)[:, :KEPT]
        take = [np.take_along_axis(x, keep, 1) for x in (low, middle, high)]
        values = [np.take_along_axis(f, keep[..., None], 1) for f in (f_low, f_middle, f_high)]
        low, high = (np.concatenate(take[i : i + 2], 1) for i in (0, 1))
        f_low, f_high = (np.concatenate(values[i : i + 2], 1) for i in (0, 1))
    return float(jump)


def _curve(subject: Subject, pairs: list[tuple[int, int]], distances: npt.NDArray) -> npt.NDArray:
    """Return energy in eV and force in eV/Å of dimers, [p, I, 2], at distances [p, I]."""
    from ase import Atoms

    dimers = [Atoms(pair, [[0, 0, 0], [r, 0, 0]]) for pair, row in zip(pairs, distances, strict=True) for r in row]
    results = subject.run(*dimers)
    forces = results[keys.FORCES].reshape(-1, 2, 3)[:, 1, 0]
    return np.stack([results[keys.ENERGY].reshape(distances.shape), forces.reshape(distances.shape)], -1)


def cutoff_jump(subject: Subject, named: dict[str, Atoms]) -> float:
    """Return by how much energy (eV) or any force (eV/Å) changes when an atom leaves the cutoff of a molecule."""
    from ase import Atoms

    cutoff, beyond = subject.metadata.cutoff, SINGLE_BEYOND if subject.single else BEYOND
    jumps = []
    for atoms in named.values():
        if atoms.pbc.any() or len(atoms) < 2:
            continue
        outermost = atoms.positions[atoms.positions[:, 0].argmax()]
        both = []
        for number, side in itertools.product(subject.metadata.species, (-beyond, beyond)):
            probe = Atoms([number], [outermost + np.array([cutoff + side, 0.0, 0.0])])
            both.append(Atoms(atoms.numbers, atoms.positions) + probe)
        results = subject.run(*both)
        energies = results[keys.ENERGY].reshape(-1, 2)
        forces = results[keys.FORCES].reshape(-1, 2, len(atoms) + 1, 3)
        jumps += [np.abs(np.diff(energies, axis=1)).max(), np.abs(np.diff(forces, axis=1)).max()]
    return float(np.max(jumps))


def locality_error(subject: Subject, named: dict[str, Atoms]) -> float:
    """Return how much the energy of any atom changes, in eV, when one beyond the interaction range moves.

    In a chain of atoms that are all within each other's cutoff, so that whatever can be passed on is.
    """
    from ase import Atoms

    metadata = subject.metadata
    spacing = 0.45 * metadata.cutoff
    n = int(np.ceil(metadata.interaction_range / spacing)) + 4
    positions = np.stack([spacing * np.arange(n), 0.3 * (-1.0) ** np.arange(n), np.zeros(n)], axis=1)
    chain = Atoms([metadata.species[i % len(metadata.species)] for i in range(n)], positions)
    moved = chain.copy()
    moved.positions[-1] += (-0.2, 0.3, 0.1)
    distances = np.minimum(*(np.linalg.norm(a.positions[-1] - positions, axis=1) for a in (chain, moved)))
    beyond = distances > metadata.interaction_range
    before, after = (subject.run(atoms)[keys.ENERGIES] for atoms in (chain, moved))
    return float(np.abs(before - after)[beyond].max())


def resolution(subject: Subject, named: dict[str, Atoms]) -> float:
    """Return how rough the energy is on a smooth path of one molecule, in eV/atom.

    Energies of -10⁴ eV in float32 come in steps of 10⁻³ eV: references and sums must be float64 whatever the network
    is. The path is short enough for a polynomial of fourth order, from which the energies are subtracted.
    """
    atoms = next(atoms for atoms in named.values() if len(atoms) > 1)
    direction = np.random.default_rng(0).normal(0.0, 1.0, atoms.positions.shape)
    path: list[Any] = []
    for s in np.linspace(-1.0, 1.0, 65):
        path.append(atoms.copy())
        path[-1].positions += 2e-3 * s * direction
    energies = subject.run(*path)[keys.ENERGY]
    x = np.linspace(-1.0, 1.0, len(energies))
    y = energies - energies.mean()
    return float(np.abs(y - np.polyval(np.polyfit(x, y, 4), x)).max() / len(atoms))
