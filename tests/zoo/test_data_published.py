"""ANI-1, ISO17, MD17 and rMD17 in the layouts in which they were published: units, order, splits, damaged files."""

import functools
import hashlib
import http.server
import json
import sqlite3
import tarfile
import threading
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from zoo.data import dataset
from zoo.data.ani1 import ANI1, FILES
from zoo.data.cache import Cache, build_cache
from zoo.data.download import RemoteFile
from zoo.data.iso17 import ISO17
from zoo.data.md17 import MD17, RMD17
from zoo_registry.errors import DataError

KCAL, HARTREE = 4184 / (1.602176634e-19 * 6.02214076e23), 27.211386245988  # eV per kcal/mol, per Hartree (CODATA 2018)
ROWS = Path(__file__).parent / "data" / "iso17" / "rows.sql"
ETHANOL = np.array([6, 6, 8, 1, 1, 1, 1, 1, 1], np.uint8)


@pytest.fixture
def server(tmp_path):
    """Addresses of the files in ``tmp_path / "published"``."""
    folder = tmp_path / "published"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


def pack(source, archive, mode):
    with tarfile.open(archive, mode) as packed:
        packed.add(source, arcname=source.name)
    return archive


@pytest.fixture
def ani(tmp_path, server):
    """``ANI1_release.tar.gz`` with CH4 and OH in each file, and their high energies."""
    folder = tmp_path / "ANI-1_release"
    folder.mkdir()
    for k, name in enumerate(FILES):
        with h5py.File(folder / name, "w") as file:
            for m, species in enumerate(([b"C", b"H", b"H", b"H", b"H"], [b"O", b"H"])):
                molecule = file.create_group(f"gdb11_s0{k + 1}/gdb11_s0{k + 1}-{m}")
                rng = np.random.default_rng(10 * k + m)
                molecule["species"] = np.array(species, "S1")
                molecule["smiles"] = np.array([b"C"], "S1")
                molecule["coordinates"] = rng.normal(size=(k + m + 1, len(species), 3)).astype("f4")
                molecule["energies"] = -40.0 - k - rng.random(k + m + 1)
                molecule["coordinatesHE"] = rng.normal(size=(2, len(species), 3)).astype("f4")
                molecule["energiesHE"] = np.array([-1.0, -2.0])
    return pack(folder, tmp_path / "published" / "ANI1_release.tar.gz", "w:gz")


@pytest.fixture
def iso(tmp_path, server):
    """``iso17.tar.gz`` with 3 + 2 + 1 rows; the second of the reference is for validation."""
    folder = tmp_path / "iso17"
    folder.mkdir()
    for name, rows in [("reference", 3), ("test_within", 2), ("test_other", 1), ("test_eq", 1)]:
        database = sqlite3.connect(folder / f"{name}.db")
        database.executescript(ROWS.read_text())
        database.execute("DELETE FROM systems WHERE id > ?", [rows])
        database.commit()
        database.close()
    (folder / "validation_ids.txt").write_text("2\n")
    return pack(folder, tmp_path / "published" / "iso17.tar.gz", "w:gz")


def trajectory(path, count=7, numbers=ETHANOL, seed=0):
    rng = np.random.default_rng(seed)
    arrays = {
        "E": rng.normal(-97000, 5, (count, 1)),
        "F": rng.normal(size=(count, len(numbers), 3)),
        "R": rng.normal(size=(count, len(numbers), 3)),
        "z": numbers,
    }
    np.savez(path, **arrays, name="ethanol", theory="DFT", type="d", md5="0" * 32)
    return arrays


