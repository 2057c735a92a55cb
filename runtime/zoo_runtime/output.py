"""Files of predictions: they appear whole, or not at all."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import numpy as np

from zoo_registry.errors import UsageError, ZooError
from zoo_registry.metadata import Metadata
from zoo_runtime.frames import Frame
from zoo_runtime.report import Result, cells, columns, record

Write = Callable[[Frame, Result], None]


def check_output(path: Path, files: Sequence[Path]) -> None:
    """Refuse an output that cannot be meant, before anything is computed.

    Raises:
        UsageError: Unknown suffix, a folder, or one of the input files.
    """
    if path.suffix not in WRITERS:
        raise UsageError(f"output={path} has the suffix {path.suffix!r}. Allowed: {', '.join(WRITERS)}")
    if path.is_dir():
        raise UsageError(f"output={path} is a folder; give a file in it.")
    if path.resolve() in [file.resolve() for file in files]:
        raise UsageError(f"output={path} is one of the input files; choose another name.")


@contextmanager
def open_output(path: Path, metadata: Metadata, backend: str, names: Sequence[str]) -> Iterator[Write]:
    """Give a function that writes one result; the file is renamed into its place at the end.

    Args:
        path: Its suffix, one of `WRITERS`, chooses the format.
        metadata: The model's.
        backend: Name of the backend.
        names: The properties to write.

    Raises:
        UsageError: The file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            with WRITERS[path.suffix](stream, metadata, backend, names) as write:
                yield write
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BrokenPipeError:
        raise  # of standard output, not of the file
    except OSError as error:
        raise UsageError(f"output={path} cannot be written ({error.strerror}); choose another place.") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _json_lines(stream: TextIO, metadata: Metadata, backend: str, names: Sequence[str]) -> Iterator[Write]:
    def write(frame: Frame, result: Result) -> None:
        stream.write(json.dumps(record(frame, result, metadata, backend, names), ensure_ascii=False) + "\n")

    yield write


@contextmanager
def _json_list(stream: TextIO, metadata: Metadata, backend: str, names: Sequence[str]) -> Iterator[Write]:
    separator = "[\n"

    def write(frame: Frame, result: Result) -> None:
        nonlocal separator
        stream.write(separator + json.dumps(record(frame, result, metadata, backend, names), ensure_ascii=False))
        separator = ",\n"

    yield write
    stream.write("\n]\n")


@contextmanager
def _csv(stream: TextIO, metadata: Metadata, backend: str, names: Sequence[str]) -> Iterator[Write]:
    table = csv.writer(stream)
    numbers = columns(metadata, names)
    table.writerow(["file", "frame", "formula", "model", *(c.title for c in numbers), "warnings", "error"])

    def write(frame: Frame, result: Result) -> None:
        remarks = ["", str(result)] if isinstance(result, ZooError) else ["; ".join(result.warnings), ""]
        table.writerow(
            [
                frame.file,
                frame.index,
                frame.formula,
                f"{metadata.name}@{metadata.version}",
                *cells(numbers, result),
                *remarks,
            ]
        )

    yield write


@contextmanager
def _extxyz(stream: TextIO, metadata: Metadata, backend: str, names: Sequence[str]) -> Iterator[Write]:
    """Write the structures with ``zoo_energy``, ``zoo_forces``, ...: names that no reader takes for a calculator's.

    Stress is nine numbers, row by row, as other programs read it.
    """
    from ase.io.extxyz import write_xyz

    def write(frame: Frame, result: Result) -> None:
        if isinstance(frame.structure, ZooError):
            return
        atoms = frame.structure.copy()
        atoms.calc = frame.structure.calc  # what the input file says stays in, but not another model's prediction
        for kept in (atoms.info, atoms.arrays):
            for name in [name for name in kept if name.startswith("zoo_")]:
                del kept[name]
        atoms.info["zoo_model"] = f"{metadata.name}@{metadata.version}"
        if isinstance(result, ZooError):
            atoms.info["zoo_error"] = str(result)
        else:
            told = {name: value for name, value in result.values().items() if name in names}
            for name, value in told.items():
                if metadata.outputs[name]["per"] == "atom":
                    atoms.arrays[f"zoo_{name}"] = np.asarray(value, dtype=np.float64)
                else:
                    atoms.info[f"zoo_{name}"] = np.ravel(value) if np.ndim(value) else float(value)
            atoms.info["zoo_units"] = ", ".join(f"{name} {_ascii(result.units[name])}" for name in told)
            if result.warnings:
                atoms.info["zoo_warnings"] = "; ".join(result.warnings)
        write_xyz(stream, atoms)

    yield write


def _ascii(unit: str) -> str:
    return unit.replace("Å", "Angstrom").replace("³", "^3").replace("·", "*")


WRITERS = {".extxyz": _extxyz, ".xyz": _extxyz, ".json": _json_list, ".jsonl": _json_lines, ".csv": _csv}
