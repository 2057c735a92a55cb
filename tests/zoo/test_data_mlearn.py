"""The benchmark mlearn in its published layout and as extended XYZ: order, split, units and the sign of the stress."""

import gzip
import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from zoo.data import dataset
from zoo.data.cache import Cache
from zoo.data.mlearn import SHA256, SIZES, Mlearn
from zoo_registry.errors import DataError

KBAR = 1602.1766208  # of one eV/Å³


def copper(count, seed):
    made = []
    for k in range(count):
        atoms = bulk("Cu", cubic=True) * (1, 1, 1 + k % 2)
        atoms.set_cell(atoms.cell.array * [1.0, 1.02, 0.97] + [[0, 0.1, 0], [0, 0, 0.2], [0.3, 0, 0]], scale_atoms=True)
        atoms.rattle(0.05, seed=seed + k)
        atoms.calc = EMT()
        made.append(atoms)
    return made


def published(atoms, element="Cu"):
    xx, yy, zz, yz, xz, xy = -atoms.get_stress() * KBAR
    shear = [xy, xz, yz] if element in ("Cu", "Mo", "Ni") else [xy, yz, xz]
    site = {"species": [{"element": element, "occu": 1}], "label": element}
    sites = [site | {"abc": list(s)} for s in atoms.get_scaled_positions()]
    return {
        "structure": {"lattice": {"matrix": atoms.cell.array.tolist()}, "sites": sites},
        "outputs": {
            "energy": atoms.get_potential_energy(),
            "forces": atoms.get_forces().tolist(),
            "virial_stress": [xx, yy, zz, *shear],
        },
    }


@pytest.fixture
def structures():
    return {"training": copper(3, 0), "test": copper(2, 10)}


@pytest.fixture
def files(tmp_path, structures):
    folder = tmp_path / "files"
    folder.mkdir()
    for part, made in structures.items():
        text = json.dumps([published(atoms) for atoms in made])
        if part == "test":
            (folder / "Cu_test.json.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (folder / "Cu_training.json").write_text(text)
    return folder


def check(cache, structures):
    expected = [*structures["training"], *structures["test"]]
    assert len(cache) == 5
    assert {k: v.tolist() for k, v in cache.splits["official"].items()} == {"train": [0, 1, 2], "test": [3, 4]}
    for k, atoms in enumerate(expected):
        assert cache.values("energy")[k] == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
        np.testing.assert_allclose(cache.values("stress")[k], atoms.get_stress(voigt=False), atol=1e-9)
        np.testing.assert_allclose(cache.atoms(k).get_all_distances(mic=True), atoms.get_all_distances(mic=True))
    forces = np.concatenate([atoms.get_forces() for atoms in expected])
    np.testing.assert_allclose(cache.values("forces"), forces, atol=1e-7)


def test_published_files(tmp_path, files, structures):
    check(Cache(dataset("mlearn-cu").prepare(tmp_path, str(files))), structures)


@pytest.mark.parametrize("element", SIZES)
def test_order_of_the_virial(tmp_path, structures, element):
    for part, made in structures.items():
        (tmp_path / f"{part}.json").write_text(json.dumps([published(atoms, element) for atoms in made]))
    cache = Cache(dataset(f"mlearn-{element.lower()}").prepare(tmp_path, str(tmp_path)))
    expected = [atoms.get_stress(voigt=False) for made in structures.values() for atoms in made]
    np.testing.assert_allclose(cache.values("stress"), expected, atol=1e-9)


def test_extended_xyz(tmp_path, structures):
    for part, made in structures.items():
        for atoms in made:
            results = {
                "energy": atoms.get_potential_energy(),
                "forces": atoms.get_forces(),
                "stress": atoms.get_stress(),
            }
            atoms.calc = SinglePointCalculator(atoms, **results)
        ase.io.write(tmp_path / f"Cu_{part.removesuffix('ing')}.extxyz", made)
    check(Cache(dataset("mlearn-cu").prepare(tmp_path, str(tmp_path))), structures)


def test_a_download_has_the_published_number_of_structures(tmp_path, files, monkeypatch):
    folder = tmp_path / "published" / "Cu"
    folder.mkdir(parents=True)
    (folder / "training.json").write_bytes((files / "Cu_training.json").read_bytes())
    (folder / "test.json").write_bytes(gzip.decompress((files / "Cu_test.json.gz").read_bytes()))
    address = (tmp_path / "published").as_uri() + "/{}/{}.json"
    with pytest.raises(DataError, match="sha256"):
        Mlearn("Cu", address).prepare(tmp_path / "data")
    monkeypatch.delitem(SHA256, ("Cu", "test"))
    with pytest.raises(DataError, match="Expected 293 systems for mlearn-cu, got 5"):
        Mlearn("Cu", address).prepare(tmp_path / "data")
    monkeypatch.setitem(SIZES, "Cu", (3, 2))
    assert len(Cache(Mlearn("Cu", address).prepare(tmp_path / "data"))) == 5


def test_what_is_not_the_benchmark_is_refused(tmp_path, files):
    with pytest.raises(DataError, match="has no train file of mlearn-si; source must be a folder with Si_training"):
        dataset("mlearn-si").prepare(tmp_path, str(files))
    for name in ("training", "test"):
        (files / f"{name}.json").write_bytes((files / "Cu_training.json").read_bytes())
    with pytest.raises(DataError, match="does not hold Si alone"):
        dataset("mlearn-si").prepare(tmp_path, str(files))
    path = Path(files) / "Cu_training.json"
    whole = path.read_text()
    for damaged in (whole[:-100], "<html>", "{}", whole.replace("virial_stress", "stress")):
        path.write_text(damaged)
        with pytest.raises(DataError, match=r"Cu_training\.json .*get it again|Cu_training\.json does not hold Cu"):
            dataset("mlearn-cu").prepare(tmp_path, str(files))