@pytest.fixture
def revised(tmp_path, server):
    """``rmd17.tar.bz2`` with 40 frames of ethanol and five splits of 5 + 4 frames."""
    folder = tmp_path / "rmd17"
    (folder / "npz_data").mkdir(parents=True)
    (folder / "splits").mkdir()
    rng = np.random.default_rng(1)
    arrays = {
        "nuclear_charges": ETHANOL,
        "coords": rng.normal(size=(40, 9, 3)),
        "energies": rng.normal(-97000, 5, 40),
        "forces": rng.normal(size=(40, 9, 3)),
        "old_indices": rng.choice(555092, 40, replace=False),
        "old_energies": rng.normal(-97100, 5, 40),
        "old_forces": rng.normal(size=(40, 9, 3)),
    }
    np.savez(folder / "npz_data" / "rmd17_ethanol.npz", **arrays)
    for k in range(1, 6):
        order = np.random.default_rng(k).permutation(40)
        for part, indices in (("train", order[:5]), ("test", order[5:9])):
            (folder / "splits" / f"index_{part}_0{k}.csv").write_text("".join(f"{i}\n" for i in indices))
            np.savez(
                folder / f"rmd17_ethanol_{part}_0{k}.npz",
                **{key: value if key == "nuclear_charges" else value[indices] for key, value in arrays.items()},
            )
    published = tmp_path / "rmd17-published" / "rmd17"
    published.mkdir(parents=True)
    (folder / "npz_data").rename(published / "npz_data")
    (folder / "splits").rename(published / "splits")
    return pack(published, tmp_path / "published" / "rmd17.tar.bz2", "w:bz2"), arrays


def remote(path, server):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return RemoteFile(path.name, (f"{server}/gone/{path.name}", f"{server}/{path.name}"), sha256=digest[:12])


def test_ani1_downloaded_and_local_are_the_same(tmp_path, ani, server):
    fetched = Cache(ANI1(archive=remote(ani, server)).prepare(tmp_path / "a"))
    local = Cache(dataset("ani1").prepare(tmp_path / "b", str(ani)))
    unpacked = Cache(dataset("ani1").prepare(tmp_path / "c", str(tmp_path / "ANI-1_release")))
    assert fetched.meta["sha256"] == local.meta["sha256"] == unpacked.meta["sha256"]
    assert [path.name for path in (tmp_path / "b" / "ani1").iterdir()] == ["ani1.cache"]


def test_ani1_order_units_and_references(tmp_path, ani):
    data = dataset("ani1")
    cache = Cache(data.prepare(tmp_path, str(ani)))
    assert len(cache) == sum(k + m + 1 for k in range(8) for m in range(2))
    assert cache.index.tolist() == list(range(len(cache)))
    with h5py.File(tmp_path / "ANI-1_release" / FILES[1]) as file:
        molecule = file["gdb11_s02/gdb11_s02-1"]
        k = 3 + 2 + 1  # after both molecules of the first file, and CH4 of the second
        assert str(cache.atoms(k).symbols) == "OH"
        np.testing.assert_array_equal(cache.atoms(k).positions, molecule["coordinates"][1])
        np.testing.assert_allclose(cache.values("energy")[k], molecule["energies"][1] * HARTREE, rtol=1e-14)
    assert data.references("energy")[1] == pytest.approx(-13.6225, abs=1e-3)  # hydrogen, eV
    assert build_cache(data.path(tmp_path)).folder == cache.folder


def test_ani1_high_energies_only_when_asked_for(tmp_path, ani):
    few = Cache(dataset("ani1").prepare(tmp_path, str(ani)))
    all_ = Cache(dataset("ani1-high-energy").prepare(tmp_path, str(ani)))
    assert -2 * HARTREE not in few.values("energy")
    assert len(all_) == len(few) + 8 * 2 * 2
    np.testing.assert_allclose(all_.values("energy")[1:3], [-HARTREE, -2 * HARTREE], rtol=1e-14)


def test_ani1_is_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("zoo.data.ani1.ROWS", 5)
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "one.h5", "w") as file:
        molecule = file.create_group("a/b/c")  # any number of levels
        molecule["species"], molecule["energies"] = np.array([b"O", b"H"], "S1"), rng.random(12)
        molecule["coordinates"] = rng.normal(size=(12, 2, 3))
    data = dataset("ani1")
    blocks = list(data.blocks(tmp_path, str(tmp_path / "one.h5")))
    assert [len(block.index) for block in blocks] == [5, 5, 2]
    assert np.concatenate([block.index for block in blocks]).tolist() == list(range(12))


