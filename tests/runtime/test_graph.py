from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.neighborlist import neighbor_list as ase_neighbor_list

from zoo_registry.errors import StructureError
from zoo_runtime import graph as graphs
from zoo_runtime.graph import build, make_triples, neighbor_list

CUTOFF = 5.0


def scattered(pbc: object, cell: object = ((4.0, 0, 0), (2.5, 5, 0), (1, -2, 6))) -> Atoms:
    positions = np.random.default_rng(1).uniform(-20, 20, (10, 3))
    return Atoms("Ar10", positions, cell=cell, pbc=pbc)


def left_handed() -> Atoms:
    atoms = bulk("Si", cubic=True)
    return Atoms(atoms.symbols, atoms.positions, cell=atoms.cell.array * [[1], [1], [-1]], pbc=True)


SYSTEMS = {
    "molecule": molecule("CH3CH2OH"),
    "molecule with a cell and no pbc": Atoms("H2", [[0, 0, 0], [3.5, 0, 0]], cell=[4, 4, 4], pbc=False),
    "one atom": Atoms("H"),
    "dimer beyond the cutoff": Atoms("H2", [[0, 0, 0], [9, 0, 0]]),
    "dimer at the cutoff": Atoms("H2", [[0, 0, 0], [CUTOFF, 0, 0]]),
    "two atoms in one place": Atoms("H2", np.zeros((2, 3))),
    "large molecule": Atoms("C100", np.random.default_rng(0).uniform(0, 12, (100, 3))),
    "cubic": bulk("Si", cubic=True),
    "cell smaller than the cutoff": bulk("Cu"),
    "only images": Atoms("H", cell=[1.2, 10, 10], pbc=True),
    "image at the cutoff": Atoms("H", cell=[CUTOFF] * 3, pbc=True),
    "triclinic, unwrapped": scattered(True),
    "left-handed": left_handed(),
    "strongly skewed": Atoms("H2", [[0, 0, 0], [1, 1, 1]], cell=[[3, 0, 0], [2.9, 3, 0], [2.9, 2.9, 3]], pbc=True),
    "slab": fcc111("Al", (2, 2, 3), vacuum=6.0),
    "slab without third vector": fcc111("Al", (2, 2, 3)),
    "wire": scattered((True, False, False)),
    "second and third direction": scattered((False, True, True)),
    "third direction": scattered((False, False, True)),
    "flat sheet, unwrapped": scattered((True, True, False), ((4.0, 0, 0), (2.5, 5, 0), (0, 0, 0))),
}


def rows(edges: np.ndarray, images: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(row) for row in np.column_stack([edges.T, images]).tolist()]


@pytest.mark.parametrize("atoms", SYSTEMS.values(), ids=SYSTEMS.keys())
def test_neighbors_are_those_of_ase_sorted_and_within_the_cutoff(atoms: Atoms) -> None:
    edges, images = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, CUTOFF)
    i, j, shifts = ase_neighbor_list("ijS", atoms, CUTOFF)
    found = rows(edges, images)
    assert found == sorted(rows(np.stack([i, j]), shifts))
    assert edges.dtype == images.dtype == np.int64
    assert edges.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("atoms", SYSTEMS.values(), ids=SYSTEMS.keys())
def test_triples_are_every_pair_of_edges_of_a_centre_once(atoms: Atoms) -> None:
    edges, _ = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, CUTOFF)
    centres = edges[0].tolist()
    e = range(len(centres))
    expected = [(centres[a], a, b) for a in e for b in e[a + 1 :] if centres[a] == centres[b]]
    assert [tuple(t) for t in make_triples(edges, len(atoms)).T.tolist()] == expected


@pytest.mark.parametrize(
    ("cell", "pbc"),
    [
        (np.diag([7.0, 8.0, 9.0]), (False, False, False)),
        (np.diag([7.0, 8.0, 9.0]), (True, False, False)),
        (np.diag([7.0, 8.0, 9.0]), (True, True, False)),
        (np.diag([7.0, 7.0, 6e5]), (True, True, True)),
        (np.diag([7.0, 1e4, 1e4]), (True, True, True)),
    ],
)
def test_an_atom_far_away_changes_nothing(cell: np.ndarray, pbc: tuple[bool, ...]) -> None:
    positions = np.random.default_rng(0).uniform(0, 6, (100, 3))
    far = np.vstack([positions, [[3.0, 3e3, 3e5 if pbc[1] else 2e5]]])
    here, images = neighbor_list(positions, cell, pbc, CUTOFF)
    there, images_there = neighbor_list(far, cell, pbc, CUTOFF)
    old = (there < 100).all(axis=0)
    assert rows(there[:, old], images_there[old]) == rows(here, images)
    assert (there[:, ~old] == 100).all()  # nothing but its own images


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("pbc", [False, True])
def test_absurd_coordinates_are_refused_before_the_search(value: float, pbc: bool) -> None:
    with pytest.raises(StructureError, match="coordinate"):
        neighbor_list([[0, 0, 0], [value, 0, 0]], 5 * np.eye(3), pbc, CUTOFF)


def test_the_vectors_of_a_graph_are_the_distances_of_ase() -> None:
    for atoms in SYSTEMS.values():
        expected = np.sort(ase_neighbor_list("d", atoms, CUTOFF))
        assert np.sort(build([atoms], CUTOFF).distances()) == pytest.approx(expected, abs=1e-12)


def test_a_molecule_gives_the_same_list_by_all_pairs_and_by_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    atoms = molecule("C6H6")
    quick = neighbor_list(atoms.positions, np.zeros((3, 3)), False, CUTOFF)
    monkeypatch.setattr(graphs, "BRUTE_FORCE_ATOMS", 0)
    assert rows(*neighbor_list(atoms.positions, np.zeros((3, 3)), False, CUTOFF)) == rows(*quick)


def test_a_cell_without_pbc_is_ignored() -> None:
    atoms = SYSTEMS["molecule with a cell and no pbc"]
    graph = build([atoms], CUTOFF)
    assert not graph.cell.any()
    assert not graph.shifts.any()
    assert graph.edges.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("triples", [False, True])
def test_a_batch_is_its_systems_side_by_side(triples: bool) -> None:
    structures = list(SYSTEMS.values())
    together = build(structures, CUTOFF, triples)
    assert together.n_systems == len(structures)
    assert (np.diff(together.edges[0]) >= 0).all()
    assert (together.triples is None) is not triples
    first_edge = 0
    for system, atoms in enumerate(structures):
        alone = build([atoms], CUTOFF, triples)
        members = np.flatnonzero(together.system == system)
        mine = slice(first_edge, first_edge + alone.edges.shape[1])
        first_edge = mine.stop
        assert together.numbers[members].tolist() == atoms.numbers.tolist()
        assert (together.positions[members] == atoms.positions).all()
        assert (together.edges[:, mine] - members[0] == alone.edges).all()
        assert (together.shifts[mine] == alone.shifts).all()
        assert (together.cell[system] == alone.cell[0]).all()
        if together.triples is not None and alone.triples is not None:
            kept = together.triples[:, np.isin(together.triples[0], members)]
            assert (kept - [[members[0]], [mine.start], [mine.start]] == alone.triples).all()
