"""QM9 as published: layout, exclusions, units, and the same data from every source."""

import hashlib
import importlib.util
import itertools
import shutil
import tarfile
from pathlib import Path

import ase.db
import numpy as np
import pytest
from typer.testing import CliRunner

from zoo.data.cache import build_cache
from zoo.data.cli import data_app
from zoo.data.download import RemoteFile
from zoo.data.qm9 import QM9, parse_xyz, read_qm9pack, read_tarball, read_uncharacterized
from zoo_registry.errors import DataError, MissingDependency

FOLDER = Path(__file__).parent / "data" / "qm9"
FILES = sorted(FOLDER.glob("*.xyz"))
INDICES = [1, 2, 3, 4, 184, 212]


def described(path):
    content = path.read_bytes()
    return RemoteFile(path.name, (path.as_uri(),), len(content), hashlib.sha256(content).hexdigest())


@pytest.fixture
def published(tmp_path):
    """The six molecules as the figshare files would hold them, not in order."""
    folder = tmp_path / "published"
    folder.mkdir()
    tarball = folder / "dsgdb9nsd.xyz.tar.bz2"
    with tarfile.open(tarball, "w:bz2") as archive:
        for file in FILES[3:] + FILES[:3]:
            archive.add(file, arcname=file.name)
    listed = Path(shutil.copy(FOLDER / "uncharacterized.txt", folder))
    return QM9(described(tarball), described(listed), molecules=6, excluded=1)


@pytest.fixture
def tarball(tmp_path, published):
    return tmp_path / "published" / published.tarball.name


def test_exclusions_count_from_one(tmp_path, published, tarball):
    assert read_uncharacterized(FOLDER / "uncharacterized.txt") == [3]
    cache = build_cache(published.prepare(tmp_path / "data", str(tarball)))
    assert cache.index.tolist() == [1, 2, 4, 184, 212]
    assert [str(cache.atoms(k).symbols) for k in range(3)] == ["CH4", "NH3", "C2H2"]  # and no water


def test_published_numbers_in_our_units(tmp_path, published, tarball):
    path = published.prepare(tmp_path / "data", str(tarball))
    with ase.db.connect(path) as database:
        row, ammonia = database.get(source_index=1), database.get(source_index=2)
        assert database.metadata["license"] == "CC0-1.0"
    # Methane's line of the published file; 1 hartree = 27.211386245988 eV, 1 bohr = 0.529177210903 Å (CODATA 2018).
    expected = {
        "A": 157.7118,
        "B": 157.70997,
        "C": 157.70699,
        "mu": 0.0,
        "alpha": 13.21 * 0.529177210903**3,
        "homo": -0.3877 * 27.211386245988,
        "lumo": 0.1171 * 27.211386245988,
        "gap": 0.5048 * 27.211386245988,
        "r2": 35.3641 * 0.529177210903**2,
        "zpve": 0.044749 * 27.211386245988,
        "U0": -40.47893 * 27.211386245988,
        "U": -40.476062 * 27.211386245988,
        "H": -40.475117 * 27.211386245988,
        "G": -40.498597 * 27.211386245988,
        "Cv": 6.469 * 4.184 / (1.602176634e-19 * 6.02214076e23),
    }
    assert list(row.data) == list(expected)
    assert dict(row.data) == pytest.approx(expected, rel=1e-12)
    assert ammonia.data["mu"] == pytest.approx(1.6256 * 0.20819433, rel=1e-7)
    assert row.positions[0].tolist() == [-0.0126981359, 1.0858041578, 0.0080009958]
    assert published.metadata()["properties"]["mu"]["unit"] == "e·Å"


def test_numbers_as_mathematica_writes_them(tarball):
    text = (FOLDER / "dsgdb9nsd_000212.xyz").read_text()
    assert "2.1997*^-6" in text
    molecule = next(m for m in read_tarball(tarball) if m.index == 212)
    assert 2.1997e-6 in molecule.positions


def test_atomisation_energies_are_those_of_bound_molecules(tmp_path, published, tarball):
    cache = build_cache(published.prepare(tmp_path / "data", str(tarball)))
    for name in ("U0", "U", "H", "G"):
        references = published.references(name)
        for k in range(len(cache)):
            numbers = cache.atoms(k).numbers
            bound = (cache.values(name)[k] - sum(references[z] for z in numbers)) / len(numbers)
            assert -6 < bound < -2  # eV per atom
    assert published.references("U0")[1] == pytest.approx(-13.6131, abs=1e-4)  # hydrogen, eV
    assert published.references("Cv")[6] == pytest.approx(1.5 * 8.617333e-5, rel=1e-3)  # 3/2 k per atom
    assert published.references("homo") == {}


