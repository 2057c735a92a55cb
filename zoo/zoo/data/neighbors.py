"""Neighbour lists of a whole data set for one cutoff, computed once by the list that deployment uses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo.data.arrays import FolderBuilder
from zoo.data.progress import track
from zoo_registry.errors import DataError
from zoo_runtime.graph import BRUTE_FORCE_ATOMS, neighbor_list

if TYPE_CHECKING:
    from zoo.data.cache import Cache

BLOCK = 1000


@dataclass(frozen=True)
class Neighbors:
    """Compressed rows: atom ``i`` of the data set owns the edges ``first[i]`` to ``first[i + 1]``.

    Attributes:
        first: ``[n + 1]`` int64.
        neighbor: ``[e]`` index of the neighbour inside its system, in the smallest unsigned type that fits.
        images: ``[e, 3]`` int8 periodic images, None where nothing is periodic.
    """

    first: np.ndarray
    neighbor: np.ndarray
    images: np.ndarray | None

    @classmethod
    def open(cls, folder: Path) -> Neighbors:
        """Map the files of a folder that :func:`build_neighbors` made."""
        names = ("first", "neighbor", "images")
        paths = [folder / f"{name}.npy" for name in names]
        return cls(*(np.asarray(np.load(p, mmap_mode="r")) if p.exists() else None for p in paths))  # type: ignore[arg-type]


def build_neighbors(cache: Cache, cutoff: float, folder: Path) -> None:
    """Compute the lists of all systems of a cache; takes about 10 µs a molecule and 1 byte an edge.

    Args:
        cache: The systems.
        cutoff: Radius in Å, strict (distance < cutoff).
        folder: Where to put them; appears only when complete.

    Raises:
        DataError: A neighbour more than 127 periodic images away.
    """
    with FolderBuilder(folder, replace=False) as builder:
        first = builder.stream("first", "<i8")
        first.append(np.zeros(1))
        neighbor = builder.stream(
            "neighbor", np.min_scalar_type(cache.meta["largest_system"] - 1).newbyteorder("<").str
        )
        images = builder.stream("images", "|i1", (3,)) if cache.cell is not None else None
        edges = 0
        for counts, local, shift in track(
            _blocks(cache, cutoff), f"Neighbours within {cutoff:g} Å", -(-len(cache) // BLOCK)
        ):
            first.append(edges + np.cumsum(counts))
            edges += len(local)
            neighbor.append(local)
            if images is not None:
                if np.abs(shift).max(initial=0) > 127:
                    raise DataError(f"A neighbour within {cutoff:g} Å is more than 127 cells away; lower the cutoff.")
                images.append(shift)
        builder.finish({"cutoff": cutoff, "edges": edges})


def _blocks(cache: Cache, cutoff: float) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield edge counts per atom, local neighbours and images of ``BLOCK`` systems at a time."""
    for start in range(0, len(cache), BLOCK):
        cache.touch(BLOCK)
        sizes = np.diff(cache.offsets[start : start + BLOCK + 1])
        ends = start + np.append(np.flatnonzero(np.diff(sizes)) + 1, len(sizes))
        lists = []
        for first, end in zip([start, *ends[:-1]], ends, strict=True):  # systems of the same size
            if cache.pbc is None and sizes[first - start] <= BRUTE_FORCE_ATOMS:
                lists.append(_molecules(cache, first, end, cutoff))
            else:
                lists += [_one(cache, i, cutoff) for i in range(first, end)]
        counts, local, images = zip(*lists, strict=True)
        yield np.concatenate(counts), np.concatenate(local), np.concatenate(images)


def _molecules(cache: Cache, first: int, end: int, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Do what `_one` does for molecules of the same size, all at once, since an archive may hold millions."""
    positions = cache.positions[cache.offsets[first] : cache.offsets[end]].reshape(end - first, -1, 3)
    difference = positions[:, :, None] - positions[:, None]
    near = np.einsum("sijk,sijk->sij", difference, difference) < cutoff * cutoff
    near &= ~np.eye(positions.shape[1], dtype=bool)
    local = near.nonzero()[2]
    return near.sum(axis=2).ravel(), local, np.zeros((len(local), 3), np.int64)


def _one(cache: Cache, index: int, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    atoms = slice(cache.offsets[index], cache.offsets[index + 1])
    cell = np.zeros((3, 3)) if cache.cell is None else cache.cell[index]
    pbc = np.zeros(3, bool) if cache.pbc is None else cache.pbc[index]
    positions = cache.positions[atoms]
    edges, images = neighbor_list(positions, cell, pbc, cutoff)
    return np.bincount(edges[0], minlength=len(positions)), edges[1], images
