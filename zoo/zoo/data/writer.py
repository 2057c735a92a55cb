"""Writes a cache folder: systems go in as blocks of arrays, and what is wrong with them is refused here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data.arrays import FolderBuilder
from zoo_registry.errors import DataError
from zoo_runtime import keys

RESERVED = {
    keys.NUMBERS,
    keys.POSITIONS,
    keys.EDGES,
    keys.SHIFTS,
    keys.SYSTEM,
    keys.CELL,
    keys.TRIPLES,
    "n_atoms",
    "index",
    "offsets",
    "pbc",
}


@dataclass(frozen=True)
class Property:
    """What one property of a data set is.

    Attributes:
        per: ``system`` or ``atom``.
        shape: Shape of one value: ``()`` for an energy, ``(3,)`` for the force on an atom.
        unit: Unit of the stored numbers.
    """

    per: str = "system"
    shape: tuple[int, ...] = ()
    unit: str = ""

    def shape_of(self, n_atoms: int) -> tuple[int, ...]:
        """Return the shape of the values of a system of ``n_atoms`` atoms."""
        return (n_atoms, *self.shape) if self.per == "atom" else self.shape


class CacheWriter(FolderBuilder):
    """Streams systems into a cache folder.

    Args:
        folder: The folder to make; an existing one is replaced.
        properties: What each property is.
        facts: Further JSON facts for ``meta.json`` (source, licence, citation, ...).

    Raises:
        DataError: A property name that is a name of the graph.
    """

    def __init__(self, folder: Path, properties: Mapping[str, Property], facts: Mapping[str, Any] | None = None):
        super().__init__(Path(folder), replace=True)
        self.properties, self.facts = dict(properties), dict(facts or {})
        self.systems = self.atoms = self.largest = 0
        self.periodic = False
        self.species: set[int] = set()
        if odd := [name for name in self.properties if not re.fullmatch(r"\w[\w.+-]*", name)]:
            raise DataError(f"A property cannot be called {odd[0]!r}: use letters, digits and _ . + - only.")
        if clash := sorted(RESERVED & self.properties.keys()):
            raise DataError(
                f"A property cannot be called {', '.join(clash)}: that names a part of the graph; rename it."
            )

    def __enter__(self) -> CacheWriter:
        super().__enter__()
        self.stream("index", "<i8")
        self.stream("offsets", "<i8").append(np.zeros(1))
        self.stream("numbers", "|u1")
        self.stream("positions", "<f8", (3,))
        self.stream("cell", "<f8", (3, 3))
        self.stream("pbc", "|b1", (3,))
        for name, what in self.properties.items():
            self.stream(f"property.{name}", "<f8", what.shape)
        return self

    def append(
        self,
        index: np.ndarray,
        n_atoms: np.ndarray,
        numbers: np.ndarray,
        positions: np.ndarray,
        values: Mapping[str, np.ndarray],
        cell: np.ndarray | None = None,
        pbc: np.ndarray | None = None,
    ) -> None:
        """Append ``s`` systems of together ``n`` atoms.

        Args:
            index: ``[s]`` the systems' numbers in their source, for error texts and to find them again.
            n_atoms: ``[s]`` atoms of each system.
            numbers: ``[n]`` atomic numbers.
            positions: ``[n, 3]`` in Å.
            values: Property to ``[s, *shape]`` or, per atom, ``[n, *shape]``.
            cell: ``[s, 3, 3]`` in Å, rows are lattice vectors.
            pbc: ``[s, 3]`` periodic directions.

        Raises:
            DataError: Arrays of the wrong length, an unknown element, an empty system or a number that is not
                finite.
        """
        s, n = len(n_atoms), int(np.sum(n_atoms))
        pbc = np.zeros((s, 3), bool) if pbc is None else np.asarray(pbc, bool)
        cell = np.zeros((s, 3, 3)) if cell is None else np.where(pbc.any(axis=1).reshape(-1, 1, 1), cell, 0.0)
        owner = np.repeat(np.asarray(index), n_atoms)
        arrays = {
            "index": (index, s),
            "numbers": (numbers, n),
            "positions": (positions, n),
            "cell": (cell, s),
        }
        if values.keys() != self.properties.keys():
            raise DataError(f"Expected properties {sorted(self.properties)}, got {sorted(values)}.")
        for name, what in self.properties.items():
            arrays[f"property.{name}"] = (values[name], n if what.per == "atom" else s)
        for name, (array, rows) in arrays.items():
            self._check(name, np.asarray(array), rows, np.asarray(index) if rows == s else owner)
        if np.min(n_atoms, initial=1) < 1:
            raise DataError(f"System {np.asarray(index)[np.argmin(n_atoms)]} has no atoms; remove it.")
        if wrong := sorted(set(np.unique(numbers).tolist()) - set(range(1, 119))):
            raise DataError(f"Atomic numbers must be 1 to 118, got {wrong[:5]}.")
        for name, (array, _) in arrays.items():
            self.streams[name].append(np.asarray(array))
        self.streams["pbc"].append(pbc)
        self.streams["offsets"].append(self.atoms + np.cumsum(n_atoms))
        self.systems, self.atoms = self.systems + s, self.atoms + n
        self.largest = max(self.largest, int(np.max(n_atoms, initial=0)))
        self.periodic |= bool(pbc.any())
        self.species |= set(np.unique(numbers).tolist())

    def add_split(self, name: str, parts: Mapping[str, np.ndarray]) -> None:
        """Add a split that was published with the data.

        Args:
            name: Its name.
            parts: ``train``, ``test`` and, where there is one, ``val``: positions in this cache.

        Raises:
            DataError: A position outside the cache.
        """
        for part, indices in parts.items():
            if np.min(indices, initial=0) < 0 or np.max(indices, initial=0) >= self.systems:
                raise DataError(f"The split {name!r} names systems outside the {self.systems} that there are.")
            self.stream(f"split.{name}.{part}", "<i8").append(indices)

    def _check(self, name: str, values: np.ndarray, rows: int, owner: np.ndarray) -> None:
        expected = (rows, *self.streams[name].shape)
        if values.shape != expected:
            raise DataError(f"{name.removeprefix('property.')} must have shape {expected}, got {values.shape}.")
        bad = ~np.isfinite(values).reshape(rows, -1).all(axis=1)
        if bad.any():
            raise DataError(
                f"System {owner[np.argmax(bad)]}: {name.removeprefix('property.')} is not a finite number; "
                "correct or remove it."
            )

    def close(self) -> None:
        """Show the finished cache.

        Raises:
            DataError: No system was appended.
        """
        if not self.systems:
            raise DataError(f"No system for {self.folder}: the source is empty.")
        meta = {
            "systems": self.systems,
            "atoms": self.atoms,
            "largest_system": self.largest,
            "species": sorted(self.species),
            "periodic": self.periodic,
            "properties": {name: asdict(what) for name, what in self.properties.items()},
            **self.facts,
        }
        self.finish(meta, drop=() if self.periodic else ("cell", "pbc"))
