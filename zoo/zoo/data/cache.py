"""A data set as memory-mapped arrays, from which batches are gathered without touching single molecules."""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from zoo.data.arrays import SCHEMA
from zoo.data.database import BLOCK, count_systems, describe, read_blocks, read_metadata
from zoo.data.neighbors import Neighbors, build_neighbors
from zoo.data.progress import track
from zoo.data.split import Official
from zoo.data.writer import CacheWriter, Property
from zoo_registry.errors import DataError, UsageError, close_matches
from zoo_runtime import keys
from zoo_runtime.graph import make_triples

if TYPE_CHECKING:
    import ase

LARGE = 1 << 29  # bytes of positions; the system keeps mapped files of less in a process as it likes
HELD = 1 << 12  # systems of a large cache whose pages stay in a process; each fault brings some 64 KiB


class Cache:
    """Read access to a cache folder.

    The arrays are mapped, not loaded: opening is immediate, processes share the memory, and what is sent to a
    worker process is only the folder's name.

    Attributes:
        folder: Where the files are.
        meta: ``meta.json``: counts, species, units, source, sha256 of the contents.
        index: ``[s]`` number of each system in its source.
        offsets: ``[s + 1]`` first atom of each system.
        numbers: ``[n]`` uint8 atomic numbers.
        positions: ``[n, 3]`` float64 in Å.
        cell: ``[s, 3, 3]`` float64 in Å, or None where nothing is periodic.
        pbc: ``[s, 3]`` bool, or None where nothing is periodic.

    Raises:
        DataError: No cache there, or one of a newer version.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        try:
            self.meta: dict[str, Any] = json.loads((self.folder / "meta.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{folder} is not a cache ({error}); build it again with build_cache.") from None
        if self.meta["schema"] > SCHEMA:
            raise DataError(f"{folder} is a cache of schema {self.meta['schema']}, not {SCHEMA}; delete it to rebuild.")
        self.properties = {
            name: Property(what["per"], tuple(what["shape"]), what["unit"])
            for name, what in self.meta["properties"].items()
        }
        self.index, self.offsets = self._open("index"), self._open("offsets")
        self.numbers, self.positions = self._open("numbers"), self._open("positions")
        self.cell = self._open("cell") if self.meta["periodic"] else None
        self.pbc = self._open("pbc") if self.meta["periodic"] else None
        self._values = {name: self._open(f"property.{name}") for name in self.properties}
        self._neighbors: dict[float, Neighbors] = {}
        self._touched = 0

    def touch(self, systems: int) -> None:
        """Take note that systems were read; of a large cache, give the pages back to the system now and then.

        It keeps them as long as nobody else needs the room, so memory stays bounded and reading stays quick.
        """
        self._touched += systems
        if self._touched < HELD or self.positions.nbytes < LARGE or not hasattr(mmap, "MADV_DONTNEED"):
            return
        self._touched = 0
        lists = [array for found in self._neighbors.values() for array in vars(found).values()]
        for array in (self.positions, self.numbers, *self._values.values(), *lists):
            if array is not None and isinstance(pages := _pages(array), mmap.mmap):
                pages.madvise(mmap.MADV_DONTNEED)

    def _open(self, name: str) -> np.ndarray:
        return np.asarray(np.load(self.folder / f"{name}.npy", mmap_mode="r"))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __reduce__(self) -> tuple[type[Cache], tuple[Path]]:
        return Cache, (self.folder,)

    @property
    def species(self) -> list[int]:
        """Atomic numbers that occur, sorted."""
        return list(self.meta["species"])

    @property
    def n_atoms(self) -> np.ndarray:
        """``[s]`` atoms of each system."""
        return np.diff(self.offsets)

    def values(self, name: str) -> np.ndarray:
        """Return all values of a property, ``[s, *shape]`` or per atom ``[n, *shape]``, in its unit.

        Raises:
            DataError: No such property.
        """
        if name not in self._values:
            raise DataError(f"{self.folder} has no property {name!r}{close_matches(name, self.properties)}")
        return self._values[name]

    @property
    def splits(self) -> dict[str, dict[str, np.ndarray]]:
        """The splits that were published with the data: by name, positions in the cache of each part."""
        found: dict[str, dict[str, np.ndarray]] = {}
        for path in sorted(self.folder.glob("split.*.npy")):
            _, name, part, _ = path.name.split(".")
            found.setdefault(name, {})[part] = self._open(path.stem)
        return found

    def official(self, name: str | None) -> Official | None:
        """Return a split that was published with the data, or None where ``name`` is None.

        Raises:
            UsageError: No such split.
        """
        if name is None:
            return None
        if name not in (splits := self.splits):
            hint = close_matches(name, splits) if splits else "; leave it out."
            raise UsageError(f"{self.folder} has no published split {name!r}{hint}")
        return Official(name, splits[name])

    def atoms_of(self, indices: np.ndarray) -> np.ndarray:
        """Return ``[n]`` the positions of the atoms of some systems, in the order of the systems."""
        start = self.offsets[indices]
        return _ranges(start, self.offsets[np.asarray(indices) + 1] - start)

    def atoms(self, index: int) -> ase.Atoms:
        """Return one system as :class:`ase.Atoms` without properties."""
        import ase

        part = slice(self.offsets[index], self.offsets[index + 1])
        cell = None if self.cell is None or self.pbc is None else self.cell[index]
        pbc = None if self.pbc is None else self.pbc[index]
        return ase.Atoms(numbers=self.numbers[part], positions=self.positions[part], cell=cell, pbc=pbc)

    def neighbors(self, cutoff: float) -> Neighbors:
        """Return the neighbour lists for a cutoff in Å, built at the first call and kept beside the data."""
        cutoff = float(cutoff)
        if cutoff not in self._neighbors:
            folder = self.folder / f"neighbors-{cutoff!r}"
            if not (folder / "meta.json").exists():
                build_neighbors(self, cutoff, folder)
            self._neighbors[cutoff] = Neighbors.open(folder)
        return self._neighbors[cutoff]

    def batch(
        self,
        indices: Sequence[int] | np.ndarray,
        cutoff: float,
        triples: bool = False,
        properties: Iterable[str] = (),
    ) -> dict[str, torch.Tensor]:
        """Gather systems into one graph.

        Args:
            indices: ``[s]`` positions in the cache, in the order wanted; repeats are allowed.
            cutoff: Radius of the neighbour list in Å.
            triples: Whether to add the triples of edges.
            properties: Names of the properties to add.

        Returns:
            The input tensors of :mod:`zoo_runtime.keys`, with positions, shifts and cell in float64;
            ``n_atoms [s]``; and each property in float64 under its name, ``[s, *shape]`` or ``[n, *shape]``.

        Raises:
            DataError: No such property, or an index outside the cache.
        """
        systems = np.asarray(indices, dtype=np.int64)
        if systems.size and (systems.min() < 0 or systems.max() >= len(self)):
            raise DataError(f"Indices must be 0 to {len(self) - 1}, got {systems.min()} to {systems.max()}.")
        lists = self.neighbors(cutoff)
        self.touch(len(systems))
        start, stop = self.offsets[systems], self.offsets[systems + 1]
        n_atoms = stop - start
        n = int(n_atoms.sum())
        atoms = _ranges(start, n_atoms)
        first_edge = lists.first[start]
        n_edges = lists.first[stop] - first_edge
        edge = _ranges(first_edge, n_edges)
        edges = np.empty((2, len(edge)), np.int64)
        edges[0] = np.repeat(np.arange(n), lists.first[atoms + 1] - lists.first[atoms])
        np.add(lists.neighbor[edge], np.repeat(np.cumsum(n_atoms) - n_atoms, n_edges), out=edges[1])
        shifts, cell = np.zeros((len(edge), 3)), np.zeros((len(systems), 3, 3))
        if self.cell is not None and lists.images is not None:
            cell = self.cell[systems]
            shifts = np.einsum("ei,eij->ej", lists.images[edge], np.repeat(cell, n_edges, axis=0))
        graph = {
            keys.NUMBERS: self.numbers[atoms].astype(np.int64),
            keys.POSITIONS: self.positions[atoms],
            keys.EDGES: edges,
            keys.SHIFTS: shifts,
            keys.SYSTEM: np.repeat(np.arange(len(systems)), n_atoms),
            keys.CELL: cell,
            "n_atoms": n_atoms,
        }
        if triples:
            graph[keys.TRIPLES] = make_triples(edges, n)
        for name in properties:
            rows = self.values(name)
            graph[name] = rows[atoms if self.properties[name].per == "atom" else systems]
        return {name: torch.from_numpy(array) for name, array in graph.items()}


def build_cache(
    database: str | Path, folder: str | Path | None = None, properties: Mapping[str, Property] | None = None
) -> Cache:
    """Make the cache of an ASE database, or open it where it is up to date.

    Args:
        database: Path of the ``.db`` file, or of a cache, which is then opened.
        folder: The cache; beside the database with the ending ``.cache`` where None.
        properties: The properties to keep, where the database's metadata and shapes shall not decide.

    Raises:
        DataError: No database, a property that is missing in a row, or a number that is not finite.
    """
    database = Path(database)
    if (database / "meta.json").is_file():
        return Cache(database)
    folder = database.with_suffix(".cache") if folder is None else Path(folder)
    facts = read_metadata(database)
    if (folder / "meta.json").exists():
        cache = Cache(folder)
        if properties in (None, cache.properties) and is_source(cache.meta.get("source", {}), database):
            return cache
    what = describe(database, properties)
    blocks = track(read_blocks(database, what), f"Caching {database.name}", -(-count_systems(database) // BLOCK))
    with CacheWriter(folder, what, {"source": describe_source(database), "dataset": facts}) as writer:
        for block in blocks:
            writer.append(**vars(block))
        writer.close()
    return Cache(folder)


def describe_source(path: Path) -> dict[str, Any]:
    """Return what tells whether a cache was made of a file as it is now; see :func:`is_source`."""
    state = path.stat()
    return {"name": path.name, "size": state.st_size, "mtime_ns": state.st_mtime_ns, "sha256": _sha256(path)}


def is_source(cached: Mapping[str, Any], path: Path) -> bool:
    """Return whether a file is the one that was cached; its contents decide where only the time differs."""
    state = path.stat()
    if cached.get("size") != state.st_size:
        return False
    return cached.get("mtime_ns") == state.st_mtime_ns or cached.get("sha256") == _sha256(path)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pages(array: np.ndarray) -> object:
    """Return what an array lies in, at last the map of a file."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base


def _ranges(start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Return the concatenation of ``arange(start_k, start_k + length_k)``."""
    end = np.cumsum(length)
    return np.arange(end[-1] if len(end) else 0) + np.repeat(start - end + length, length)


def write_cache(
    folder: str | Path,
    *,
    n_atoms: np.ndarray,
    numbers: np.ndarray,
    positions: np.ndarray,
    values: Mapping[str, np.ndarray],
    properties: Mapping[str, Property],
    index: np.ndarray | None = None,
    cell: np.ndarray | None = None,
    pbc: np.ndarray | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Cache:
    """Make a cache of arrays that are in memory; for the arguments see :meth:`CacheWriter.append`.

    Raises:
        DataError: Arrays that do not fit together, or a number that is not finite.
    """
    index = np.arange(len(n_atoms)) if index is None else index
    with CacheWriter(Path(folder), properties, facts) as writer:
        writer.append(index, n_atoms, numbers, positions, values, cell, pbc)
        writer.close()
    return Cache(folder)