def test_download_and_local_file_give_the_same(tmp_path, published, tarball):
    local = build_cache(published.prepare(tmp_path / "local", str(tarball)))
    fetched = build_cache(published.prepare(tmp_path / "fetched"))
    assert (tmp_path / "fetched" / "qm9" / tarball.name).exists()
    assert fetched.meta["sha256"] == local.meta["sha256"]
    assert published.prepare(tmp_path / "fetched", "no-matter") == fetched.folder.with_suffix(".db")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"molecules": 7}, "holds 6 molecules, expected 7"),
        ({"excluded": 2}, "names 1 molecules, expected 2"),
        ({"tarball": RemoteFile("dsgdb9nsd.xyz.tar.bz2", (), size=5)}, "expected 5 bytes"),
    ],
)
def test_incomplete_sources_are_refused(tmp_path, published, tarball, change, message):
    for name, value in change.items():
        setattr(published, name, value)
    with pytest.raises(DataError, match=message):
        published.prepare(tmp_path / "data", str(tarball))
    assert list((tmp_path / "data" / "qm9").iterdir()) == []


def test_cut_archive_is_refused(tmp_path, published, tarball):
    tarball.write_bytes(tarball.read_bytes()[:-200])
    published.tarball = described(tarball)
    with pytest.raises(DataError, match="cannot be read"):
        published.prepare(tmp_path / "data", str(tarball))


def test_missing_source_names_what_is_possible(tmp_path, published):
    with pytest.raises(DataError, match="No file 'nowhere'; source must be the path of"):
        published.prepare(tmp_path, "nowhere")


def test_somebody_elses_database_is_kept(tmp_path, published):
    path = published.path(tmp_path)
    path.parent.mkdir()
    with ase.db.connect(path) as database:
        database.metadata = {"name": "mine"}
    with pytest.raises(DataError, match="holds 'mine', not 'qm9'"):
        published.prepare(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("gdb", "foo"),
        lambda text: text.replace("6.469\t", ""),
        lambda text: text.replace("5\n", "9\n", 1),
        lambda text: text.replace("C\t", "Xx\t", 1),
        lambda text: "",
    ],
)
def test_other_layouts_are_refused(change):
    text = FILES[0].read_text()
    assert parse_xyz(text, "x").index == 1
    with pytest.raises(DataError, match="x is not a QM9 file"):
        parse_xyz(change(text), "x")


@pytest.mark.skipif(importlib.util.find_spec("qm9pack") is None, reason="qm9pack is not installed")
def test_qm9pack_holds_the_same_molecules(tarball):
    ours = {molecule.index: molecule for molecule in read_tarball(tarball)}
    assert sorted(ours) == INDICES
    pack = {m.index: m for m in itertools.takewhile(lambda m: m.index <= 212, read_qm9pack())}
    assert 58 not in pack  # the first of the published list of uncharacterised molecules
    for index, molecule in ours.items():
        np.testing.assert_array_equal(pack[index].numbers, molecule.numbers)
        np.testing.assert_array_equal(pack[index].positions, molecule.positions)
        assert pack[index].values == molecule.values


def test_qm9pack_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match="pip install"):
        QM9().prepare(tmp_path, "qm9pack")


def test_a_database_that_lost_rows_is_refused(tmp_path, published, tarball):
    path = published.prepare(tmp_path / "data", str(tarball))
    with ase.db.connect(path) as database:
        database.delete([1])
    with pytest.raises(DataError, match="holds 4 systems of 5"):
        published.prepare(tmp_path / "data")


def test_command_line(tmp_path, published, tarball):
    path = published.prepare(tmp_path / "data", str(tarball))
    shown = CliRunner().invoke(data_app, ["info", "qm9", "--root", str(tmp_path / "data")], catch_exceptions=False)
    assert shown.exit_code == 0
    assert " eV (one per system)\n" in shown.stdout.split("U0: ")[1]
    assert f"prepared: {path}\n" in shown.stdout
    assert "systems: 5\n" in shown.stdout
    made = CliRunner().invoke(data_app, ["prepare", str(path)], catch_exceptions=False)
    assert f"{path}: 5 systems, 31 atoms" in made.stdout
    assert path.with_suffix(".cache").is_dir()
