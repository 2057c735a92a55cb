"""LAMMPS with any number of ranks and threads gives what the Python interface gives."""

from __future__ import annotations

import os

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from zoo_runtime import load

# Ranks and threads; runtime/lammps/check.py runs them all.
SETTINGS = [(1, 1), (2, 2)] if "ZOO_LAMMPS" not in os.environ else [(1, 1), (1, 2), (2, 1), (2, 2), (4, 1)]


def rattled(atoms: Atoms, copper: int = 0) -> Atoms:
    if copper:
        atoms.numbers[::copper] = 29
    atoms.rattle(0.1, seed=1)
    atoms.wrap()
    return atoms


def one_molecule() -> Atoms:
    atoms = molecule("CH3CONH2")
    atoms.set_cell([24.0, 25.0, 26.0])
    atoms.center()
    atoms.pbc = True
    return atoms


def water() -> Atoms:
    """Sixty-four molecules at the density of the liquid, turned at random."""
    rng, side = np.random.default_rng(4), 12.42
    box = Atoms(cell=[side] * 3, pbc=True)
    for place in np.ndindex(4, 4, 4):
        one = molecule("H2O")
        one.rotate(rng.uniform(0, 360), rng.normal(size=3), center="COM")
        one.translate((np.array(place) + 0.5) * side / 4 - one.get_center_of_mass())
        box += one
    box.wrap()
    return box


def sheared() -> Atoms:
    atoms = bulk("Si", cubic=True).repeat((3, 2, 3))
    atoms.set_cell(atoms.cell.array @ np.array([[1, 0, 0], [0.2, 1, 0], [-0.1, 0.15, 1]]).T, scale_atoms=True)
    atoms.set_cell(np.tril(atoms.cell.array), scale_atoms=True)
    return rattled(atoms, copper=3)


def slab() -> Atoms:
    atoms = rattled(bulk("Si", cubic=True).repeat((2, 3, 2)), copper=4)
    atoms.center(vacuum=6.0, axis=2)
    atoms.pbc = (True, True, False)
    return atoms


STRUCTURES = {
    "molecule in a big box": one_molecule,
    "64 water molecules": water,
    "8,000 silicon atoms": lambda: rattled(bulk("Si", cubic=True).repeat(10)),
    "triclinic": sheared,
    "slab": slab,
    "cell of one cutoff": lambda: rattled(bulk("Si", cubic=True), copper=2),
    "ranks without atoms and ghosts": lambda: Atoms("CO", [[10, 10, 10], [11.2, 10, 10]], cell=[40] * 3, pbc=True),
}
CASES = [
    ("schnet-qm9", "molecule in a big box"),
    ("schnet-qm9", "ranks without atoms and ghosts"),
    ("wacsf-qm9", "ranks without atoms and ghosts"),
    ("schnet-qm9", "64 water molecules"),
    ("wacsf-qm9", "64 water molecules"),
    ("schnet-rmd17-ethanol", "64 water molecules"),
    ("si-schnet", "8,000 silicon atoms"),
    *[(model, name) for model in ("si-schnet", "si-wacsf") for name in ("triclinic", "slab", "cell of one cutoff")],
]


def test_a_member_of_a_committee_is_the_network_by_itself(lammps, committee, record):
    whole, members = committee
    atoms = sheared()
    for k, member in enumerate(members):
        alone = lammps.compute(atoms, member)
        chosen = lammps.compute(atoms, whole, ranks=2, style=f"zoo dtype float64 member {k}")
        record("energy", abs(chosen.energy - alone.energy) / len(atoms), 1e-9, "eV/atom")
        record("forces", np.abs(chosen.forces - alone.forces).max(), 1e-9, "eV/Å")
        record("atomic virials", np.abs(chosen.virials - alone.virials).max(), 1e-9, "eV")


@pytest.mark.parametrize(("ranks", "threads"), SETTINGS)
@pytest.mark.parametrize(("name", "structure"), CASES)
def test_lammps_equals_python(lammps, model, record, name, structure, ranks, threads):
    atoms, path = STRUCTURES[structure](), model(name)
    expected = load(path, dtype="float64", threads=1).predict(atoms)
    outcome = lammps.compute(atoms, path, ranks, threads)
    stress = expected.stress[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
    record("energy", abs(outcome.energy - expected.energy) / len(atoms), 1e-6, "eV/atom")
    record("energies", np.abs(outcome.energies - expected.energies).max(), 1e-6, "eV")
    record("forces", np.abs(outcome.forces - expected.forces).max(), 1e-5, "eV/Å")
    size = np.abs(stress).max()
    record("pressure", np.abs(outcome.stress - stress).max() / size, 1e-5, "of the largest component")
    sums = -outcome.virials.sum(axis=0) / atoms.get_volume()
    record("sums of atomic virials", np.abs(sums - stress).max() / size, 1e-5, "of the largest component")
