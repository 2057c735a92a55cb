"""What a model must not be asked: each check refuses, or warns where the answer is defined but extrapolated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zoo_registry.errors import StructureError
from zoo_registry.metadata import Metadata
from zoo_runtime.graph import LARGEST_COORDINATE, Graph

if TYPE_CHECKING:
    from ase import Atoms

OVERLAP = 0.5  # Å; H2, the shortest bond there is, has 0.74 Å
DENSEST = 0.5  # Å³ per atom; diamond has 5.7 Å³
SHORTER = 0.9  # of the shortest distance in the training data


def check_structure(atoms: Atoms, metadata: Metadata) -> list[str]:
    """Refuse what the model cannot or must not be asked; to be called before the neighbour list is made.

    Args:
        atoms: The structure.
        metadata: The model's.

    Returns:
        Warnings about predictions that are extrapolations.

    Raises:
        StructureError: No atoms, an element that the model does not know, coordinates that are no numbers, a
            periodic cell without volume, or a charge or spin that the model was not trained for.
    """
    if len(atoms) == 0:
        raise StructureError("the structure has no atoms; at least one is needed.")
    _check_elements(atoms, metadata)
    _check_coordinates(atoms)
    _check_charge_and_spin(atoms, metadata)
    warnings = []
    if atoms.pbc.any():
        _check_cell(atoms)
        if not metadata.periodic:
            warnings.append(f"the structure is periodic, but {metadata.name} was trained on molecules only")
    largest = metadata.domain.get("largest_system", len(atoms))
    if not metadata.periodic and len(atoms) > largest:
        warnings.append(f"the structure has {len(atoms)} atoms, the largest in the training data has {largest}")
    return warnings


def check_contacts(graph: Graph, metadata: Metadata) -> list[str]:
    """Refuse overlapping atoms, and warn of distances shorter than any in the training data.

    Args:
        graph: One structure.
        metadata: The model's, with ``domain["shortest_distance"]`` as ``{"C-H": Å}`` where it is known.

    Raises:
        StructureError: Two atoms, or an atom and an image, are closer than 0.5 Å.
    """
    distances = graph.distances()
    if (distances < OVERLAP).any():
        edge = int(np.where(graph.edges[0] <= graph.edges[1], distances, np.inf).argmin())
        i, j = graph.edges[:, edge]
        image = " (a periodic image)" if graph.shifts[edge].any() else ""
        raise StructureError(
            f"atoms {i} ({_symbol(graph.numbers[i])}) and {j} ({_symbol(graph.numbers[j])}){image} are "
            f"{distances[edge]:.2f} Å apart; below {OVERLAP} Å is refused. Are the coordinates in Å?"
        )
    limits = metadata.domain.get("shortest_distance", {})
    near = distances < SHORTER * max(limits.values(), default=0.0)
    pairs = graph.numbers[graph.edges[:, near]]
    warnings = []
    for names, limit in limits.items():
        first, second = (_number(symbol) for symbol in names.split("-"))
        same = (pairs[0] == first) & (pairs[1] == second) | (pairs[0] == second) & (pairs[1] == first)
        shortest = distances[near][same].min(initial=np.inf)
        if shortest < SHORTER * limit:
            warnings.append(
                f"{names} distance {shortest:.2f} Å is shorter than any in the training data ({limit:.2f} Å)"
            )
    return warnings


def _check_elements(atoms: Atoms, metadata: Metadata) -> None:
    unknown = ~np.isin(atoms.numbers, metadata.species)
    if unknown.any():
        symbols = ", ".join(_symbol(z) for z in np.unique(atoms.numbers[unknown]))
        known = ", ".join(_symbol(z) for z in metadata.species)
        raise StructureError(
            f"{metadata.name} does not know {symbols} (atom {unknown.argmax()}); it was trained on {known} only."
        )


def _check_coordinates(atoms: Atoms) -> None:
    wrong = ~(np.abs(atoms.positions) < LARGEST_COORDINATE).all(axis=1)
    if wrong.any():
        first = wrong.argmax()
        raise StructureError(
            f"atom {first} ({atoms.symbols[first]}) is at {atoms.positions[first].tolist()}; coordinates must be "
            f"finite numbers below {LARGEST_COORDINATE:.0e} Å."
        )


def _check_cell(atoms: Atoms) -> None:
    vectors = atoms.cell.array[atoms.pbc]
    if not np.isfinite(atoms.cell.array).all():
        raise StructureError(f"the cell {atoms.cell.tolist()} holds a value that is not a finite number.")
    if np.linalg.matrix_rank(vectors) < len(vectors):
        raise StructureError(
            f"the periodic cell vectors {vectors.tolist()} Å span no volume; give a cell, or switch pbc off."
        )
    crowded = len(vectors) == 3 and atoms.cell.volume < DENSEST * len(atoms)
    if crowded or np.linalg.norm(vectors, axis=1).min() < OVERLAP:
        raise StructureError(f"the periodic cell {vectors.tolist()} Å is too small for {len(atoms)} atoms. Is it in Å?")


def _check_charge_and_spin(atoms: Atoms, metadata: Metadata) -> None:
    for name, given, trained in (
        ("charge", charge_and_spin(atoms)[0], metadata.charge),
        ("spin multiplicity", charge_and_spin(atoms)[1], metadata.spin_multiplicity),
    ):
        if given is not None and not _equal(given, trained):
            raise StructureError(
                f"the structure has {name} {given} (in atoms.info), but {metadata.name} was trained for {trained} "
                "only; use another model, or take the entry out if it means something else."
            )


def charge_and_spin(atoms: Atoms) -> tuple[Any, Any]:
    """Return the total charge in e and the spin multiplicity that ``atoms.info`` names; None where it does not."""
    info = atoms.info
    return info.get("charge"), info.get("spin_multiplicity", info.get("spin"))


def _equal(given: Any, trained: int) -> bool:
    try:
        return float(given) == trained
    except (TypeError, ValueError):
        return False


def _symbol(number: int) -> str:
    from ase.data import chemical_symbols

    return chemical_symbols[number] if 0 < number < len(chemical_symbols) else f"Z={number}"


def _number(symbol: str) -> int:
    from ase.data import atomic_numbers

    return atomic_numbers[symbol]
