"""Files of the user's own: whatever ASE reads, the numbers arrive as they were computed."""

import ase.db
import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from typer.testing import CliRunner

from zoo.data import dataset
from zoo.data.cache import Cache, build_cache
from zoo.data.cli import data_app
from zoo.data.files import read_values
from zoo_registry.errors import DataError, UsageError


def strained(seed):
    """Copper under strain, with what EMT says of it."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell @ (np.eye(3) + rng.normal(0, 0.03, (3, 3))), scale_atoms=True)
    atoms.rattle(0.05, seed=seed)
    atoms.calc = EMT()
    results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(), "stress": atoms.get_stress()}
    return atoms, results


@pytest.fixture
def copper():
    return [strained(seed) for seed in range(4)]


def check(cache, copper):
    assert set(cache.properties) == {"energy", "forces", "stress"}
    assert (cache.properties["forces"].unit, cache.properties["stress"].unit) == ("eV/Å", "eV/Å³")
    for k, (atoms, results) in enumerate(copper):
        np.testing.assert_allclose(cache.atoms(k).positions, atoms.positions, atol=1e-8)
        np.testing.assert_allclose(cache.atoms(k).cell, atoms.cell, atol=1e-8)
        np.testing.assert_allclose(cache.values("energy")[k], results["energy"], atol=1e-8)
        forces = cache.values("forces").reshape(-1, len(atoms), 3)[k]
        np.testing.assert_allclose(forces, results["forces"], atol=1e-7)
        stress = cache.values("stress")[k]
        np.testing.assert_array_equal(stress, stress.T)
        np.testing.assert_allclose(stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], results["stress"], atol=1e-7)


@pytest.mark.parametrize("ending", ["extxyz", "extxyz.gz", "traj", "db"])
def test_calculator_results(tmp_path, copper, ending):
    path = tmp_path / f"cu.{ending}"
    for atoms, results in copper:
        atoms.calc = SinglePointCalculator(atoms, **results)
    if ending == "db":
        with ase.db.connect(path) as database:
            for atoms, _ in copper:
                database.write(atoms)
    else:
        ase.io.write(path, [atoms for atoms, _ in copper])
    check(build_cache(dataset(str(path)).prepare(tmp_path / "data")), copper)


@pytest.mark.parametrize("kind", ["stress-3x3", "stress-voigt", "virial", "virials"])
def test_names_with_ref(tmp_path, copper, kind):
    """REF_ names win over ASE's own; a virial is minus stress times volume (the convention of extended XYZ)."""
    frames = []
    for atoms, results in copper:
        xx, yy, zz, yz, xz, xy = results["stress"]
        full = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        atoms.calc = SinglePointCalculator(atoms, energy=1e3, forces=np.zeros((4, 3)))
        atoms.info["REF_energy"], atoms.arrays["REF_forces"] = results["energy"], results["forces"]
        match kind:
            case "stress-3x3":
                atoms.info["REF_stress"] = full
            case "stress-voigt":
                atoms.info["REF_stress"] = results["stress"]
            case name:
                atoms.info["REF_virials" if name == "virials" else name] = -full * atoms.get_volume()
        frames.append(atoms)
    ase.io.write(tmp_path / "cu.xyz", frames, format="extxyz")
    check(Cache(dataset(str(tmp_path / "cu.xyz")).prepare(tmp_path)), copper)


@pytest.mark.parametrize("name", ["REF_virial", "REF_virials", "ref_virial"])
def test_a_reference_virial_wins_over_a_calculators_stress(name):
    atoms, results = strained(0)
    xx, yy, zz, yz, xz, xy = results["stress"]
    full = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, stress=np.ones(6))
    atoms.info["virial"] = np.eye(3)
    np.testing.assert_array_equal(read_values(atoms)["stress"], np.ones((3, 3)))
    atoms.info[name] = -full * atoms.get_volume()
    np.testing.assert_allclose(read_values(atoms)["stress"], full, atol=1e-12)
    atoms.info["REF_stress"] = 2 * full
    np.testing.assert_array_equal(read_values(atoms)["stress"], 2 * full)


def test_molecules_have_no_stress():
    atoms, results = strained(0)
    atoms.calc = SinglePointCalculator(atoms, **results)
    atoms.info["virial"] = np.eye(3)
    atoms.pbc = False
    assert set(read_values(atoms)) == {"energy", "forces"}
    atoms.pbc = (True, False, False)
    assert "stress" in read_values(atoms)


def test_constraints_do_not_zero_forces(tmp_path):
    atoms, results = strained(0)
    atoms.set_constraint(FixAtoms([0, 1]))
    atoms.calc = SinglePointCalculator(atoms, **results)
    ase.io.write(tmp_path / "a.traj", atoms)
    ase.io.write(tmp_path / "b.extxyz", atoms, columns=["symbols", "positions", "move_mask", "forces"])
    with ase.db.connect(tmp_path / "c.db") as database:
        database.write(atoms)
    for name in ("a.traj", "b.extxyz", "c.db"):
        cache = build_cache(dataset(str(tmp_path / name)).prepare(tmp_path / "data"))
        assert np.abs(results["forces"][:2]).min() > 1e-3
        np.testing.assert_allclose(cache.values("forces"), results["forces"], atol=1e-7)


