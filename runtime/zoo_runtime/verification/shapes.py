"""Structures on which a model is recorded, compared and checked, made of whatever elements it knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

MOLECULES = 3
LARGE = 20_000
"""Atoms of the largest shape."""


def structures(species: list[int], cutoff: float) -> dict[str, Atoms]:
    """Return named structures: common shapes first, then those that break careless code.

    Args:
        species: Atomic numbers that the model knows.
        cutoff: Radius of its neighbour list in Å.
    """
    from ase import Atoms

    found = molecules(species)
    crystal = _packed(next(iter(found.values()))) if found else _crystal(species[0], species[-1])
    slab = crystal * (2, 1, 1)
    slab.pbc = (True, True, False)
    wire = crystal.copy()
    wire.pbc = (False, False, True)
    left = crystal.copy()
    left.set_cell(left.cell.array[[1, 0, 2]])
    unwrapped = crystal.copy()
    unwrapped.positions += np.random.default_rng(0).integers(-3, 4, (len(crystal), 3)) @ crystal.cell.array
    boxed = crystal.copy()
    boxed.pbc = False
    far = Atoms([species[0], species[-1]], [[0.0, 0.0, 0.0], [0.0, 0.0, cutoff + 1.0]])
    return (found or {"cluster": _cluster(species)}) | {
        "one atom": Atoms([species[-1]]),
        "two atoms beyond the cutoff": far,
        "crystal with a cell smaller than the cutoff": crystal,
        "one atom and its images": _lattice(species[-1], cutoff),
        "slab": slab,
        "wire": wire,
        "left-handed cell": left,
        "unwrapped positions": unwrapped,
        "a cell but no periodicity": boxed,
    }


def molecules(species: list[int]) -> dict[str, Atoms]:
    """Return some molecules of the G2 set that the elements allow, from small to large."""
    from ase import Atoms
    from ase.build import molecule
    from ase.collections import g2

    allowed = [m for m in (molecule(name) for name in g2.names) if set(m.numbers) <= set(species)]
    closed = [m for m in allowed if sum(m.numbers) % 2 == 0 and len(m) >= 5]  # the small ones are mostly radicals
    ordered = sorted(closed, key=lambda m: (len(m), m.get_chemical_formula()))
    chosen = [ordered[i] for i in np.linspace(0, len(ordered) - 1, MOLECULES).astype(int)] if ordered else []
    return {f"molecule {m.get_chemical_formula()}": Atoms(m.numbers, m.positions) for m in chosen}


def large(species: list[int], cutoff: float) -> tuple[Atoms, tuple[int, int, int]]:
    """Return a dilute crystal and how many times it must be repeated along each vector to hold 20,000 atoms.

    Results for the repeated crystal follow from those for the one: they need no second program.
    """
    cell = next(iter(molecules(species).values()), None) or _cluster(species)
    cell.set_cell(np.diag(np.ptp(cell.positions, axis=0) + 0.96 * cutoff))
    cell.pbc = True
    wide = int(np.ceil((LARGE / len(cell)) ** (1 / 3)))
    return cell, (wide, wide, int(np.ceil(LARGE / len(cell) / wide**2)))


def _lattice(number: int, cutoff: float) -> Atoms:
    from ase import Atoms
    from ase.data import covalent_radii

    edge = max(0.8 * cutoff, 2.2 * covalent_radii[number])
    return Atoms([number], cell=edge * np.array([[1.0, 0.0, 0.0], [0.1, 1.0, 0.0], [0.0, -0.1, 1.05]]), pbc=True)


def _cluster(species: list[int]) -> Atoms:
    """Return eight atoms at the corners of a distorted cube with edges of a bond's length."""
    from ase import Atoms
    from ase.data import covalent_radii

    numbers = [species[i % len(species)] for i in range(8)]
    edge = 2.2 * max(covalent_radii[z] for z in numbers)
    corners = np.stack(np.meshgrid([0.0, 1.0], [0.0, 1.0], [0.0, 1.0]), -1).reshape(-1, 3)
    atoms = Atoms(numbers, edge * corners)
    atoms.rattle(0.1, seed=0)
    return atoms


def _packed(atoms: Atoms) -> Atoms:
    """Return a crystal of a molecule in a narrow, skewed cell, part of the molecule outside of it.

    Far from its training data a network amplifies the rounding of float32 beyond any tolerance that would still
    find a fault, so the molecules touch but do not overlap.
    """
    from ase import Atoms

    lengths = np.ptp(atoms.positions, axis=0) + 2.5
    crystal = Atoms(atoms.numbers, atoms.positions + 0.3, pbc=True)
    skew = np.array([[0.0, 0.1, 0.0], [0.3, 0.0, 0.0], [0.0, -0.2, 0.0]])
    crystal.set_cell(np.diag(lengths) + skew)
    crystal.rattle(0.02, seed=0)
    return crystal


def _crystal(a: int, b: int) -> Atoms:
    """Return a distorted, skewed cell of the CsCl kind with two atoms, one of them outside of it."""
    from ase import Atoms
    from ase.data import covalent_radii

    edge = 3.0 * (covalent_radii[a] + covalent_radii[b]) / np.sqrt(3.0)
    cell = edge * np.array([[1.0, 0.0, 0.0], [0.2, 1.0, 0.0], [0.0, -0.1, 1.1]])
    atoms = Atoms([a, b], scaled_positions=[[0.02, 0.01, 1.0], [0.5, 0.46, 0.52]], cell=cell, pbc=True)
    atoms.positions[0] += cell[2]
    return atoms
