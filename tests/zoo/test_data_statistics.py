"""References, scale and domain of a training set, against their definitions written out."""

import numpy as np
import pytest
from ase.build import bulk, molecule

from zoo.data.cache import write_cache
from zoo.data.statistics import composition, domain, least_squares_references, per_atom
from zoo.data.writer import Property
from zoo_registry.errors import DataError

STRUCTURES = [molecule(name) for name in ("H2O", "CH4", "CH3OH", "C2H6", "H2O2", "NH3")]
ATOMS = {1: -0.5, 6: -37.8, 8: -75.0}


@pytest.fixture
def cache(tmp_path):
    n_atoms = np.array([len(atoms) for atoms in STRUCTURES])
    energies = np.array([sum(ATOMS.get(z, -54.6) for z in atoms.numbers) for atoms in STRUCTURES])
    return write_cache(
        tmp_path / "c",
        n_atoms=n_atoms,
        numbers=np.concatenate([atoms.numbers for atoms in STRUCTURES]),
        positions=np.concatenate([atoms.positions for atoms in STRUCTURES]),
        values={
            "sum": energies,
            "bound": energies - 0.2 * n_atoms + np.arange(6.0),
            "forces": np.ones((n_atoms.sum(), 3)),
        },
        properties={
            "sum": Property(unit="eV"),
            "bound": Property(unit="eV"),
            "forces": Property("atom", (3,), "eV/Å"),
        },
    )


def test_composition(cache):
    assert cache.species == [1, 6, 7, 8]
    assert composition(cache, np.array([2, 5])).tolist() == [[4, 1, 0, 1], [3, 0, 1, 0]]


def test_references_of_separated_atoms_are_found(cache):
    indices = np.arange(5)  # without the only one that has nitrogen
    found = least_squares_references(cache, indices, "sum")
    assert list(found) == [1, 6, 8]
    assert all(type(z) is int for z in found)
    assert found == pytest.approx(ATOMS, abs=1e-10)
    assert per_atom(cache, indices, "sum", found) == pytest.approx((0, 0), abs=1e-10)


def test_scale_is_that_of_the_residual_per_atom(cache):
    indices = np.array([1, 3, 4])
    values = [
        (cache.values("bound")[k] - sum(ATOMS[z] for z in STRUCTURES[k].numbers)) / len(STRUCTURES[k]) for k in indices
    ]
    expected = (np.mean(values), np.std(values))
    assert per_atom(cache, indices, "bound", ATOMS) == pytest.approx(expected, rel=1e-12)
    plain = [cache.values("bound")[k] / len(STRUCTURES[k]) for k in indices]
    assert per_atom(cache, indices, "bound")[0] == pytest.approx(np.mean(plain), rel=1e-12)


def test_missing_reference_and_wrong_property(cache):
    with pytest.raises(DataError, match="No reference of bound for N"):
        per_atom(cache, np.arange(6), "bound", ATOMS)
    with pytest.raises(DataError, match="not one number per system"):
        least_squares_references(cache, np.arange(6), "forces")


def test_domain_of_molecules(cache):
    indices = np.array([0, 2, 1])
    facts = domain(cache, indices, 3.0, ("bound", "forces"))
    shortest = {}
    for k in indices:
        distances = STRUCTURES[k].get_all_distances()
        for a in range(len(STRUCTURES[k])):
            for b in range(len(STRUCTURES[k])):
                pair = tuple(sorted(STRUCTURES[k].numbers[[a, b]]))
                if a != b and distances[a, b] < 3.0:
                    shortest[pair] = min(shortest.get(pair, 9), distances[a, b])
    names = {1: "H", 6: "C", 8: "O"}
    expected = {f"{names[a]}-{names[b]}": value for (a, b), value in shortest.items()}
    assert facts["shortest_distance"] == pytest.approx(expected, rel=1e-12)
    chosen = cache.values("bound")[indices]
    assert facts["range"]["bound"] == {"min": chosen.min(), "max": chosen.max(), "unit": "eV"}
    assert facts["range"]["forces"]["max"] == 1.0
    assert (facts["smallest_system"], facts["largest_system"]) == (3, 6)
    assert facts["species"] == [1, 6, 8]


def test_domain_sees_periodic_images(tmp_path):
    copper = bulk("Cu", a=3.6)
    cache = write_cache(
        tmp_path / "c",
        n_atoms=np.array([1]),
        numbers=copper.numbers,
        positions=copper.positions,
        cell=copper.cell.array[None],
        pbc=copper.pbc[None],
        values={},
        properties={},
    )
    assert domain(cache, np.array([0]), 5.0)["shortest_distance"] == pytest.approx({"Cu-Cu": 3.6 / 2**0.5})