def single(name, **results):
    atoms = molecule(name)
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def test_what_some_structures_lack_is_left_out_and_said(tmp_path):
    path = tmp_path / "mixed.xyz"
    frames = [single("H2O", energy=-1.0, forces=np.ones((3, 3))), single("CO", energy=-2.0)]
    ase.io.write(path, frames, format="extxyz")
    data = dataset(str(path))
    cache = Cache(data.prepare(tmp_path))
    assert set(cache.properties) == {"energy"}
    shown = CliRunner().invoke(data_app, ["info", str(path), "--root", str(tmp_path)], catch_exceptions=False).stdout
    assert "left out: {'forces': 'in 1 of 2 structures only'}" in shown


def test_several_files_make_a_split(tmp_path):
    for k, name in enumerate(("Si_test.xyz", "Si_train.xyz", "Si_val.xyz")):
        frames = [single("CO", energy=10.0 * k + i) for i in range(k + 1)]
        ase.io.write(tmp_path / name, frames, format="extxyz")
    cache = Cache(dataset(str(tmp_path / "Si_*.xyz")).prepare(tmp_path))
    parts = cache.splits["files"]
    assert {part: cache.values("energy")[i].tolist() for part, i in parts.items()} == {
        "train": [10.0, 11.0],
        "val": [20.0, 21.0, 22.0],
        "test": [0.0],
    }
    assert Cache(dataset(str(tmp_path / "Si_train.xyz")).prepare(tmp_path)).splits == {}


def test_a_changed_file_is_read_again(tmp_path):
    path = tmp_path / "a.xyz"
    ase.io.write(path, single("CO", energy=-1.0), format="extxyz")
    made = dataset(str(path)).prepare(tmp_path / "data")
    before = (made / "meta.json").stat().st_ino
    assert (dataset(str(path)).prepare(tmp_path / "data") / "meta.json").stat().st_ino == before
    ase.io.write(path, [single("CO", energy=-1.5), single("CO", energy=-2.0)], format="extxyz")
    assert Cache(dataset(str(path)).prepare(tmp_path / "data")).values("energy").tolist() == [-1.5, -2.0]


def test_files_of_one_name_in_two_folders_have_two_caches(tmp_path):
    for k, folder in enumerate(("a", "b")):
        (tmp_path / folder).mkdir()
        ase.io.write(tmp_path / folder / "train.xyz", [single("CO", energy=-1.0)] * (k + 1), format="extxyz")
    made = [dataset(str(tmp_path / folder / "train.xyz")).prepare(tmp_path / "data") for folder in ("a", "b")]
    assert [len(Cache(path)) for path in made] == [1, 2]
    assert dataset(str(tmp_path / "b" / ".." / "a" / "train.xyz")).path(tmp_path / "data") == made[0]


def test_a_split_does_not_survive_a_renaming(tmp_path):
    for name in ("d_train.xyz", "d_test.xyz"):
        ase.io.write(tmp_path / name, single("CO", energy=-1.0), format="extxyz")
    pattern = str(tmp_path / "d_*.xyz")
    assert set(Cache(dataset(pattern).prepare(tmp_path / "data")).splits) == {"files"}
    (tmp_path / "d_test.xyz").rename(tmp_path / "d_other.xyz")
    assert Cache(dataset(pattern).prepare(tmp_path / "data")).splits == {}


@pytest.mark.parametrize(
    ("info", "message"),
    [({"energy": "abc"}, "energy is not made of numbers"), ({"energy": [1.0, 2.0]}, "energy has shape"),
     ({"energy": 1.0, "REF_forces": "x"}, "REF_forces is not made of numbers")],
)  # fmt: skip
def test_bad_numbers_are_said_with_file_and_structure(tmp_path, info, message):
    bad = molecule("CO")
    bad.info = info
    ase.io.write(tmp_path / "bad.xyz", [single("CO", energy=-1.0), bad], format="extxyz")
    with pytest.raises(DataError, match=rf"bad\.xyz, structure 1 \(from 0\): .*{message}"):
        dataset(str(tmp_path / "bad.xyz")).prepare(tmp_path / "data")


def test_a_file_named_like_a_published_set_does_not_replace_it(tmp_path):
    ase.io.write(tmp_path / "ani1.xyz", single("CO", energy=-1.0), format="extxyz")
    assert dataset(str(tmp_path / "ani1.xyz")).path(tmp_path) != dataset("ani1").path(tmp_path)


def test_bad_files(tmp_path):
    with pytest.raises(DataError, match="There is no file"):
        dataset(str(tmp_path / "none.xyz"))
    (tmp_path / "x.extxyz").write_text("3\nno atoms\n")
    with pytest.raises(DataError, match="ASE cannot read"):
        dataset(str(tmp_path / "x.extxyz")).prepare(tmp_path)
    ase.io.write(tmp_path / "bare.xyz", molecule("CO"))
    with pytest.raises(DataError, match="has none of energy, forces, stress, dipole in each of its 1 structures"):
        dataset(str(tmp_path / "bare.xyz")).prepare(tmp_path)
    with pytest.raises(UsageError, match="leave out source"):
        dataset(str(tmp_path / "bare.xyz")).prepare(tmp_path, "source")
    wrong = molecule("CO")
    wrong.info["energy"], wrong.info["virial"] = 1.0, np.eye(3)
    wrong.pbc = True
    with pytest.raises(DataError, match="has a virial and no cell"):
        read_values(wrong)
