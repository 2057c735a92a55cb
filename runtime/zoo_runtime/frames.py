"""Structures from files, one after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_registry.errors import StructureError

if TYPE_CHECKING:
    from ase import Atoms

Place = tuple[int, int]
"""A file, by its place in the list of files, and a frame in it, both from 0."""


@dataclass(frozen=True)
class Frame:
    """One structure of a file.

    Attributes:
        file: The file as the user named it.
        index: Its number in the file, from 0.
        structure: The atoms, or why they could not be read.
        next: Where reading goes on after it.
        share: How much of the file was read with it, from 0 to 1; None where that is not known.
    """

    file: str
    index: int
    structure: Atoms | StructureError
    next: Place = (0, 0)
    share: float | None = None

    @property
    def formula(self) -> str | None:
        """Chemical formula in Hill's order; None where nothing could be read."""
        return None if isinstance(self.structure, StructureError) else self.structure.get_chemical_formula()


def read_frames(files: Sequence[Path], start: Place = (0, 0)) -> Iterator[Frame]:
    """Read all structures of some files in any format that ASE knows, in memory that does not grow with their number.

    Args:
        files: Their paths.
        start: Where to begin, as `Frame.next` of an earlier call says.

    Yields:
        Every structure in order. Where one cannot be read, an error in its place; the rest of its file is lost, and
        the next file goes on.
    """
    for number, file in enumerate(files[start[0] :], start[0]):
        first = index = start[1] if number == start[0] else 0
        following = (number + 1, 0)
        if not file.is_file():
            reason = "is a folder, not a file" if file.is_dir() else "does not exist"
            error = StructureError(f"{file} {reason}; give files of structures.")
            yield Frame(str(file), 0, error, following, 1.0)
            continue
        try:
            for atoms, share in _structures(file, first):
                yield Frame(str(file), index, atoms, (number, index + 1), share)
                index += 1
            if index == 0:
                yield Frame(str(file), 0, StructureError(f"{file} holds no structure."), following, 1.0)
        except Exception as error:  # the readers of ASE raise whatever comes
            text = " ".join(str(error).split())[:200] or type(error).__name__
            message = f"{file}: cannot read structure {index} ({text}); what follows in this file is not read."
            yield Frame(str(file), index, StructureError(message), following, 1.0)


def _structures(file: Path, first: int) -> Iterator[tuple[Any, float | None]]:
    """Structures of a file from the first on, each with the share of the file that was read."""
    from ase.io import iread
    from ase.io.formats import UnknownFileTypeError, filetype, get_compression

    try:
        kind = filetype(str(file))
    except UnknownFileTypeError:
        kind = None  # what reads it says so
    if kind == "extxyz" and get_compression(str(file))[1] is None:
        from zoo_runtime.extxyz import read_extxyz

        size = file.stat().st_size
        for atoms, end in read_extxyz(file, first):
            yield atoms, end / size
    elif kind == "traj":
        from ase.io.trajectory import TrajectoryReader

        with TrajectoryReader(file) as frames:
            for index in range(first, len(frames)):
                yield frames[index], (index + 1) / len(frames)
    else:
        for atoms in iread(str(file), index=f"{first}:", do_not_split_by_at_sign=True):
            yield atoms, None
