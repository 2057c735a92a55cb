"""(Extended) XYZ files, frame by frame: any length in constant memory, and from any frame on.

ASE's reader lists where all frames begin before it reads the first, and converts value by value. Here columns and plain
comments are converted at once, with ASE's own functions for all that gives them a meaning; ASE reads every frame that
is not plain. (The C parser of the package extxyz 0.4.6 ends the whole process at a frame without atoms.)
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

ENTRY = re.compile(r'\s*([A-Za-z_]\w*)=(?:"([\w.+\- ]+)"|([\w.+\-]+))(?!\S)', re.ASCII)
PROPERTIES = re.compile(r"\s*Properties=([\w:]+)(?!\S)", re.ASCII)
INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?", re.ASCII)
WORD = re.compile(r"(?!(nan|inf|infinity|t|f|true|false)$)[a-z_][\w-]*", re.ASCII | re.IGNORECASE)
BOOLEANS = {"T": True, "F": False}
MATRICES = ("Lattice", "virial", "stress")
NOT_PLAIN = ("Properties", "uid")
PLAIN_COLUMNS = "species:S:1:pos:R:3"


def read_extxyz(path: Path, skip: int = 0) -> Iterator[tuple[Atoms, int]]:
    """Read the frames of a file exactly as ASE does.

    Args:
        path: The file, not compressed.
        skip: Leave out so many frames at the beginning, without parsing them.

    Yields:
        A structure, and where in the file it ends, in bytes.

    Raises:
        Exception: Whatever ASE raises for a frame that it cannot read.
    """
    with path.open("rb") as stream:
        for _ in range(skip):
            _lines(stream)
        while lines := _lines(stream):
            yield _plain(lines) or _any(lines), stream.tell()


def _lines(stream: BinaryIO) -> list[bytes]:
    """Return the lines of one frame, cell vectors at its end included; none at the end of the file."""
    header = stream.readline()
    while header and not header.strip():  # ASE would stop here and lose what follows
        header = stream.readline()
    if not header:
        return []
    if not header.strip().isdigit():
        raise ValueError(f"a number of atoms must stand where {header.decode(errors='replace').strip()[:40]!r} does")
    lines = [header, stream.readline()]
    for _ in range(int(header)):
        line = stream.readline()
        if not line:  # ASE would go on counting
            raise ValueError(f"the file ends after {len(lines) - 2} of the {int(header)} atoms")
        lines.append(line)
    while True:
        place = stream.tell()
        line = stream.readline()
        if not line.lstrip().startswith(b"VEC"):
            stream.seek(place)
            return lines
        lines.append(line)


def _any(lines: list[bytes]) -> Atoms:
    from ase.io.extxyz import read_xyz

    return next(read_xyz(io.StringIO(b"".join(lines).decode()), index=slice(None)))


def _plain(lines: list[bytes]) -> Atoms | None:
    """Return the structure of a frame; None where ASE must read it."""
    from ase import Atoms
    from ase.io.extxyz import set_calc_and_arrays

    try:
        info, columns = _comment(lines[1].decode("ascii"))
        arrays = _columns(lines[2:], columns)
        atoms = None
        if info is not None and len(lines) == 2 + int(lines[0]) > 2 and "move_mask" not in arrays:
            lattice = info.pop("Lattice", None)
            atoms = Atoms(
                arrays.pop("numbers") if "numbers" in arrays else arrays.pop("symbols"),
                positions=arrays.pop("positions"),
                charges=arrays.pop("initial_charges", None),
                cell=None if lattice is None else lattice.T,
                pbc=info.pop("pbc", lattice is not None),
                info=info,
            )
            set_calc_and_arrays(atoms, arrays)
        return atoms
    except (ValueError, KeyError, IndexError, OverflowError):  # ASE says better what is wrong
        return None


def _comment(line: str) -> tuple[dict[str, Any] | None, str]:
    """Return the entries of a comment, None where one is not plain, and the description of the columns."""
    columns = PLAIN_COLUMNS
    if found := PROPERTIES.search(line):
        columns = found[1]
        line = line[: found.start()] + line[found.end() :]
    info = {}
    end = 0
    for entry in ENTRY.finditer(line):
        key, quoted, bare = entry.groups()
        value = _value((quoted or bare).split())
        if entry.start() != end or value is None or key in NOT_PLAIN:
            return None, columns
        info[key] = np.reshape(value, (3, 3), order="F") if key in MATRICES else value
        end = entry.end()
    return (None if line[end:].strip() else info), columns


def _value(words: list[str]) -> Any:
    """Return what ASE makes of an entry; None where it is not plain."""
    if all(map(INTEGER.fullmatch, words)):
        numbers: Any = np.array(list(map(int, words)))
    elif all(map(NUMBER.fullmatch, words)):
        numbers = np.array(list(map(float, words)))
    elif all(word in BOOLEANS for word in words):
        return [BOOLEANS[word] for word in words] if len(words) > 1 else BOOLEANS[words[0]]
    else:
        return words[0] if len(words) == 1 and WORD.fullmatch(words[0]) else None
    return numbers if len(words) > 1 else numbers[0]


def _columns(lines: list[bytes], columns: str) -> dict[str, Any]:
    """Return the columns as arrays, by ASE's names; ValueError where a line has more or fewer values."""
    described, width = _description(columns)
    rows = [line.split() for line in lines]
    if any(len(row) != width for row in rows):
        raise ValueError("another number of values")
    words = list(zip(*rows, strict=True))
    arrays: dict[str, Any] = {}
    start = 0
    for name, count, dtype, convert in described:
        group = [list(map(convert, column)) for column in words[start : start + count]]
        arrays[name] = np.array(group[0] if count == 1 else group, dtype).T
        start += count
    return arrays


@cache
def _description(columns: str) -> tuple[list[tuple[str, int, Any, Any]], int]:
    """Name, number of columns, dtype and conversion of what ``Properties=`` lists, and the number of all columns."""
    from ase.io.extxyz import parse_properties

    properties, names, dtype, converters = parse_properties(columns)
    described = []
    width = 0
    for name in names:
        ase_name, count = properties[name]
        kind = dtype[width]
        convert = converters[width]
        if kind.kind == "O":
            convert = (lambda word: word.decode().capitalize()) if ase_name == "symbols" else bytes.decode
        elif kind.kind == "b":
            convert = {b"T": True, b"F": False, b"True": True, b"False": False}.__getitem__
        described.append((ase_name, count, kind, convert))
        width += count
    if width != len(converters):
        raise ValueError("a name twice")
    return described, width
