"""Structures from files, one after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zoo_registry.errors import StructureError

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True)
class Frame:
    """One structure of a file.

    Attributes:
        file: The file as the user named it.
        index: Its number in the file, from 0.
        structure: The atoms, or why they could not be read.
    """

    file: str
    index: int
    structure: Atoms | StructureError

    @property
    def formula(self) -> str | None:
        """Chemical formula in Hill's order; None where nothing could be read."""
        return None if isinstance(self.structure, StructureError) else self.structure.get_chemical_formula()


def read_frames(files: Sequence[Path]) -> Iterator[Frame]:
    """Read all structures of some files in any format that ASE knows.

    Args:
        files: Their paths.

    Yields:
        Every structure in order. Where one cannot be read, an error in its place; the rest of its file is lost, and
        the next file goes on.
    """
    from ase.io import iread

    for file in files:
        index = 0
        if not file.is_file():
            reason = "is a folder, not a file" if file.is_dir() else "does not exist"
            yield Frame(str(file), 0, StructureError(f"{file} {reason}; give files of structures."))
            continue
        try:
            for atoms in iread(file, index=":", do_not_split_by_at_sign=True):
                yield Frame(str(file), index, atoms)
                index += 1
            if index == 0:
                yield Frame(str(file), 0, StructureError(f"{file} holds no structure."))
        except Exception as error:  # the readers of ASE raise whatever comes
            text = " ".join(str(error).split())[:200] or type(error).__name__
            message = f"{file}: cannot read structure {index} ({text}); what follows in this file is not read."
            yield Frame(str(file), index, StructureError(message))
