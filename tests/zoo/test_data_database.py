"""ASE databases become caches without losing a digit, and bad ones are refused."""

import errno
import sqlite3

import ase.db
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator

from zoo.data import dataset
from zoo.data.cache import build_cache
from zoo.data.database import System, read_metadata, write_database
from zoo.data.writer import Property
from zoo_registry.errors import DataError, UsageError

PROPERTIES = {"U0": {"unit": "eV", "per": "system"}, "charges": {"unit": "e", "per": "atom"}}


def systems():
    for index, name in [(4, "H2O"), (9, "CH4"), (11, "NH3")]:
        atoms = molecule(name)
        yield System(index, atoms, {"U0": -index / 3, "charges": np.arange(len(atoms)) / 7})


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "set.db"
    write_database(path, systems(), {"name": "set", "properties": PROPERTIES}, 3)
    return path


def test_database_to_cache(file):
    cache = build_cache(file)
    assert cache.folder == file.with_suffix(".cache")
    assert cache.index.tolist() == [4, 9, 11]
    assert cache.properties == {"U0": Property("system", (), "eV"), "charges": Property("atom", (), "e")}
    assert cache.values("U0").tolist() == [-4 / 3, -9 / 3, -11 / 3]
    np.testing.assert_array_equal(cache.values("charges")[3:8], np.arange(5) / 7)
    for k, system in enumerate(systems()):
        np.testing.assert_array_equal(cache.atoms(k).positions, system.atoms.positions)
    assert cache.meta["dataset"]["name"] == "set"
    with ase.db.connect(file) as database:
        assert len(database.get(source_index=9).symbols) == 5


def test_cache_is_reused_until_the_database_changes(file):
    first = build_cache(file)
    made = (first.folder / "meta.json").stat().st_ino
    assert (build_cache(file).folder / "meta.json").stat().st_ino == made
    file.touch()
    assert (build_cache(file).folder / "meta.json").stat().st_ino == made
    with ase.db.connect(file) as database:
        database.write(molecule("CO"), data={"U0": 1.0, "charges": np.zeros(2)})
    assert len(build_cache(file)) == 4


def test_calculator_results_and_full_stress(tmp_path):
    rng = np.random.default_rng(0)
    forces, stress = rng.normal(size=(4, 2, 3)), rng.normal(size=(4, 6))
    with ase.db.connect(tmp_path / "cu.db") as database:
        for k in range(4):
            atoms = bulk("NaCl", "rocksalt", a=5.6)
            atoms.calc = SinglePointCalculator(atoms, energy=float(k), forces=forces[k], stress=stress[k])
            database.write(atoms)
    cache = build_cache(tmp_path / "cu.db")
    assert set(cache.properties) == {"energy", "forces", "stress"}
    assert cache.values("energy").tolist() == [0.0, 1.0, 2.0, 3.0]
    np.testing.assert_array_equal(cache.values("forces"), forces.reshape(-1, 3))
    full = cache.values("stress")[2]
    np.testing.assert_array_equal(full, full.T)
    np.testing.assert_array_equal(full[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], stress[2])
    assert cache.meta["periodic"]


def test_foreign_database_without_metadata(tmp_path):
    with ase.db.connect(tmp_path / "x.db") as database:
        for name in ("H2O", "CH4"):
            atoms = molecule(name)
            data = {"e": np.array([1.5]), "f": np.ones((len(atoms), 3)), "vector": np.arange(3.0), "note": "text"}
            database.write(atoms, data=data)
    properties = build_cache(tmp_path / "x.db").properties
    assert properties == {
        "e": Property("system", ()),
        "f": Property("atom", (3,)),
        "vector": Property("system", (3,)),
    }


def test_shape_that_could_be_either_is_refused_until_told(tmp_path):
    path = tmp_path / "water.db"
    with ase.db.connect(path) as database:
        database.write(molecule("H2O"), data={"x": np.arange(3.0)})
    with pytest.raises(DataError, match="may be per atom or per system"):
        build_cache(path)
    with ase.db.connect(path) as database:
        database.metadata = {"properties": {"x": {"per": "system", "unit": "e·Å"}}}
    assert build_cache(path).properties["x"] == Property("system", (3,), "e·Å")
    with ase.db.connect(path) as database:
        database.metadata = {"properties": {"x": {"per": "atom", "unit": "e"}}}
    assert build_cache(path).properties["x"] == Property("atom", (), "e")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "row 2 has no number called 'x'"),
        ({"x": "abc"}, "row 2 has no number called 'x'"),
        ({"x": np.nan}, "System 2: x is not a finite number"),
        ({"x": [1.0, 2.0]}, "neither one per atom nor the same for every system"),
    ],
)
def test_bad_rows_are_refused(tmp_path, data, message):
    with ase.db.connect(tmp_path / "x.db") as database:
        database.write(molecule("CH4"), data={"x": 1.0})
        database.write(molecule("CH4"), data=data)
    with pytest.raises(DataError, match=message):
        build_cache(tmp_path / "x.db")
    assert not (tmp_path / "x.cache").exists()


def test_lengths_in_bohr_are_refused(file):
    with ase.db.connect(file) as database:
        database.metadata = {"_distance_unit": "Bohr"}
    with pytest.raises(DataError, match="lengths in Bohr"):
        build_cache(file)


@pytest.mark.parametrize("fail", ["raise", "short"])
def test_a_failing_write_leaves_nothing(tmp_path, fail):
    def broken():
        yield from systems()
        if fail == "raise":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt if fail == "raise" else DataError):
        write_database(tmp_path / "set.db", broken(), {}, 4)
    assert list(tmp_path.iterdir()) == []


def test_full_disk(tmp_path, monkeypatch, file):
    def full(*args, **values):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("zoo.data.writer.CacheWriter.append", full)
    with pytest.raises(DataError, match=r"The disk is full, so .* was not written; free some space"):
        build_cache(file)
    assert list(tmp_path.iterdir()) == [file]

    def full_database(*args, **options):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("ase.db.sqlite.SQLite3Database._write", full_database)
    with pytest.raises(DataError, match=r"cannot be written .database or disk is full.; free some space"):
        write_database(tmp_path / "other.db", systems(), {}, 3)
    assert list(tmp_path.iterdir()) == [file]


def test_not_a_database(tmp_path):
    with pytest.raises(DataError, match="No data at"):
        build_cache(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("no database at all, but longer than a header " * 10)
    with pytest.raises(DataError, match="is not an ASE database"):
        read_metadata(tmp_path / "text.db")


def test_data_sets_by_name_and_path(file):
    own = dataset(str(file))
    assert (own.name, own.systems, own.prepare("anywhere")) == ("set", 3, file)
    assert dataset("qm9").name == "qm9"
    with pytest.raises(UsageError, match="did you mean 'qm9'"):
        dataset("qm8")
