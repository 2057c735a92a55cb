from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from zoo_registry.errors import StructureError
from zoo_registry.metadata import Metadata
from zoo_runtime.checks import caveats, check_contacts, check_structure
from zoo_runtime.graph import single

Make = Callable[..., Metadata]


def placed(*x: float, **changes: object) -> Atoms:
    return Atoms("H" * len(x), [[value, 0, 0] for value in x], **changes)


TRAINED = {"recipe": {"data": {"targets": {"energy": "U0"}}}}


CHARGED = [{"charge": 1}, {"Charge": 1}, {"total_charge": -1}, {"spin": 2}, {"Multiplicity": 3}]


@pytest.mark.parametrize("info", [*CHARGED, {"charge": 0, "total_charge": 1}])
def test_a_charge_or_spin_is_found_under_its_usual_names(make_metadata: Make, info: dict) -> None:
    with pytest.raises(StructureError, match="was trained for"):
        check_structure(Atoms("H", info=info), make_metadata())


def test_a_structure_smaller_than_any_in_the_training_data_is_an_extrapolation(make_metadata: Make) -> None:
    (warning,) = check_structure(placed(0, 1), make_metadata(domain={"smallest_system": 3}))
    assert "2 atoms, the smallest in the training data has 3" in warning


def test_an_atom_without_neighbours_is_named(make_metadata: Make) -> None:
    (warning,) = check_contacts(single(placed(0, 1, 50), 3.0), make_metadata())
    assert "atom 2 (H) has no neighbour within 3 Å" in warning


def test_a_model_trained_without_forces_says_so(make_metadata: Make) -> None:
    metrics = {"test/forces_rmse": {"value": 1.234, "unit": "eV/Å", "n": 9}}
    assert caveats(make_metadata(training=TRAINED, metrics=metrics)) == [
        "pair-test was trained without forces; their test RMSE is 1.2 eV/Å"
    ]
    with_forces = {"recipe": {"data": {"targets": {"energy": "E", "forces": "F"}}}}
    assert caveats(make_metadata(training=with_forces)) == caveats(make_metadata()) == []


def test_a_model_trained_on_magnitudes_of_dipoles_says_so(make_metadata: Make) -> None:
    for targets, told in (({"dipole_magnitude": "mu"}, 1), ({"dipole_magnitude": "mu", "dipole": "D"}, 0)):
        found = caveats(make_metadata(training={"recipe": {"data": {"targets": targets | {"forces": "F"}}}}))
        assert ["infrared intensities" in warning for warning in found] == [True] * told


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
