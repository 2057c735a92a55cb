"""What a model must not be asked: each check refuses, or warns where the answer is defined but extrapolated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from zoo_registry.errors import StructureError
from zoo_registry.metadata import Metadata
from zoo_runtime import keys
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
    smallest = metadata.domain.get("smallest_system", 0)
    if len(atoms) < smallest:
        warnings.append(f"the structure has {len(atoms)} atoms, the smallest in the training data has {smallest}")
    largest = metadata.domain.get("largest_system", len(atoms))
    if not metadata.periodic and len(atoms) > largest:
        warnings.append(f"the structure has {len(atoms)} atoms, the largest in the training data has {largest}")
    return warnings


def caveats(metadata: Metadata) -> list[str]:
    """Return what holds for every prediction of a model and a user must know: gradients that it was not trained on."""
    targets = metadata.training.get("recipe", {}).get("data", {}).get("targets")
    if keys.FORCES not in metadata.outputs or targets is None or keys.FORCES in targets:
        return []
    error = metadata.metrics.get("test/forces_rmse")
    measured = f"; their test RMSE is {error['value']:.2g} {error['unit']}" if error else ""
    return [f"{metadata.name} was trained without forces{measured}"]


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
    isolated = np.bincount(graph.edges[0], minlength=len(graph.numbers)) == 0
    alone = []
    if isolated.any() and len(graph.numbers) > 1:
        atom = int(isolated.argmax())
        alone.append(f"atom {atom} ({_symbol(graph.numbers[atom])}) has no neighbour within {metadata.cutoff:g} Å")
    near = distances < SHORTER * max(metadata.domain.get("shortest_distance", {}).values(), default=0.0)
    species = np.asarray(metadata.species)
    rows = np.searchsorted(species, graph.numbers[graph.edges[:, near]])
    shortest = np.full((len(species), len(species)), np.inf)
    np.minimum.at(shortest, tuple(rows), distances[near])
    return alone + check_shortest(shortest, metadata)


def check_shortest(shortest: npt.NDArray[np.float64], metadata: Metadata) -> list[str]:
    """Warn of distances shorter than any in the training data.

    Args:
        shortest: [S, S] Å, the shortest distance of each pair of elements, in the order of the model's species.
        metadata: The model's, with ``domain["shortest_distance"]`` as ``{"C-H": Å}`` where it is known.
    """
    warnings = []
    for names, limit in metadata.domain.get("shortest_distance", {}).items():
        a, b = (metadata.species.index(_number(symbol)) for symbol in names.split("-"))
        found = min(shortest[a, b], shortest[b, a])
        if found < SHORTER * limit:
            warnings.append(f"{names} distance {found:.2f} Å is shorter than any in the training data ({limit:.2f} Å)")
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
    charges, spins = charge_and_spin(atoms)
    for name, values, trained in (
        ("charge", charges, metadata.charge),
        ("spin multiplicity", spins, metadata.spin_multiplicity),
    ):
        for given in values:
            if _equal(given, trained):
                continue
            raise StructureError(
                f"the structure has {name} {given} (in atoms.info), but {metadata.name} was trained for {trained} "
                "only; use another model, or take the entry out if it means something else."
            )


def charge_and_spin(atoms: Atoms) -> tuple[list[Any], list[Any]]:
    """Return the total charges in e and the spin multiplicities that ``atoms.info`` names, under any usual name."""
    named = {str(key).lower(): value for key, value in atoms.info.items()}
    charge = [named[key] for key in ("charge", "total_charge") if key in named]
    spin = [named[key] for key in ("spin_multiplicity", "multiplicity", "spin") if key in named]
    return charge, spin


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
