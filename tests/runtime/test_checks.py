from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from zoo_registry.errors import StructureError
from zoo_registry.metadata import Metadata
from zoo_runtime.checks import check_contacts, check_structure
from zoo_runtime.graph import single

Make = Callable[..., Metadata]


def placed(*x: float, **changes: object) -> Atoms:
    return Atoms("H" * len(x), [[value, 0, 0] for value in x], **changes)


REFUSED = {
    "no atoms": (Atoms(), "no atoms"),
    "unknown element": (Atoms("HSi", [[0, 0, 0], [2, 0, 0]]), r"does not know Si \(atom 1\).*H, C, N, O, F"),
    "ghost atom": (Atoms("X"), "does not know Z=0"),
    "nan": (placed(0, np.nan), r"atom 1 \(H\)"),
    "infinite": (placed(0, np.inf), "finite"),
    "absurd": (placed(0, 1e7), "below"),
    "nan in the cell": (placed(0, cell=[np.nan, 5, 5], pbc=True), "not a finite number"),
    "no cell": (placed(0, pbc=True), "no volume"),
    "flat cell": (placed(0, cell=[[3, 0, 0], [0, 3, 0], [3, 3, 0]], pbc=True), "no volume"),
    "cell in the wrong unit": (placed(0, 0.1, cell=[0.5, 0.5, 0.5], pbc=True), "too small"),
    "cell thinner than an atom": (placed(0, cell=[0.3, 9, 9], pbc=[True, False, False]), "too small"),
}


@pytest.mark.parametrize(("atoms", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_answered_is_refused_in_one_line(make_metadata: Make, atoms: Atoms, text: str) -> None:
    with pytest.raises(StructureError, match=text) as failure:
        check_structure(atoms, make_metadata())
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    "atoms",
    [
        molecule("CH3CH2OH"),
        Atoms("H"),
        bulk("C"),
        fcc111("C", (1, 1, 2), a=3.6),  # periodic in two directions, without a third vector
        placed(0, cell=[np.nan, 0, 0]),  # without pbc nobody reads the cell
    ],
    ids=["molecule", "atom", "crystal", "slab", "cell without pbc"],
)
def test_good_structures_pass_without_a_word(make_metadata: Make, atoms: Atoms) -> None:
    assert check_structure(atoms, make_metadata()) == []


@pytest.mark.parametrize("info", [{"charge": 1}, {"charge": "x"}, {"spin_multiplicity": 3}, {"spin": 2}], ids=str)
def test_another_charge_or_spin_than_the_trained_one_is_refused(make_metadata: Make, info: dict) -> None:
    atoms = molecule("H2O")
    atoms.info.update(info)
    with pytest.raises(StructureError, match=str(next(iter(info.values())))):
        check_structure(atoms, make_metadata())


@pytest.mark.parametrize("info", [{"charge": 0}, {"charge": "0"}, {"charge": 0.0}, {"spin_multiplicity": 1}], ids=str)
def test_the_trained_charge_and_spin_pass(make_metadata: Make, info: dict) -> None:
    atoms = molecule("H2O")
    atoms.info.update(info)
    assert check_structure(atoms, make_metadata()) == []


def test_a_periodic_structure_in_a_model_of_molecules_is_warned_of(make_metadata: Make) -> None:
    (warning,) = check_structure(bulk("C"), make_metadata(periodic=False))
    assert "periodic" in warning
    assert check_structure(molecule("H2O"), make_metadata(periodic=False)) == []


def test_a_molecule_larger_than_all_in_training_is_warned_of(make_metadata: Make) -> None:
    metadata = make_metadata(periodic=False, domain={"largest_system": 8})
    (warning,) = check_structure(molecule("CH3CH2OH"), metadata)
    assert "9 atoms" in warning
    assert check_structure(molecule("CH4"), metadata) == []


@pytest.mark.parametrize(
    ("atoms", "text"),
    [
        (placed(0, 0.4), r"atoms 0 \(H\) and 1 \(H\) are 0.40 Å"),
        (placed(0, 0), "0.00 Å"),
        (placed(0.1, 3.9, cell=[4, 4, 4], pbc=True), r"atoms 0 \(H\) and 1 \(H\) \(a periodic image\) are 0.20 Å"),
    ],
    ids=["near", "same place", "image"],
)
def test_overlapping_atoms_are_refused(make_metadata: Make, atoms: Atoms, text: str) -> None:
    with pytest.raises(StructureError, match=text):
        check_contacts(single(atoms, 3.0), make_metadata())


def test_distances_shorter_than_in_training_are_warned_of(make_metadata: Make) -> None:
    metadata = make_metadata(domain={"shortest_distance": {"H-C": 1.06, "C-O": 1.15}})
    atoms = molecule("CH3OH")
    assert check_contacts(single(atoms, 3.0), metadata) == []
    atoms.positions *= 0.8
    (warning,) = check_contacts(single(atoms, 3.0), metadata)  # C-O has 1.14 Å then
    assert "H-C distance 0.87 Å" in warning
    assert "1.06 Å" in warning