def test_ani1_numbers_differ_where_a_molecule_fills_several_blocks(tmp_path):
    count = 2 * 4096 + 3
    with h5py.File(tmp_path / "one.h5", "w") as file:
        for name in ("a/b", "a/c"):
            molecule = file.create_group(name)
            molecule["species"], molecule["energies"] = np.array([b"H"], "S1"), np.zeros(count)
            molecule["coordinates"] = np.zeros((count, 1, 3), "f4")
    blocks = list(dataset("ani1").blocks(tmp_path, str(tmp_path / "one.h5")))
    assert len(blocks) == 6
    np.testing.assert_array_equal(np.concatenate([block.index for block in blocks]), np.arange(2 * count))


def test_ani1_incomplete(tmp_path, ani):
    folder = tmp_path / "ANI-1_release"
    (folder / FILES[7]).unlink()
    pack(folder, ani, "w:gz")
    with pytest.raises(DataError, match=r"has no ani_gdb_s08\.h5"):
        dataset("ani1").prepare(tmp_path, str(ani))
    (folder / FILES[0]).write_bytes((folder / FILES[0]).read_bytes()[:3000])
    with pytest.raises(DataError, match=r"ani_gdb_s01\.h5 cannot be read"):
        dataset("ani1").prepare(tmp_path, str(folder))
    with h5py.File(tmp_path / "bad.h5", "w") as file:
        file["x/y/coordinates"] = np.zeros((1, 2, 3))
    with pytest.raises(DataError, match="not in the layout of ANI-1"):
        dataset("ani1").prepare(tmp_path, str(tmp_path / "bad.h5"))
    assert list((tmp_path / "ani1").iterdir()) == []


def test_iso17_energies_forces_and_splits(tmp_path, iso, server):
    cache = Cache(ISO17(remote(iso, server)).prepare(tmp_path / "data"))
    assert len(cache) == 6
    assert not cache.meta["periodic"]
    np.testing.assert_array_equal(cache.values("energy")[[0, 3, 5]], -11505.647279852)
    forces = cache.values("forces").reshape(6, 19, 3)
    np.testing.assert_array_equal(forces[1, 4], [-0.1, 0.0, 0.1])
    assert {name: {part: i.tolist() for part, i in parts.items()} for name, parts in cache.splits.items()} == {
        "within": {"train": [0, 2], "val": [1], "test": [3, 4]},
        "other": {"train": [0, 2], "val": [1], "test": [5]},
    }
    assert sorted(path.name for path in (tmp_path / "data" / "iso17").iterdir()) == ["iso17.cache", "iso17.tar.gz"]


@pytest.mark.parametrize(("ids", "message"), [("0\n", "outside the 3"), ("4\n", "outside the 3"), ("x", "not a list")])
def test_iso17_validation_rows_are_checked(tmp_path, iso, ids, message):
    (tmp_path / "iso17" / "validation_ids.txt").write_text(ids)
    with pytest.raises(DataError, match=message):
        dataset("iso17").prepare(tmp_path / "data", str(tmp_path / "iso17"))


@pytest.mark.parametrize("name", ["reference.db", "test_other.db"])
def test_iso17_empty_database(tmp_path, iso, name):
    database = sqlite3.connect(tmp_path / "iso17" / name)
    database.execute("DELETE FROM systems")
    database.commit()
    database.close()
    with pytest.raises(DataError, match=rf"{name} has no rows"):
        dataset("iso17").prepare(tmp_path / "data", str(tmp_path / "iso17"))


def test_iso17_incomplete(tmp_path, iso):
    (tmp_path / "iso17" / "test_other.db").write_bytes(b"no database")
    with pytest.raises(DataError, match=r"test_other\.db is not a database of ISO17"):
        dataset("iso17").prepare(tmp_path / "data", str(tmp_path / "iso17"))
    (tmp_path / "iso17" / "test_other.db").unlink()
    with pytest.raises(DataError, match=r"has no test_other\.db"):
        dataset("iso17").prepare(tmp_path / "data", str(tmp_path / "iso17"))


