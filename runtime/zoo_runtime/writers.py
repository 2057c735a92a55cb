"""The formats of predictions in files. Each can be cut back to what was whole, and goes on from there."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from zoo_registry.errors import UsageError, ZooError
from zoo_runtime.frames import Frame
from zoo_runtime.report import Result, Source, cells, columns, record

if TYPE_CHECKING:
    from ase import Atoms


class Writer(Protocol):
    """Writes one result after another.

    Args:
        path: The file; what is beyond ``size`` in it is cut off.
        models: What is told.
        size: What `save` said, 0 for a new file.
    """

    def __init__(self, path: Path, models: Sequence[Source], size: int) -> None: ...

    def write(self, frame: Frame, results: Sequence[Result]) -> None:
        """Add the results of one structure."""
        ...

    def save(self) -> int:
        """Bring all that was written to the file, and return how much there is in it."""
        ...

    def close(self, whole: bool) -> None:
        """Close the file, with what belongs at the end of a whole one."""
        ...


class _Text:
    def __init__(self, path: Path, models: Sequence[Source], size: int) -> None:
        self.models = models
        if size:
            if path.stat().st_size < size:  # a disk that lost what was written last
                raise UsageError(f"{path} is shorter than its journal says; delete it and start again.")
            os.truncate(path, size)
        self.stream = path.open("a" if size else "w", encoding="utf-8", newline="")
        self.begin(new=not size)

    def begin(self, new: bool) -> None:
        pass

    def end(self) -> None:
        pass

    def save(self) -> int:
        self.stream.flush()
        return os.fstat(self.stream.fileno()).st_size

    def close(self, whole: bool) -> None:
        with self.stream:
            if whole:
                self.end()
                self.stream.flush()
                os.fsync(self.stream.fileno())


class JsonLines(_Text):
    """One JSON object a line."""

    def write(self, frame: Frame, results: Sequence[Result]) -> None:
        """Add a line."""
        self.stream.write(json.dumps(record(frame, results, self.models), ensure_ascii=False) + "\n")


class JsonList(_Text):
    """One list of JSON objects."""

    def begin(self, new: bool) -> None:
        """Remember whether an object comes before the next."""
        self.separator = "[\n" if new else ",\n"

    def write(self, frame: Frame, results: Sequence[Result]) -> None:
        """Add an object."""
        self.stream.write(self.separator + json.dumps(record(frame, results, self.models), ensure_ascii=False))
        self.separator = ",\n"

    def end(self) -> None:
        """Close the list."""
        self.stream.write("\n]\n" if self.separator == ",\n" else "[]\n")


class Csv(_Text):
    """One row a structure, with units in the titles."""

    def begin(self, new: bool) -> None:
        """Write the titles."""
        self.table = csv.writer(self.stream)
        self.numbers = [columns(model) for model in self.models]
        if new:
            titles = ["file", "frame", "formula"]
            for model, numbers in zip(self.models, self.numbers, strict=True):
                own = ["model", *(column.title for column in numbers), "warnings", "error"]
                titles += [title if title.startswith(model.label) else f"{model.label} {title}" for title in own]
            self.table.writerow(titles)

    def write(self, frame: Frame, results: Sequence[Result]) -> None:
        """Add a row."""
        row: list[Any] = [frame.file, frame.index, frame.formula]
        for model, numbers, result in zip(self.models, self.numbers, results, strict=True):
            remarks = ["", str(result)] if isinstance(result, ZooError) else ["; ".join(result.warnings), ""]
            row += [model.model, *cells(numbers, result), *remarks]
        self.table.writerow(row)


class Extxyz(_Text):
    """The structures with ``zoo_energy``, ``zoo_forces``, ...: names that no reader takes for a calculator's.

    Stress is nine numbers, row by row, as other programs read it. Structures that could not be read are left out.
    """

    def write(self, frame: Frame, results: Sequence[Result]) -> None:
        """Add a structure."""
        from ase.io.extxyz import write_xyz

        if isinstance(frame.structure, ZooError):
            return
        atoms = _without_predictions(frame.structure)
        for name, value, per_atom in named(results, self.models):
            if per_atom:
                atoms.arrays[name] = value
            else:
                atoms.info[name] = np.ravel(value) if np.ndim(value) else value
        text = io.StringIO()
        write_xyz(text, atoms)
        self.stream.write(text.getvalue())


class Database:
    """Rows of an ASE database: scalars as keys, everything else as data. Structures that were not read are left out."""

    def __init__(self, path: Path, models: Sequence[Source], size: int) -> None:
        from ase.db import connect

        self.models = models
        self.size = size
        if not size:
            path.unlink(missing_ok=True)
        self.database = connect(str(path), type="db", use_lock_file=False)
        beyond = [row.id for row in self.database.select(f"id>{size}", columns=["id"])] if size else []
        self.database.delete(beyond)
        self.database.__enter__()  # one transaction from save to save

    def write(self, frame: Frame, results: Sequence[Result]) -> None:
        """Add a row."""
        if isinstance(frame.structure, ZooError):
            return
        atoms = _without_predictions(frame.structure)
        pairs = {name: value for name, value, _ in named(results, self.models) if np.ndim(value) == 0}
        data: dict[str, Any] = {name: value for name, value, _ in named(results, self.models) if np.ndim(value)}
        data["info"] = _plain(atoms.info)
        data["arrays"] = _plain({n: array for n, array in atoms.arrays.items() if n not in ("numbers", "positions")})
        data["zoo_file"], data["zoo_frame"] = frame.file, frame.index
        self.size = self.database.write(atoms, pairs, data=data)

    def save(self) -> int:
        """Commit."""
        self.database.__exit__(None, None, None)
        self.database.__enter__()
        return self.size

    def close(self, whole: bool) -> None:
        """Commit and close."""
        self.database.__exit__(None, None, None)


def _plain(value: Any) -> Any:
    """Return what ASE can store: of numpy's types it knows arrays of numbers alone."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return value
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)


