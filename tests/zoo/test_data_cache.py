"""The cache gives training exactly the graph that deployment builds, whatever the batch."""

import json
import pickle

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule

import zoo_runtime.graph
from zoo.data.cache import Cache, write_cache
from zoo.data.writer import CacheWriter, Property
from zoo_registry.errors import DataError

MOLECULES = ["H2O", "CH4", "C6H6", "CH3CH2OH", "NH3"]
GRAPH = ("numbers", "positions", "edges", "shifts", "system", "cell", "triples")


def arrays(structures, properties=None):
    """Random properties: an energy per system, a force per atom, a stress per system."""
    n_atoms = np.array([len(atoms) for atoms in structures])
    generator = np.random.default_rng(0)
    return {
        "n_atoms": n_atoms,
        "numbers": np.concatenate([atoms.numbers for atoms in structures]),
        "positions": np.concatenate([atoms.positions for atoms in structures]),
        "cell": np.array([atoms.cell.array for atoms in structures]),
        "pbc": np.array([atoms.pbc for atoms in structures]),
        "values": {
            "energy": generator.normal(size=len(structures)),
            "forces": generator.normal(size=(n_atoms.sum(), 3)),
            "stress": generator.normal(size=(len(structures), 3, 3)),
        },
        "properties": {
            "energy": Property("system", (), "eV"),
            "forces": Property("atom", (3,), "eV/Å"),
            "stress": Property("system", (3, 3), "eV/Å³"),
        },
    }


@pytest.fixture
def molecules():
    return [molecule(name) for name in MOLECULES] + [Atoms("He"), Atoms("Ar2", [[0, 0, 0], [50, 0, 0]])]


@pytest.fixture
def mixed(molecules):
    skewed = bulk("Si").repeat((2, 1, 1))
    skewed.rattle(0.1, seed=1)
    return [bulk("Cu"), molecules[0], fcc111("Al", (1, 1, 3), vacuum=6.0), skewed, molecules[5]]


def check_same_graph(cache, structures, indices, cutoff):
    expected = zoo_runtime.graph.build([structures[i] for i in indices], cutoff, triples=True)
    batch = cache.batch(indices, cutoff, triples=True)
    assert set(GRAPH) <= batch.keys()
    for name in GRAPH:
        want = getattr(expected, name)
        assert batch[name].numpy().dtype == want.dtype
        assert batch[name].shape == want.shape
        torch.testing.assert_close(batch[name], torch.from_numpy(want), rtol=0, atol=1e-12)


@pytest.mark.parametrize("indices", [[0], [4, 1, 1, 3], [5], [6, 5], list(range(7))])
@pytest.mark.parametrize("cutoff", [1.5, 5.0])
def test_batch_of_molecules_is_the_deployed_graph(tmp_path, molecules, indices, cutoff):
    cache = write_cache(tmp_path / "c", **arrays(molecules))
    check_same_graph(cache, molecules, indices, cutoff)
    assert not (tmp_path / "c" / "cell.npy").exists()


@pytest.mark.parametrize("indices", [[0], [3, 1, 0, 2, 4], [2, 2], [1, 4]])
def test_batch_of_crystals_slabs_and_molecules_is_the_deployed_graph(tmp_path, mixed, indices):
    check_same_graph(write_cache(tmp_path / "c", **arrays(mixed)), mixed, indices, 5.0)


def test_properties_follow_their_systems_and_atoms(tmp_path, molecules):
    data = arrays(molecules)
    cache = write_cache(tmp_path / "c", **data)
    chosen = [4, 0, 4]
    batch = cache.batch(chosen, 3.0, properties=("forces", "energy", "stress"))
    first = np.concatenate([[0], np.cumsum(data["n_atoms"])])
    np.testing.assert_array_equal(batch["energy"], data["values"]["energy"][chosen])
    np.testing.assert_array_equal(batch["stress"], data["values"]["stress"][chosen])
    expected = np.concatenate([data["values"]["forces"][first[i] : first[i + 1]] for i in chosen])
    np.testing.assert_array_equal(batch["forces"], expected)
    np.testing.assert_array_equal(batch["n_atoms"], data["n_atoms"][chosen])
    assert {batch[name].dtype for name in ("energy", "forces", "stress")} == {torch.float64}