def test_md17_units(tmp_path, server):
    arrays = trajectory(tmp_path / "published" / "md17_ethanol.npz")
    data = MD17("ethanol", (server + "/{}",))
    data.systems = 7
    cache = Cache(data.prepare(tmp_path / "data"))
    np.testing.assert_allclose(cache.values("energy"), arrays["E"][:, 0] * KCAL, rtol=1e-14)
    np.testing.assert_allclose(cache.values("forces"), arrays["F"].reshape(-1, 3) * KCAL, rtol=1e-14)
    np.testing.assert_array_equal(cache.positions, arrays["R"].reshape(-1, 3))
    assert cache.splits == {}
    assert cache.properties["forces"].unit == "eV/Å"
    assert data.references("energy")[1] == pytest.approx(-13.6, abs=0.05)
    data.systems = 8
    with pytest.raises(DataError, match="Expected 8 systems for md17-ethanol, got 7"):
        data.prepare(tmp_path / "other")


def test_md17_coupled_cluster_has_a_published_split(tmp_path):
    train, test = (
        trajectory(tmp_path / f"ethanol_ccsd_t-{part}.npz", n, seed=n) for part, n in (("train", 4), ("test", 3))
    )
    path = tmp_path / "ethanol_ccsd_t.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for part in ("test", "train"):
            archive.write(tmp_path / f"ethanol_ccsd_t-{part}.npz", f"ethanol_ccsd_t-{part}.npz")
    cache = Cache(dataset("md17-ethanol-ccsd-t").prepare(tmp_path, str(path)))
    published = cache.splits["published"]
    for part, arrays in (("train", train), ("test", test)):
        np.testing.assert_allclose(cache.values("energy")[published[part]], arrays["E"][:, 0] * KCAL, rtol=1e-14)
    assert cache.index.tolist() == list(range(7))


def test_rmd17_both_labels_and_five_splits(tmp_path, revised, server):
    path, arrays = revised
    data = RMD17("ethanol", remote(path, server))
    data.systems = 40
    cache = Cache(data.prepare(tmp_path / "data"))
    assert (tmp_path / "data" / "rmd17" / "rmd17.tar.bz2").exists()  # for the other molecules too
    for ours, theirs in [
        ("energy", "energies"),
        ("forces", "forces"),
        ("old_energy", "old_energies"),
        ("old_forces", "old_forces"),
    ]:
        np.testing.assert_allclose(cache.values(ours).ravel(), arrays[theirs].ravel() * KCAL, rtol=1e-14)
    assert list(cache.splits) == [f"split-{k}" for k in range(1, 6)]
    for k in range(1, 6):
        order = np.random.default_rng(k).permutation(40)
        assert cache.splits[f"split-{k}"]["train"].tolist() == order[:5].tolist()
        assert cache.splits[f"split-{k}"]["test"].tolist() == order[5:9].tolist()


def test_rmd17_parts_hold_the_same_frames(tmp_path, revised):
    path, arrays = revised
    whole = Cache(dataset("rmd17-ethanol").prepare(tmp_path / "whole", str(path)))
    parts = Cache(dataset("rmd17-ethanol").prepare(tmp_path / "parts", str(tmp_path / "rmd17")))
    assert set(parts.index) <= set(arrays["old_indices"])
    assert len(set(parts.index)) == len(parts) < 45
    for split, sides in whole.splits.items():
        for side, indices in sides.items():
            same = parts.splits[split][side]
            assert arrays["old_indices"][indices].tolist() == parts.index[same].tolist()
            for name in whole.properties:
                ours, theirs = whole.values(name), parts.values(name)
                if whole.properties[name].per == "atom":
                    ours, theirs = ours.reshape(-1, 9, 3), theirs.reshape(-1, 9, 3)
                np.testing.assert_array_equal(ours[indices], theirs[same])


def test_rmd17_damage(tmp_path, revised):
    folder = tmp_path / "rmd17"
    (folder / "rmd17_ethanol_test_03.npz").unlink()
    with pytest.raises(DataError, match="Split 3 has no test part"):
        dataset("rmd17-ethanol").prepare(tmp_path / "data", str(folder))
    with np.load(folder / "rmd17_ethanol_test_01.npz") as file:
        changed = {
            **file,
            "coords": file["coords"] + 1,
            "old_indices": np.load(folder / "rmd17_ethanol_train_01.npz")["old_indices"][:4],
        }
    for k in (2, 3, 4, 5):
        for part in ("train", "test"):
            (folder / f"rmd17_ethanol_{part}_0{k}.npz").unlink(missing_ok=True)
    np.savez(folder / "rmd17_ethanol_test_01.npz", **changed)
    with pytest.raises(DataError, match="Frames of the same number differ"):
        dataset("rmd17-ethanol").prepare(tmp_path / "data", str(folder))
    with pytest.raises(DataError, match=r"has no rmd17_uracil\.npz"):
        dataset("rmd17-uracil").prepare(tmp_path / "data", str(folder))
    published = tmp_path / "rmd17-published"
    next(published.rglob("index_test_04.csv")).unlink()
    with pytest.raises(DataError, match=r"has no index_test_04\.csv"):
        dataset("rmd17-ethanol").prepare(tmp_path / "data", str(published))


