"""ASE SQLite databases, the interchange format: written all or nothing, read in blocks of arrays."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import ase
import ase.db
import numpy as np
from ase.stress import voigt_6_to_full_3x3_stress

from zoo.data.arrays import unfinished
from zoo.data.progress import track
from zoo.data.writer import Property
from zoo_registry.errors import DataError

BLOCK = 1000
SOURCE_INDEX = "source_index"  # key of the rows, so that `ase db qm9.db source_index=42` finds a molecule
# ASE's own names and units, which the database does not say; the shape alone could not always tell atoms from systems.
PER_ATOM = {"forces": "eV/Å", "energies": "eV", "charges": "e", "magmoms": "μB"}
PER_SYSTEM = {"energy": "eV", "free_energy": "eV", "stress": "eV/Å³", "dipole": "e·Å", "magmom": "μB"}
RESULTS = PER_ATOM | PER_SYSTEM


@dataclass(frozen=True)
class System:
    """One system of a data set: its number in the source, structure, and property values in our units."""

    index: int
    atoms: ase.Atoms
    values: Mapping[str, Any]


@dataclass
class Block:
    """Some systems as arrays; see :meth:`zoo.data.writer.CacheWriter.append`."""

    index: np.ndarray
    n_atoms: np.ndarray
    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray
    values: dict[str, np.ndarray]


def write_database(path: Path, systems: Iterable[System], metadata: Mapping[str, Any], total: int | None) -> None:
    """Write a database beside its final name and rename it when complete, so that ``path`` is never half.

    Args:
        path: Final name.
        systems: What to write, in this order.
        metadata: JSON-able facts.
        total: How many systems there must be, None where that is not known.

    Raises:
        DataError: Another number of systems.
    """
    temporary = unfinished(path)
    try:
        count = 0
        with ase.db.connect(temporary, type="db", use_lock_file=False) as database:
            for system in track(systems, f"Writing {path.name}", total):
                database.write(system.atoms, key_value_pairs={SOURCE_INDEX: system.index}, data=dict(system.values))
                count += 1
            if total is not None and count != total:
                raise DataError(f"Expected {total} systems for {path.name}, got {count}; the source is incomplete.")
            database.metadata = dict(metadata)
        temporary.replace(path)
    except sqlite3.OperationalError as error:  # a full disk, above all
        raise DataError(f"{path} cannot be written ({error}); free some space or choose another root.") from None
    finally:
        for left in (temporary, temporary.with_name(temporary.name + "-journal")):
            left.unlink(missing_ok=True)


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of a database.

    Raises:
        DataError: No such file, or not an ASE database.
    """
    with _open(path) as database:
        return dict(database.metadata)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Open a database for reading; ASE closes its connection only at the end of a ``with``."""
    if not path.is_file():
        raise DataError(f"No data at {path}; make it with 'zoo data prepare' or give another path.")
    with ase.db.connect(path, type="db", use_lock_file=False) as database:
        try:
            database.count()
        except Exception as error:  # sqlite3 and ase raise many kinds for a damaged file
            raise DataError(f"{path} is not an ASE database ({error}).") from None
        yield database


def count_systems(path: Path) -> int:
    """Return the number of rows of a database."""
    with _open(path) as database:
        return int(database.count())


def describe(path: Path, given: Mapping[str, Property] | None = None) -> dict[str, Property]:
    """Find out what properties a database has, from its metadata and its first rows.

    Args:
        path: The database.
        given: What is known of some or all properties; then only these are looked at.

    Raises:
        DataError: No properties, or one whose rows cannot be told per atom from per system by its shape.
    """
    metadata = read_metadata(path)
    if (unit := metadata.get("_distance_unit", metadata.get("length_unit", "Å"))) not in (
        "Å",
        "Ang",
        "angstrom",
    ):
        raise DataError(f"{path} has lengths in {unit}; convert it to Å.")
    if given is not None:
        return dict(given)
    facts = metadata.get("properties", {})
    units = metadata.get("_property_unit_dict", {})
    with _open(path) as database:
        rows = list(database.select(limit=BLOCK))
    if not rows:
        raise DataError(f"{path} is empty.")
    names = list(facts or units or _numeric_names(rows[0]))
    if not names:
        raise DataError(f"{path} has no numeric properties in its rows' data, key-value pairs or calculator results.")
    properties = {}
    for name in names:
        fact = facts.get(name, {})
        per, shape = _layout(name, [(_value(row, name, path), row.natoms) for row in rows], fact.get("per"))
        is_result = name not in rows[0].data and name not in rows[0].key_value_pairs
        unit = fact.get("unit", units.get(name, RESULTS.get(name, "") if is_result else ""))
        properties[name] = Property(per, shape, str(unit))
    return properties


def _numeric_names(row: Any) -> list[str]:
    data = [n for n, v in row.data.items() if np.asarray(v).dtype.kind in "fiu"]
    pairs = [n for n, v in row.key_value_pairs.items() if np.asarray(v).dtype.kind in "fiu" and n != SOURCE_INDEX]
    results = [n for n in sorted(RESULTS) if row.get(n) is not None]
    return list(dict.fromkeys(data + pairs + results))


def _value(row: Any, name: str, path: Path) -> np.ndarray:
    raw = row.data[name] if name in row.data else row.get(name)
    value = np.asarray(np.nan if raw is None else raw)
    if raw is None or value.dtype.kind not in "fiu":
        raise DataError(f"{path}: row {row.id} has no number called {name!r}; add it or leave {name!r} out.")
    if name == "stress" and value.shape == (6,):
        value = voigt_6_to_full_3x3_stress(value)
    return value.astype(np.float64)


def _layout(name: str, values: list[tuple[np.ndarray, int]], per: str | None = None) -> tuple[str, tuple[int, ...]]:
    shapes = {value.shape for value, _ in values}
    if shapes <= {(), (1,)} and per != "atom":
        return "system", ()
    by_atom = all(value.ndim and len(value) == n for value, n in values)
    by_system = len(shapes) == 1
    if by_atom and by_system and per is None:
        per = "atom" if name in PER_ATOM else "system" if name in PER_SYSTEM else None
        if per is None:
            raise DataError(
                f"{name} has shape {values[0][0].shape} and every system {values[0][1]} atoms, so it may be per "
                f"atom or per system; write {{'properties': {{'{name}': {{'per': 'atom'}}}}}} into the metadata."
            )
    shape = values[0][0].shape
    if by_atom and per != "system":
        return "atom", shape[1:]
    if by_system and per != "atom":
        return "system", shape
    raise DataError(f"{name}: shapes {sorted(shapes)[:3]} are neither one per atom nor the same for every system.")


def to_blocks(systems: Iterable[System], properties: Mapping[str, Property]) -> Iterator[Block]:
    """Yield systems as arrays, ``BLOCK`` at a time.

    Raises:
        DataError: A value of the wrong shape.
    """
    systems = iter(systems)
    while block := list(islice(systems, BLOCK)):
        values = {}
        for name, what in properties.items():
            each = [np.asarray(system.values[name], np.float64) for system in block]
            for system, value in zip(block, each, strict=True):
                if value.shape != (expected := what.shape_of(len(system.atoms))):
                    raise DataError(f"System {system.index} has {name} of shape {value.shape}, expected {expected}.")
            values[name] = np.concatenate(each) if what.per == "atom" else np.array(each)
        yield Block(
            index=np.array([system.index for system in block]),
            n_atoms=np.array([len(system.atoms) for system in block]),
            numbers=np.concatenate([system.atoms.numbers for system in block]),
            positions=np.concatenate([system.atoms.positions for system in block]),
            cell=np.array([system.atoms.cell.array for system in block]),
            pbc=np.array([system.atoms.pbc for system in block]),
            values=values,
        )


def read_blocks(path: Path, properties: Mapping[str, Property]) -> Iterator[Block]:
    """Yield all systems in the order of their rows, ``BLOCK`` at a time.

    Raises:
        DataError: A row without one of the properties.
    """
    with _open(path) as database:
        rows = iter(database.select(sort="id"))
        while block := list(islice(rows, BLOCK)):
            yield Block(
                index=np.array([row.get(SOURCE_INDEX, row.id) for row in block]),
                n_atoms=np.array([row.natoms for row in block]),
                numbers=np.concatenate([row.numbers for row in block]),
                positions=np.concatenate([row.positions for row in block]),
                cell=np.array([row.cell for row in block]),
                pbc=np.array([row.pbc for row in block]),
                values={name: _join(block, name, what, path) for name, what in properties.items()},
            )


def _join(rows: list[Any], name: str, what: Property, path: Path) -> np.ndarray:
    values = [_value(row, name, path) for row in rows]
    if not what.shape and what.per == "system":
        values = [value.reshape(()) if value.size == 1 else value for value in values]
    for row, value in zip(rows, values, strict=True):
        if value.shape != (expected := what.shape_of(row.natoms)):
            raise DataError(f"{path}: row {row.id} has {name} of shape {value.shape}, expected {expected}.")
    return np.concatenate(values) if what.per == "atom" else np.array(values)