def test_neighbours_are_built_once_and_shared_by_copies(tmp_path, molecules):
    cache = write_cache(tmp_path / "c", **arrays(molecules))
    cache.neighbors(5.0)
    built = (cache.folder / "neighbors-5.0" / "neighbor.npy").stat().st_mtime_ns
    sent = pickle.dumps(cache)
    assert len(sent) < 500  # the folder's name, not the arrays
    copy = pickle.loads(sent)
    np.testing.assert_array_equal(copy.neighbors(5).neighbor, cache.neighbors(5.0).neighbor)
    assert (cache.folder / "neighbors-5.0" / "neighbor.npy").stat().st_mtime_ns == built


def test_contents_decide_the_sha256_not_the_chunks(tmp_path, molecules):
    data = arrays(molecules)
    whole = write_cache(tmp_path / "whole", **data)
    with CacheWriter(tmp_path / "chunks", data["properties"]) as writer:
        for k, atoms in enumerate(molecules):
            start = data["n_atoms"][:k].sum()
            values = {
                "energy": data["values"]["energy"][k : k + 1],
                "forces": data["values"]["forces"][start : start + len(atoms)],
                "stress": data["values"]["stress"][k : k + 1],
            }
            writer.append(np.array([k]), np.array([len(atoms)]), atoms.numbers, atoms.positions, values)
        writer.close()
    assert Cache(tmp_path / "chunks").meta["sha256"] == whole.meta["sha256"]
    data["values"]["energy"][2] += 1e-12
    assert write_cache(tmp_path / "other", **data).meta["sha256"] != whole.meta["sha256"]


def test_arrays_are_plain_npy_files(tmp_path, molecules):
    data = arrays(molecules)
    folder = write_cache(tmp_path / "c", **data, facts={"dataset": {"license": "CC0"}}).folder
    np.testing.assert_array_equal(np.load(folder / "positions.npy"), data["positions"])
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["systems"] == len(molecules)
    assert meta["largest_system"] == 12
    assert meta["properties"]["forces"] == {"per": "atom", "shape": [3], "unit": "eV/Å"}
    assert meta["dataset"] == {"license": "CC0"}


def test_a_failing_build_leaves_nothing_and_keeps_what_was_there(tmp_path, molecules):
    data = arrays(molecules)
    before = write_cache(tmp_path / "c", **data).meta["sha256"]
    data["values"]["forces"][7, 1] = np.nan
    with pytest.raises(DataError, match="System 1: forces is not a finite number"):
        write_cache(tmp_path / "c", **data)
    with pytest.raises(DataError):
        write_cache(tmp_path / "new", **data)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    assert Cache(tmp_path / "c").meta["sha256"] == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["values"].update(energy=d["values"]["energy"][:-1]), r"energy must have shape \(7,\)"),
        (lambda d: d["values"].pop("stress"), "Expected properties"),
        (lambda d: d.update(positions=d["positions"][:-1]), "positions must have shape"),
        (lambda d: d["numbers"].__setitem__(3, 0), "Atomic numbers must be 1 to 118"),
        (lambda d: d["properties"].update(edges=Property()), "cannot be called edges"),
        (lambda d: d["properties"].update({"../x": Property()}), "cannot be called '../x'"),
        (lambda d: d["n_atoms"].__setitem__(slice(5, 7), [0, 3]), "System 5 has no atoms"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, molecules, change, message):
    data = arrays(molecules)
    change(data)
    with pytest.raises(DataError, match=message):
        write_cache(tmp_path / "c", **data)


def test_wrong_questions_are_refused(tmp_path, molecules):
    cache = write_cache(tmp_path / "c", **arrays(molecules))
    with pytest.raises(DataError, match="did you mean 'energy'"):
        cache.batch([0], 5.0, properties=("enrgy",))
    with pytest.raises(DataError, match="Indices must be 0 to 6"):
        cache.batch([0, 7], 5.0)
    with pytest.raises(DataError, match="Indices must be 0 to 6"):
        cache.batch([-1], 5.0)
    with pytest.raises(DataError, match="is not a cache"):
        Cache(tmp_path)
    meta = json.loads((cache.folder / "meta.json").read_text())
    (cache.folder / "meta.json").write_text(json.dumps({**meta, "schema": 99}))
    with pytest.raises(DataError, match="schema 99"):
        Cache(cache.folder)


def test_atoms_come_back(tmp_path, mixed):
    cache = write_cache(tmp_path / "c", **arrays(mixed))
    for k, atoms in enumerate(mixed):
        back = cache.atoms(k)
        assert str(back.symbols) == str(atoms.symbols)
        assert (back.pbc == atoms.pbc).all()
        np.testing.assert_array_equal(back.positions, atoms.positions)
        if atoms.pbc.any():
            np.testing.assert_array_equal(back.cell, atoms.cell)