def test_another_molecule_is_refused(tmp_path):
    trajectory(tmp_path / "x.npz")
    with pytest.raises(DataError, match="holds C2H6O, md17-toluene is C7H8"):
        dataset("md17-toluene").prepare(tmp_path, str(tmp_path / "x.npz"))
    trajectory(tmp_path / "y.npz", numbers=ETHANOL[:8])
    with pytest.raises(DataError, match="holds C2H5O, md17-ethanol is C2H6O"):
        dataset("md17-ethanol").prepare(tmp_path, str(tmp_path / "y.npz"))


def test_arrays_that_do_not_fit_are_refused(tmp_path):
    arrays = trajectory(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", **{**arrays, "F": arrays["F"][:-1]})
    with pytest.raises(DataError, match="forces: not 7 frames of 9 atoms"):
        dataset("md17-ethanol").prepare(tmp_path, str(tmp_path / "x.npz"))


@pytest.mark.parametrize("name", ["ani1", "iso17", "md17-ethanol", "md17-ethanol-ccsd-t", "rmd17-ethanol"])
@pytest.mark.parametrize("damage", ["cut", "page"])
def test_files_without_a_checksum_are_not_believed(tmp_path, ani, iso, revised, name, damage):
    """What a checksum would have found, the archives' own find; and nothing is left behind."""
    path = {"ani1": ani, "iso17": iso, "rmd17-ethanol": revised[0]}.get(name, tmp_path / "x.npz")
    if name.startswith("md17"):
        trajectory(path)
        path = path.rename(path.with_suffix(".zip" if "ccsd" in name else ".npz"))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"<!DOCTYPE html><html>" * 50)
    with pytest.raises(DataError, match=r"again|get the file"):
        dataset(name).prepare(tmp_path / "data", str(path))
    assert list((tmp_path / "data" / name).iterdir()) == []


def test_a_cache_of_another_name_is_kept(tmp_path, ani):
    path = dataset("ani1").prepare(tmp_path, str(ani))
    (tmp_path / "iso17").mkdir()
    path.rename(tmp_path / "iso17" / "iso17.cache")
    with pytest.raises(DataError, match="holds 'ani1', not 'iso17'"):
        dataset("iso17").prepare(tmp_path)


def test_a_part_does_not_pass_as_the_published_set(tmp_path):
    trajectory(tmp_path / "part.npz")
    trajectory(tmp_path / "other.npz", 8)
    data = dataset("md17-ethanol")
    path = data.prepare(tmp_path / "data", str(tmp_path / "part.npz"))
    assert json.loads((path / "meta.json").read_text())["source"] == str(tmp_path / "part.npz")
    assert data.prepare(tmp_path / "data", str(tmp_path / "data" / ".." / "part.npz")) == path
    with pytest.raises(DataError, match=r"holds 7 systems of the 555092 .*part\.npz\), move it, or choose"):
        data.prepare(tmp_path / "data")
    with pytest.raises(DataError, match=r"was made from .*part\.npz, not from .*other\.npz; give that source"):
        data.prepare(tmp_path / "data", str(tmp_path / "other.npz"))


def test_the_published_set_is_not_taken_for_a_source(tmp_path, ani, server):
    data = ANI1(archive=remote(ani, server))
    path = data.prepare(tmp_path / "data")
    assert data.prepare(tmp_path / "data") == path
    with pytest.raises(DataError, match="was made from the published files, not from"):
        data.prepare(tmp_path / "data", str(tmp_path / "ANI-1_release"))
