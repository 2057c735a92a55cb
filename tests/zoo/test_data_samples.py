"""Real samples of the published files, where they lie beside the repository; checked against physics and each other."""

import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.emt import EMT

from zoo.data import dataset
from zoo.data.cache import Cache, build_cache
from zoo.data.iso17 import read_rows
from zoo.data.md17 import FORMULAS

SAMPLES = Path(os.environ.get("ZOO_SAMPLES", Path(__file__).parents[3] / "shared" / "data"))
KCAL = 4184 / (1.602176634e-19 * 6.02214076e23)  # eV per kcal/mol (CODATA 2018)


@pytest.fixture
def sample():
    def find(name):
        if not (SAMPLES / name).exists():
            pytest.skip(f"no sample {name}; set ZOO_SAMPLES to a folder that has it")
        return SAMPLES / name

    return find


def test_ani1_atomisation_energies_are_those_of_bound_molecules(tmp_path, sample):
    data = dataset("ani1")
    cache = Cache(data.prepare(tmp_path, str(sample("ani1/ani_gdb_s01.h5"))))
    assert len(cache) == 10_800  # as published: 5,400 CH4, 3,600 NH3, 1,800 H2O
    assert [(str(cache.atoms(k).symbols)) for k in (0, 5400, 9000)] == ["CH4", "NH3", "OH2"]
    references = data.references("energy")
    measured = [(0, 5400, -18.2), (5400, 9000, -12.9), (9000, 10800, -10.1)]  # eV, without the zero-point energy
    for start, stop, energy in measured:
        free = sum(references[z] for z in cache.atoms(start).numbers)
        bound = cache.values("energy")[start:stop].min() - free
        assert bound == pytest.approx(energy, abs=0.7)  # a small basis set binds too weakly


def test_iso17_rows(sample):
    path = next(sample("iso17_sample").glob("*.db"))
    systems = list(read_rows(path))
    with sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True) as database:
        rows = list(database.execute("SELECT value FROM number_key_values WHERE key = 'total_energy' ORDER BY id"))
    database.close()
    assert [system.values["energy"] for system in systems] == [row[0] for row in rows]
    assert {system.atoms.get_chemical_formula() for system in systems} == {"C7H10O2"}
    assert all(np.shape(system.values["forces"]) == (19, 3) for system in systems)
    assert not any(system.atoms.pbc.any() for system in systems)


def test_rmd17_labels_of_two_frames(tmp_path, sample):
    folder = sample("rmd17")
    cache = Cache(dataset("rmd17-ethanol").prepare(tmp_path, str(folder)))
    for split, part, row in [("1", "train", 3), ("2", "test", 500)]:
        with np.load(folder / f"rmd17_ethanol_{part}_0{split}.npz") as file:
            k = cache.splits[f"split-{split}"][part][row]
            assert cache.index[k] == file["old_indices"][row]
            for ours, theirs in [("energy", "energies"), ("old_energy", "old_energies")]:
                assert cache.values(ours)[k] == pytest.approx(file[theirs][row] * KCAL, rel=1e-12)
            for ours, theirs in [("forces", "forces"), ("old_forces", "old_forces")]:
                np.testing.assert_allclose(cache.values(ours)[9 * k : 9 * k + 9], file[theirs][row] * KCAL, rtol=1e-12)


@pytest.mark.parametrize("molecule", FORMULAS)
def test_rmd17_forces_add_up_to_nothing(tmp_path, sample, molecule):
    cache = Cache(dataset(f"rmd17-{molecule}").prepare(tmp_path, str(sample("rmd17"))))
    sums = cache.values("forces").reshape(len(cache), -1, 3).sum(axis=1)
    assert np.abs(sums).max() < 0.02  # eV/Å; what is left is the error of the integration grid
    assert {len(indices) for parts in cache.splits.values() for indices in parts.values()} == {1000}


def test_md17_frames_are_the_old_labels_of_rmd17(tmp_path, sample):
    old = Cache(dataset("md17-ethanol").prepare(tmp_path, str(sample("md17_ethanol/mlff_ethanol_2000.npz"))))
    new = Cache(dataset("rmd17-ethanol").prepare(tmp_path, str(sample("rmd17"))))
    found = 0
    known = {tuple(np.round(p.ravel(), 4)): k for k, p in enumerate(new.positions.reshape(-1, 9, 3))}
    for k, positions in enumerate(old.positions.reshape(-1, 9, 3)):
        if (same := known.get(tuple(np.round(positions.ravel(), 4)))) is not None:
            assert old.values("energy")[k] == pytest.approx(new.values("old_energy")[same], abs=1e-6)
            found += 1
    assert found >= 4


def test_mlearn_stress_has_the_sign_of_ase(tmp_path, sample):
    cache = Cache(dataset(str(sample("mlearn/extxyz/Cu_test.extxyz.gz"))).prepare(tmp_path))
    assert len(cache) == 31
    ours, theirs = [], []
    for k in range(0, 31, 3):
        atoms = cache.atoms(k)
        atoms.calc = EMT()
        ours.append(cache.values("stress")[k])
        theirs.append(atoms.get_stress(voigt=False))
    for i, j in [(0, 0), (1, 1), (2, 2)]:
        assert np.corrcoef([s[i, j] for s in ours], [s[i, j] for s in theirs])[0, 1] > 0.9


@pytest.mark.parametrize("element", ["Cu", "Ge", "Li", "Mo", "Ni", "Si"])
def test_mlearn_shear_has_the_direction_of_the_strain(tmp_path, sample, element):
    cache = Cache(dataset(f"mlearn-{element.lower()}").prepare(tmp_path, str(sample("mlearn"))))
    shears = ([0, 0, 1], [1, 2, 2])
    directions = set()
    for k in range(len(cache)):
        metric = cache.atoms(k).cell.array.T @ cache.atoms(k).cell.array
        stress, shear = np.abs(cache.values("stress")[k][shears]), np.abs(metric[shears]) / metric.trace()
        sheared, cubic = shear > 1e-3, np.ptp(metric.diagonal()) < 0.05 * metric.trace()
        # Made for elastic constants: a cubic cell, a little sheared along one direction.
        if cubic and shear.max() < 0.1 and sheared.sum() == 1 and stress.max() > 50 * np.median(stress):
            assert sheared[stress.argmax()]
            directions.add(int(stress.argmax()))
    assert directions >= {1, 2}


def test_crystals_of_flla(tmp_path, sample):
    cache = Cache(dataset("mp-flla").prepare(tmp_path, str(sample("mp_flla/flla_2015.csv.gz"))))
    assert (len(cache), len(cache.species)) == (3938, 86)
    values = cache.values("formation_energy_per_atom")
    assert np.abs(values - values.mean()).mean() == pytest.approx(0.897, abs=5e-4)  # eV/atom


@pytest.mark.parametrize(
    ("name", "frames", "properties"),
    [
        ("botnet/dataset_acac/train_300K.xyz", 500, {"energy", "forces"}),
        ("botnet/dataset_acac/test_dihedral.xyz", 45, {"energy"}),
        ("botnet/dataset_ethanol/train_eth_meth.xyz", 1300, {"energy", "forces"}),
        ("ani1/schnetpack_test_ani1.db", 20, {"energy"}),
    ],
)
def test_files(tmp_path, sample, name, frames, properties):
    path = sample(name)
    if path.suffix == ".db":
        copy = tmp_path / path.name  # its cache comes to lie beside it
        copy.write_bytes(path.read_bytes())
        path = copy
    cache = build_cache(dataset(str(path)).prepare(tmp_path))
    assert (len(cache), set(cache.properties)) == (frames, properties)
