"""What a model must not be asked: each check refuses, or warns where the answer is defined but extrapolated.

What the training data covered is in ``zoo.json``: ``domain`` has the shortest distance of each pair of elements, the
smallest and the largest system and the range of each element's share; ``metrics`` the spread of a committee on test
data. What an older release does not tell is not checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from zoo_registry.errors import StructureError
from zoo_registry.metadata import Metadata
from zoo_runtime import keys
from zoo_runtime.graph import LARGEST_COORDINATE, Graph
from zoo_runtime.prediction import (
    CompositionWarning,
    DistanceWarning,
    DomainWarning,
    GradientWarning,
    NeighborWarning,
    PeriodicityWarning,
    PredictionWarning,
    SizeWarning,
    SpinWarning,
    SpreadWarning,
)

if TYPE_CHECKING:
    from ase import Atoms

OVERLAP = 0.5  # Å; H2, the shortest bond there is, has 0.74 Å
DENSEST = 0.5  # Å³ per atom; diamond has 5.7 Å³
SHORTER = 0.9  # of the shortest distance in the training data
FURTHER = 0.05  # of all atoms, beyond the range of an element's share in the training data
WIDER = 3.0  # times the root mean square of a committee's spread on test data


class OutsideDomain(StructureError):
    """A structure unlike those that the model was trained on, which strict mode refuses."""


def check_structure(atoms: Atoms, metadata: Metadata) -> list[PredictionWarning]:
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
    warnings: list[PredictionWarning] = []
    warnings += _check_charge_and_spin(atoms, metadata)
    if atoms.pbc.any():
        _check_cell(atoms)
        if not metadata.periodic:
            warnings.append(
                PeriodicityWarning(f"the structure is periodic, but {metadata.name} was trained on molecules only")
            )
    return warnings + _check_size(atoms, metadata) + _check_composition(atoms, metadata)


def _check_size(atoms: Atoms, metadata: Metadata) -> list[PredictionWarning]:
    smallest = metadata.domain.get("smallest_system", 0)
    if len(atoms) < smallest:
        return [SizeWarning(f"the structure has {len(atoms)} atoms, the smallest in the training data has {smallest}")]
    largest = metadata.domain.get("largest_system", len(atoms))
    if not metadata.periodic and len(atoms) > largest:
        return [SizeWarning(f"the structure has {len(atoms)} atoms, the largest in the training data has {largest}")]
    return []


def _check_composition(atoms: Atoms, metadata: Metadata) -> list[PredictionWarning]:
    """Warn of an element whose share of all atoms is far from any in the training data."""
    found: list[PredictionWarning] = []
    counts = np.bincount(atoms.numbers)
    for symbol, (least, most) in metadata.domain.get("composition", {}).items():
        number = _number(symbol)
        share = counts[number] / len(atoms) if number < len(counts) else 0.0
        if not least - FURTHER <= share <= most + FURTHER:
            found.append(
                CompositionWarning(
                    f"{share:.0%} of the atoms are {symbol}, in the training data {least:.0%} to {most:.0%}"
                )
            )
    return found


def caveats(metadata: Metadata) -> list[PredictionWarning]:
    """Return what holds for every prediction of a model and a user must know: what it gives and was not trained on."""
    targets = metadata.training.get("recipe", {}).get("data", {}).get("targets")
    found: list[PredictionWarning] = []
    if targets is None:
        return found
    if keys.FORCES in metadata.outputs and keys.FORCES not in targets:
        error = metadata.metrics.get("test/forces_rmse")
        measured = f"; their test RMSE is {error['value']:.2g} {error['unit']}" if error else ""
        found.append(GradientWarning(f"{metadata.name} was trained without forces{measured}"))
    if keys.DIPOLE_MAGNITUDE in targets and keys.DIPOLE not in targets:
        found.append(
            GradientWarning(
                f"{metadata.name} was trained on magnitudes of dipoles; their directions and slopes, and so infrared "
                "intensities, were compared with nothing"
            )
        )
    return found


def refuse_outside(warnings: Sequence[str]) -> None:
    """Make warnings about the domain an error.

    Raises:
        OutsideDomain: There is one; names all.
    """
    outside = [warning for warning in warnings if isinstance(warning, DomainWarning)]
    if outside:
        raise OutsideDomain(f"{'; '.join(outside)}; strict=true refuses what is unlike the training data.")


def check_spread(values: dict[str, Any], metadata: Metadata) -> list[PredictionWarning]:
    """Warn where the members of a committee disagree far more than on test data.

    Args:
        values: A prediction's, by the names of `zoo_runtime.keys`.
        metadata: The model's, with ``metrics["test/energy_spread_rms"]`` where it is known.
    """
    found: list[PredictionWarning] = []
    for name, spread in ((keys.ENERGY, keys.ENERGY_SPREAD), (keys.FORCES, keys.FORCES_SPREAD)):
        usual = metadata.metrics.get(f"test/{name}_spread_rms")
        if usual is None or spread not in values:
            continue
        largest = float(np.max(values[spread]))
        if largest > WIDER * usual["value"]:
            found.append(
                SpreadWarning(
                    f"committee spread of {name} is {largest:.3g} {usual['unit']}, on test data {usual['value']:.3g} "
                    f"{usual['unit']} (root mean square)"
                )
            )
    return found


class Contacts:
    """Finds the systems of a batch whose distances need a closer look, all at once.

    Args:
        metadata: The model's.
    """

    def __init__(self, metadata: Metadata) -> None:
        self._row = np.zeros(max(metadata.species) + 1, dtype=np.int64)
        self._row[metadata.species] = np.arange(len(metadata.species))
        self._limits = np.full((len(metadata.species),) * 2, OVERLAP)
        for names, limit in metadata.domain.get("shortest_distance", {}).items():
            a, b = (self._row[_number(symbol)] for symbol in names.split("-"))
            self._limits[a, b] = self._limits[b, a] = max(OVERLAP, SHORTER * limit)

    def suspicious(self, graph: Graph) -> npt.NDArray[np.bool_]:
        """Return for which systems, [s], `check_contacts` would refuse or warn; atoms of known elements only."""
        rows = self._row[graph.numbers]
        i, j = graph.edges
        found = np.zeros(graph.n_systems, dtype=bool)
        found[graph.system[i[graph.distances() < self._limits[rows[i], rows[j]]]]] = True
        found[graph.system[np.bincount(i, minlength=len(rows)) == 0]] = True
        return found


def check_contacts(graph: Graph, metadata: Metadata) -> list[PredictionWarning]:
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
    alone: list[PredictionWarning] = []
    if isolated.any() and len(graph.numbers) > 1:
        atom = int(isolated.argmax())
        symbol = _symbol(graph.numbers[atom])
        alone.append(NeighborWarning(f"atom {atom} ({symbol}) has no neighbour within {metadata.cutoff:g} Å"))
    near = distances < SHORTER * max(metadata.domain.get("shortest_distance", {}).values(), default=0.0)
    species = np.asarray(metadata.species)
    rows = np.searchsorted(species, graph.numbers[graph.edges[:, near]])
    shortest = np.full((len(species), len(species)), np.inf)
    np.minimum.at(shortest, tuple(rows), distances[near])
    return alone + check_shortest(shortest, metadata)


def check_shortest(shortest: npt.NDArray[np.float64], metadata: Metadata) -> list[PredictionWarning]:
    """Warn of distances shorter than any in the training data.

    Args:
        shortest: [S, S] Å, the shortest distance of each pair of elements, in the order of the model's species.
        metadata: The model's, with ``domain["shortest_distance"]`` as ``{"C-H": Å}`` where it is known.
    """
    warnings: list[PredictionWarning] = []
    for names, limit in metadata.domain.get("shortest_distance", {}).items():
        a, b = (metadata.species.index(_number(symbol)) for symbol in names.split("-"))
        found = min(shortest[a, b], shortest[b, a])
        if found < SHORTER * limit:
            text = f"{names} distance {found:.2f} Å is shorter than any in the training data ({limit:.2f} Å)"
            warnings.append(DistanceWarning(text))
    return warnings


def _check_elements(atoms: Atoms, metadata: Metadata) -> None:
    if not set(atoms.numbers.tolist()).issubset(metadata.species):
        unknown = ~np.isin(atoms.numbers, metadata.species)
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


def _check_charge_and_spin(atoms: Atoms, metadata: Metadata) -> list[PredictionWarning]:
    charges, spins = charge_and_spin(atoms)
    for name, values, trained in (
        ("charge", charges, metadata.charge),
        ("spin multiplicity", spins, metadata.spin_multiplicity),
    ):
        for given in values:
            if _equal(given, trained):
                continue
            raise StructureError(
                f"the structure has {name} {given} (in atoms.info, or its initial charges), but {metadata.name} was "
                f"trained for {trained} only; use another model, or take the entry out if it means something else."
            )
    if "initial_magmoms" not in atoms.arrays:
        return []
    # Moments are a starting point for other programs, which ASE's own molecules bring: no reason to refuse.
    moments = atoms.get_initial_magnetic_moments()
    multiplicity = round(float(np.linalg.norm(moments.sum(axis=0)))) + 1
    if not moments.any() or multiplicity == metadata.spin_multiplicity:
        return []
    return [
        SpinWarning(
            f"the initial magnetic moments make a spin multiplicity of {multiplicity}, but {metadata.name} was trained "
            f"for {metadata.spin_multiplicity} only"
        )
    ]


def charge_and_spin(atoms: Atoms) -> tuple[list[Any], list[Any]]:
    """Return the total charges in e and the spin multiplicities that a structure states.

    They are the entries of ``atoms.info`` under any usual name, and the sum of initial charges, where some are set.
    """
    named = {str(key).lower(): value for key, value in atoms.info.items()}
    charge = [named[key] for key in ("charge", "total_charge") if key in named]
    initial = atoms.get_initial_charges()
    if initial.any():
        charge.append(round(float(initial.sum()), 2) + 0.0)  # partial charges of other programs are rounded numbers
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
