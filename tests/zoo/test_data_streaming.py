"""Millions of conformations fit through a small memory: what is needed does not grow with the data set."""

import mmap
import runpy
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import torch

from zoo.data import cache as cache_module
from zoo.data import dataset
from zoo.data.cache import Cache
from zoo.data.neighbors import Neighbors
from zoo_runtime.graph import neighbor_list

pages = cache_module._pages
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "streaming.py"


def write(folder, conformations):
    """One molecule of six atoms and many conformations in each of the eight files of ANI-1."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for k in range(1, 9):
        with h5py.File(folder / f"ani_gdb_s0{k}.h5", "w") as file:
            group = file.create_group(f"gdb/gdb-{k}")
            group["coordinates"] = random.uniform(0, 4, (conformations // 8, 6, 3)).astype(np.float32)
            group["energies"] = random.normal(size=conformations // 8)
            group["species"] = np.array(list("CCHHHH"), dtype="S1")
    return folder


def peak(work):
    tracemalloc.start()
    result = work()
    largest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return result, largest


def test_memory_of_preparation_does_not_grow_with_the_data(tmp_path):
    largest = {}
    for conformations in (16_000, 160_000):
        folder = write(tmp_path / f"{conformations}", conformations)
        path, preparing = peak(lambda folder=folder: dataset("ani1").prepare(folder, str(folder)))
        cache = Cache(path)
        assert len(cache) == conformations
        neighbors, listing = peak(lambda cache=cache: cache.neighbors(3.0))
        assert isinstance(neighbors, Neighbors)
        _, batching = peak(lambda cache=cache: cache.batch(np.arange(0, len(cache), len(cache) // 100), 3.0))
        largest[conformations] = max(preparing, listing, batching)
    whole = cache.positions.nbytes + cache.values("energy").nbytes + neighbors.neighbor.nbytes
    assert whole > 25e6
    assert largest[160_000] < 1.5 * largest[16_000] + 1e6
    assert largest[160_000] < whole / 2


def test_lists_of_many_molecules_are_those_of_each(tmp_path):
    folder = write(tmp_path / "few", 64)
    cache = Cache(dataset("ani1").prepare(folder, str(folder)))
    lists = cache.neighbors(2.5)
    for k in (0, 7, 8, 63):
        atoms = cache.atoms(k)
        edges, _ = neighbor_list(atoms.positions, atoms.cell, atoms.pbc, 2.5)
        first = lists.first[cache.offsets[k] : cache.offsets[k + 1] + 1]
        np.testing.assert_array_equal(lists.neighbor[first[0] : first[-1]], edges[1])
        np.testing.assert_array_equal(np.diff(first), np.bincount(edges[0], minlength=6))


def test_the_benchmark_trains_on_what_it_made(tmp_path, capfd):
    script = runpy.run_path(str(SCRIPT))
    for stage in script["STAGES"]:
        script["watched"](script[stage], tmp_path, 1000)
    rows = [line.split(" | ") for line in capfd.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == ["| make", "| prepare", "| neighbours", "| epoch"]
    assert sum(1 for _ in (tmp_path / "run").glob("checkpoints/last.ckpt")) == 1
    assert len(Cache(tmp_path / "ani1" / "ani1.cache")) == 1000


def test_a_large_cache_gives_its_pages_back_and_reads_the_same(tmp_path, monkeypatch):
    folder = write(tmp_path / "some", 800)
    path = dataset("ani1").prepare(folder, str(folder))
    wanted = np.random.default_rng(0).permutation(800)[:50]
    expected = Cache(path).batch(wanted, 3.0, properties=["energy"])
    monkeypatch.setattr(cache_module, "LARGE", 0)
    monkeypatch.setattr(cache_module, "HELD", 1)
    given_back = []
    monkeypatch.setattr(cache_module, "_pages", lambda array: given_back.append(array) or pages(array))
    cache = Cache(path)
    for _ in range(2):
        batch = cache.batch(wanted, 3.0, properties=["energy"])
        assert all(torch.equal(batch[name], expected[name]) for name in expected)
    if hasattr(mmap, "MADV_DONTNEED"):
        assert all(isinstance(pages(array), mmap.mmap) for array in given_back)
        assert len(given_back) > 4
