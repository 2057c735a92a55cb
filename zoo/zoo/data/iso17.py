"""ISO17: molecular dynamics of 129 isomers of C7O2H10, energies and forces (arXiv:1706.08566).

One archive of ASE databases on quantum-machine.org, which gives no checksum, and none was found elsewhere; the
archive's own (gzip) must be right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ase.db
import numpy as np

from zoo.data.database import Block, System, to_blocks
from zoo.data.download import RemoteFile
from zoo.data.streamed import StreamedDataset, local, unpacked
from zoo.data.writer import Property
from zoo_registry.errors import DataError

ARCHIVE = RemoteFile(
    "iso17.tar.gz",
    (
        "http://www.quantum-machine.org/datasets/iso17.tar.gz",
        "http://quantum-machine.org/datasets/iso17.tar.gz",
        "https://paddle-org.bj.bcebos.com/paddlematerials/datasets/ISO17/iso17.tar.gz",
    ),
)
DATABASES = ("reference.db", "test_within.db", "test_other.db")
VALIDATION = "validation_ids.txt"


@dataclass
class ISO17(StreamedDataset):
    """ISO17: the trajectories for training, then those for testing; the optimised structures are left out.

    Attributes:
        archive: The published archive.
    """

    archive: RemoteFile = ARCHIVE
    _splits: dict[str, dict[str, np.ndarray]] = field(default_factory=dict, init=False)

    name = "iso17"
    description = "Molecular dynamics of 129 isomers of C7O2H10: energies and forces"
    properties = {"energy": Property("system", (), "eV"), "forces": Property("atom", (3,), "eV/Å")}  # noqa: RUF012
    citation = "doi:10.48550/arXiv.1706.08566"
    license = "none stated; see quantum-machine.org"
    level_of_theory = "PBE+vdW-TS"
    sources = "the path of iso17.tar.gz or of the folder that it unpacks to"

    def splits(self) -> Mapping[str, Mapping[str, np.ndarray]]:
        """Return ``within`` (unseen steps of known molecules) and ``other`` (unknown molecules)."""
        return self._splits

    def blocks(self, folder: Path, source: str | None) -> Iterator[Block]:
        """Yield the frames; see ``sources``.

        Raises:
            DataError: Files that cannot be had or are not in the published layout.
        """
        path = self.archive.fetch(folder) if source is None else local(source, self.sources)
        with unpacked(path, folder, lambda name: name in (*DATABASES, VALIDATION)) as files:
            if missing := sorted({*DATABASES, VALIDATION} - files.keys()):
                raise DataError(f"{path} has no {missing[0]}; source must be {self.sources}.")
            ends = [0]
            for name in DATABASES:
                end = ends[-1]
                for block in to_blocks(read_rows(files[name], ends[-1]), self.properties):
                    yield block
                    end += len(block.n_atoms)
                if end == ends[-1]:
                    raise DataError(f"{files[name]} has no rows; get it again.")
                ends.append(end)
            self._split(files[VALIDATION], ends)

    def _split(self, path: Path, ends: list[int]) -> None:
        try:
            rows = np.array(path.read_text(encoding="utf-8").split(), dtype=np.int64)
        except ValueError as error:
            raise DataError(f"{path} is not a list of rows ({error}).") from None
        if rows.min(initial=1) < 1 or rows.max(initial=1) > ends[1]:
            raise DataError(f"{path} names rows outside the {ends[1]} of {DATABASES[0]}.")
        val = np.unique(rows) - 1  # rows of a database count from 1
        known = {"train": np.setdiff1d(np.arange(ends[1]), val), "val": val}
        self._splits = {
            name: {**known, "test": np.arange(ends[k], ends[k + 1])} for k, name in ((1, "within"), (2, "other"))
        }


def read_rows(path: Path, first: int = 0) -> Iterator[System]:
    """Yield the rows of one of its databases (version 8 of ASE's format).

    The energy is a key-value pair and the forces are in the data, both in our units. The cell, a unit matrix, says
    nothing.

    Raises:
        DataError: Not such a database.
    """
    try:
        with ase.db.connect(path, type="db", use_lock_file=False) as database:
            for index, row in enumerate(database.select(sort="id"), first):
                values: dict[str, Any] = {"energy": row["total_energy"], "forces": row.data["atomic_forces"]}
                yield System(index, ase.Atoms(row.numbers, row.positions), values)
    except Exception as error:  # sqlite3 and ase raise many kinds for a damaged file
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is not a database of ISO17 ({error!r}).") from None