def named(results: Sequence[Result], models: Sequence[Source]) -> Iterator[tuple[str, Any, bool]]:
    """Yield all that is told of a structure: the name under which it is stored, the value, and whether it is per atom.

    The names are ``zoo_energy``, ... of one model, and ``zoo_schnet_qm9_energy``, ... of several.
    """
    for model, result in zip(models, results, strict=True):
        prefix = "_".join(["zoo", *re.findall(r"\w+", model.label)])
        yield f"{prefix}_model", model.model, False
        if isinstance(result, ZooError):
            yield f"{prefix}_error", str(result), False
            continue
        told = {name: value for name, value in result.values().items() if name in model.names}
        for name, value in told.items():
            per_atom = model.metadata.outputs[name]["per"] == "atom"
            numbers = np.asarray(value, dtype=np.float64)
            yield f"{prefix}_{name}", numbers if per_atom or numbers.ndim else float(numbers), per_atom
        yield f"{prefix}_units", ", ".join(f"{name} {_ascii(result.units[name])}" for name in told), False
        if result.warnings:
            yield f"{prefix}_warnings", "; ".join(result.warnings), False


def _without_predictions(structure: Atoms) -> Atoms:
    """Copy with what the input file says of energy and forces, but without an earlier prediction."""
    atoms = structure.copy()
    atoms.calc = structure.calc
    for kept in (atoms.info, atoms.arrays):
        for name in [name for name in kept if str(name).startswith("zoo_")]:
            del kept[name]
    return atoms


def _ascii(unit: str) -> str:
    return unit.replace("Å", "Angstrom").replace("²", "^2").replace("³", "^3").replace("·", "*")


WRITERS: dict[str, type[Writer]] = {
    ".extxyz": Extxyz,
    ".xyz": Extxyz,
    ".json": JsonList,
    ".jsonl": JsonLines,
    ".csv": Csv,
    ".db": Database,
}
