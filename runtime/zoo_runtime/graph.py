"""From atoms to the tensors of `zoo_runtime.keys`: neighbour list, triples and batches.

Training builds its input here too, so a model is trained on exactly what it is deployed with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from zoo_registry.errors import StructureError

if TYPE_CHECKING:
    from ase import Atoms

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# Up to here all pairs are cheaper than a cell list, and vesin stays out: it imports torch wherever it finds it.
BRUTE_FORCE_ATOMS = 60
# vesin 0.6.2 limits its cells to this number by shrinking all directions alike, and divides by zero in flat boxes.
VESIN_CELLS = 1e5
LARGEST_COORDINATE = 1e6  # Å; beyond it the images of small cells would overflow


@dataclass(frozen=True)
class Graph:
    """One batch of systems, the input of every backend.

    Attributes:
        numbers: [n] int64, atomic numbers.
        positions: [n, 3] float64, Å.
        edges: [2, e] int64, (centre i, neighbour j), sorted by centre.
        shifts: [e, 3] float64, Å, so that r_ij = r_j + shift - r_i.
        system: [n] int64, the system of an atom, ascending.
        cell: [s, 3, 3] float64, Å, lattice vectors as rows; zeros when not periodic.
        triples: [3, t] int64, (centre i, edge ij, edge ik), or None where no model asks for them.
    """

    numbers: Ints
    positions: Floats
    edges: Ints
    shifts: Floats
    system: Ints
    cell: Floats
    triples: Ints | None = None

    @property
    def n_systems(self) -> int:
        """Number of systems s."""
        return len(self.cell)

    def __str__(self) -> str:
        return f"{len(self.numbers):,} atoms with {self.edges.shape[1]:,} edges"

    def distances(self) -> Floats:
        """Return the length of every edge, [e] Å."""
        i, j = self.edges
        vectors = self.positions[j] + self.shifts - self.positions[i]
        return np.sqrt(np.einsum("ek,ek->e", vectors, vectors))

    def tensors(self) -> dict[str, npt.NDArray]:
        """Return the arrays by the names of `zoo_runtime.keys`; triples only where they were made."""
        return {name: value for name, value in vars(self).items() if value is not None}


def neighbor_list(
    positions: npt.ArrayLike, cell: npt.ArrayLike, pbc: npt.ArrayLike, cutoff: float
) -> tuple[Ints, Ints]:
    """Return every directed pair of atoms, images included, that is closer than the cutoff.

    Args:
        positions: [n, 3] Å, finite, anywhere (wrapped into the cell or not).
        cell: [3, 3] Å, lattice vectors as rows, of either handedness; read only for periodic directions.
        pbc: [3] bool.
        cutoff: Å; pairs at exactly this distance are left out.

    Returns:
        edges: [2, e] int64, (centre i, neighbour j), sorted by centre, then neighbour, then image.
        images: [e, 3] int64, so that r_ij = r_j + images @ cell - r_i.

    Raises:
        StructureError: A coordinate is not finite, or absurd.
    """
    positions = np.ascontiguousarray(positions, dtype=np.float64).reshape(-1, 3)
    periodic = np.broadcast_to(np.asarray(pbc, dtype=bool), 3)
    if not (np.abs(positions) < LARGEST_COORDINATE).all():
        raise StructureError(f"a coordinate is not a number below {LARGEST_COORDINATE:.0e} Å; check the positions.")
    if not periodic.any() and len(positions) <= BRUTE_FORCE_ATOMS:
        difference = positions[:, None] - positions
        near = np.einsum("ijk,ijk->ij", difference, difference) < cutoff * cutoff
        np.fill_diagonal(near, False)
        edges = np.stack(near.nonzero())
        return edges, np.zeros((edges.shape[1], 3), dtype=np.int64)

    from vesin import NeighborList

    positions, box = _close(positions, np.asarray(cell, dtype=np.float64), periodic, cutoff)
    reach = _reach(box, cutoff)
    search = NeighborList(cutoff=reach, full_list=True)
    pairs, images, distances = search.compute(positions, box, True, quantities="PSd")
    if reach > cutoff:
        near = distances < cutoff
        pairs, images = pairs[near], images[near]
    order = np.lexsort((images[:, 2], images[:, 1], images[:, 0], pairs[:, 1], pairs[:, 0]))
    return pairs[order].T.astype(np.int64, order="C"), images[order].astype(np.int64)


def _close(positions: Floats, cell: Floats, periodic: npt.NDArray[np.bool_], cutoff: float) -> tuple[Floats, Floats]:
    """Return positions and a fully periodic box that have the same pairs as the given ones.

    vesin has open directions of its own, but one atom far away costs it minutes there. So each open direction is
    closed by a vector too long for images to meet, after gaps beyond the cutoff were narrowed to the cutoff.
    """
    box = np.array(cell)
    normals = np.linalg.svd(cell[periodic])[2][periodic.sum() :]  # orthogonal to the periodic vectors
    for direction, normal in zip(np.flatnonzero(~periodic), normals, strict=True):
        x = positions @ normal
        order = np.argsort(x)
        squeezed = np.cumsum(np.minimum(np.diff(x[order], prepend=x.min()), 1.01 * cutoff))
        positions = positions + np.outer(squeezed[np.argsort(order)] - x, normal)
        box[direction] = (squeezed[-1] + 2 * cutoff) * normal
    return positions, box


def _reach(box: Floats, cutoff: float) -> float:
    """Return the smallest search radius from the cutoff up with which vesin does not divide by zero."""
    heights = 1 / np.linalg.norm(np.linalg.inv(box), axis=0)
    while True:
        cells = np.maximum(np.floor(heights / cutoff), 1)
        if cells.min() >= np.cbrt(cells.prod() / VESIN_CELLS):
            return cutoff
        cutoff *= 1.1


def make_triples(edges: npt.ArrayLike, n_atoms: int) -> Ints:
    """Return every unordered pair of edges that share their centre, once.

    Args:
        edges: [2, e], sorted by centre.
        n_atoms: Number of atoms n.

    Returns:
        [3, t] int64, (centre i, edge ij, edge ik) with edge ij before edge ik.
    """
    centres = np.asarray(edges, dtype=np.int64)[0]
    ends = np.cumsum(np.bincount(centres, minlength=n_atoms))
    edge = np.arange(len(centres))
    later = ends[centres] - edge - 1  # edges of the same centre that come after this one
    first = np.repeat(edge, later)
    starts = np.cumsum(later) - later
    second = np.arange(len(first)) - np.repeat(starts - edge - 1, later)
    return np.stack([centres[first], first, second])


def single(atoms: Atoms, cutoff: float) -> Graph:
    """Return the graph of one structure, without triples.

    Args:
        atoms: A structure. Without any periodic direction its cell is ignored.
        cutoff: Å.
    """
    pbc = atoms.pbc
    cell = atoms.cell.array if pbc.any() else np.zeros((3, 3))
    edges, images = neighbor_list(atoms.positions, cell, pbc, cutoff)
    return Graph(
        numbers=atoms.numbers.astype(np.int64),
        positions=atoms.positions.astype(np.float64),
        edges=edges,
        shifts=images @ cell,
        system=np.zeros(len(atoms), dtype=np.int64),
        cell=np.array(cell, dtype=np.float64)[None],
    )


def batch(graphs: Sequence[Graph], triples: bool = False) -> Graph:
    """Join graphs into one, in their order, and make its triples if asked.

    Args:
        graphs: At least one graph, each without triples.
        triples: Whether the model sums over triples.
    """
    atoms = np.cumsum([0] + [len(g.numbers) for g in graphs])
    systems = np.cumsum([0] + [g.n_systems for g in graphs])
    joined = graphs[0]
    if len(graphs) > 1:
        joined = Graph(
            numbers=np.concatenate([g.numbers for g in graphs]),
            positions=np.concatenate([g.positions for g in graphs]),
            edges=np.concatenate([g.edges + n for g, n in zip(graphs, atoms, strict=False)], axis=1),
            shifts=np.concatenate([g.shifts for g in graphs]),
            system=np.concatenate([g.system + s for g, s in zip(graphs, systems, strict=False)]),
            cell=np.concatenate([g.cell for g in graphs]),
        )
    return replace(joined, triples=make_triples(joined.edges, atoms[-1])) if triples else joined


def build(structures: Sequence[Atoms], cutoff: float, triples: bool = False) -> Graph:
    """Return one graph of several structures.

    Args:
        structures: At least one structure.
        cutoff: Å.
        triples: Whether to make the triples that angular descriptors sum over.
    """
    return batch([single(atoms, cutoff) for atoms in structures], triples)
