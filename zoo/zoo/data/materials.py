"""Materials Project: crystals with computed properties (doi:10.1063/1.4812323), CC BY 4.0.

``materials-project`` asks today's database with the key of the environment variable MP_API_KEY. The others are
snapshots that need no key; their sha256 sums are those of matminer's list of data sets, except that of ``mp-2018``, for
which none was found: the archive's own checksum (zip) and the number of crystals must be right.
"""

from __future__ import annotations

import ast
import csv
import gzip
import importlib.util
import io
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import ase
import numpy as np

from zoo.data.database import Block, System, to_blocks
from zoo.data.download import RemoteFile
from zoo.data.streamed import StreamedDataset, local
from zoo.data.writer import Property
from zoo_registry.errors import DataError, MissingDependency, UsageError

KEY = "MP_API_KEY"
PER_ATOM, GAP = Property(unit="eV/atom"), Property(unit="eV")
MAGNETISATION = Property(unit="μB")
FIGSHARE = ("https://ndownloader.figshare.com/files/{}", "https://figshare.com/ndownloader/files/{}")


@dataclass(frozen=True)
class Snapshot:
    """A published file of crystals.

    Attributes:
        file: The file.
        systems: How many crystals.
        columns: Name of the file's column to ours and what it is.
        citation: DOI.
        description: One line.
    """

    file: RemoteFile
    systems: int
    columns: Mapping[str, tuple[str, Property]]
    citation: str
    description: str


def _figshare(name: str, number: int, sha256: str | None) -> RemoteFile:
    return RemoteFile(name, tuple(address.format(number) for address in FIGSHARE), sha256=sha256)


SNAPSHOTS = {
    "mp-2018": Snapshot(
        _figshare("mp.2018.6.1.json.zip", 15087992, None),
        69_239,
        {"formation_energy_per_atom": ("formation_energy_per_atom", PER_ATOM), "band_gap": ("band_gap", GAP)},
        "doi:10.1021/acs.chemmater.9b01294",
        "Materials Project of 2018-06-01 as used for MEGNet: formation energies and band gaps",
    ),
    "mp-2018-10": Snapshot(
        _figshare(
            "mp_all_20181018.json.gz", 13309250, "1f3de2dc7c68959647240921b841293fce918ea1708e6f3760ba35a9cdfe0500"
        ),
        83_989,
        {"e_form": ("formation_energy_per_atom", PER_ATOM), "gap pbe": ("band_gap", GAP)},
        "doi:10.1063/1.4812323",
        "Materials Project of 2018-10-18 as kept by matminer: formation energies and band gaps",
    ),
    "mp-matbench": Snapshot(
        RemoteFile(
            "matbench_mp_e_form.json.gz",
            (
                "https://ml.materialsproject.org/projects/matbench_mp_e_form.json.gz",
                "https://ml.materialsproject.org/matbench_mp_e_form.json.gz",
            ),
            sha256="dedcb1d4ba2e3e50dbdd45ba5bc647a00e9c2bcf8f8bf556dc8e92caa39eb21f",
        ),
        132_752,
        {"e_form": ("formation_energy_per_atom", PER_ATOM)},
        "doi:10.1038/s41524-020-00406-3",
        "Materials Project of 2019-04-02 as used in Matbench (mp_e_form): formation energies",
    ),
    "mp-flla": Snapshot(
        _figshare("flla.json.gz", 13220597, "a7f1649c3b9f5186e8440b163e0421cbfdf61973ec7e45101f6dab641f1e2170"),
        3_938,
        {"formation_energy_per_atom": ("formation_energy_per_atom", PER_ATOM)},
        "doi:10.1002/qua.24917",
        "Crystals of the Materials Project of Faber et al.: formation energies",
    ),
}


@dataclass
class MaterialsSnapshot(StreamedDataset):
    """A snapshot.

    Attributes:
        name: One of ``SNAPSHOTS``.
        snapshot: What it is.
    """

    name: str
    snapshot: Snapshot

    license = "CC-BY-4.0"
    level_of_theory = "PBE or PBE+U, with the corrections of the Materials Project"

    def __post_init__(self) -> None:
        self.properties = dict(self.snapshot.columns.values())
        self.systems, self.citation = self.snapshot.systems, self.snapshot.citation
        self.description = self.snapshot.description
        self.sources = f"the path of {self.snapshot.file.name}, or of a .csv, .json, .gz or .zip file with its columns"

    def blocks(self, folder: Path, source: str | None) -> Iterator[Block]:
        """Yield the crystals; see ``sources``.

        Raises:
            DataError: A file that cannot be had or is not in the published layout.
            MissingDependency: ijson is not installed.
        """
        path = self.snapshot.file.fetch(folder) if source is None else local(source, self.sources)
        yield from to_blocks(self._systems(path), self.properties)

    def _systems(self, path: Path) -> Iterator[System]:
        for index, record in enumerate(read_records(path)):
            try:
                values = {ours: float(record[theirs]) for theirs, (ours, _) in self.snapshot.columns.items()}
                yield System(index, read_structure(record["structure"]), values)
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f"{path}: crystal {index} lacks what {self.name} needs ({error!r}).") from None


@dataclass
class MaterialsProject(StreamedDataset):
    """Today's Materials Project, without the crystals of GNoME, up to 300 atoms in the cell.

    What it holds changes with time; the version of the database is in the metadata.
    """

    _version: str = field(default="", init=False)
    _incomplete: int = field(default=0, init=False)

    name = "materials-project"
    description = "Materials Project, as it is on the day: energies, band gaps, magnetisations"
    properties = {  # noqa: RUF012
        "formation_energy_per_atom": PER_ATOM,
        "energy_per_atom": PER_ATOM,
        "band_gap": GAP,
        "total_magnetization": MAGNETISATION,
    }
    citation = "doi:10.1063/1.4812323"
    license = "CC-BY-4.0"
    level_of_theory = "PBE, PBE+U or r2SCAN, with the corrections of the Materials Project"
    sources = f"left out: it is asked for over the network with the key in {KEY}; or use {', '.join(SNAPSHOTS)}"

    def facts(self) -> Mapping[str, Any]:
        """Return the version of the database, and how many crystals lack a property and were left out."""
        return {"version": self._version, "left_out": self._incomplete}

    def blocks(self, folder: Path, source: str | None) -> Iterator[Block]:
        """Yield the crystals, smaller cells first, then by their identifier.

        Raises:
            UsageError: No key, or a source.
            MissingDependency: mp-api is not installed.
            DataError: The database does not answer as expected; the text never holds the key.
        """
        if source is not None:
            raise UsageError(f"{self.name} has no source; it must be {self.sources}.")
        key = os.environ.get(KEY, "")
        if not key:
            raise UsageError(
                f"Set the environment variable {KEY} to your key from https://next-gen.materialsproject.org/api, "
                f"or use a snapshot that needs none: {', '.join(SNAPSHOTS)}."
            )
        if importlib.util.find_spec("mp_api") is None:
            raise MissingDependency("materials-project needs mp-api: pip install mp-api")
        yield from to_blocks(self._systems(key), self.properties)

    def _systems(self, key: str) -> Iterator[System]:
        from mp_api.client import MPRester  # type: ignore[import-not-found]

        index, self._incomplete = 0, 0
        try:
            with MPRester(api_key=key, use_document_model=False, mute_progress_bars=True) as client:
                self._version = str(client.db_version)
                for start in range(1, 301, 10):  # so that the answers fit into memory
                    found = client.materials.summary.search(
                        num_sites=(start, start + 9),
                        include_gnome=False,
                        all_fields=False,
                        fields=["material_id", "structure", *self.properties],
                    )
                    for record in sorted(
                        found, key=lambda one: (len(str(one["material_id"])), str(one["material_id"]))
                    ):
                        if any(record.get(name) is None for name in self.properties):
                            self._incomplete += 1
                            continue
                        values = {name: float(record[name]) for name in self.properties}
                        yield System(index, read_structure(record["structure"]), values)
                        index += 1
        except DataError:
            raise
        except Exception as error:  # whatever the client raises, it may hold the key
            reason = " ".join(str(error).split()).replace(key, "...")
            raise DataError(f"The Materials Project did not answer as expected ({reason}).") from None


def read_structure(structure: Any) -> ase.Atoms:
    """Return a crystal from pymatgen's dictionary, a pymatgen structure, or the text of a CIF without symmetry.

    Raises:
        DataError: Another layout, or a site that is not one whole atom.
    """
    try:
        if isinstance(structure, str):
            return _read_cif(structure)
        if not isinstance(structure, Mapping):
            structure = structure.as_dict()
        cell = np.array(structure["lattice"]["matrix"], np.float64)
        symbols, scaled = [], []
        for site in structure["sites"]:
            (species,) = site["species"]
            if species["occu"] != 1:
                raise ValueError(f"occupancy {species['occu']}")
            symbols.append(species["element"])
            scaled.append(site["abc"])
        return ase.Atoms(symbols, scaled_positions=np.array(scaled, np.float64), cell=cell, pbc=True)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise DataError(f"A structure is not in pymatgen's layout of ordered crystals ({error!r}).") from None


def _read_cif(text: str) -> ase.Atoms:
    from ase.io.cif import read_cif

    if "'x, y, z'" not in text or "'P 1'" not in text:
        raise ValueError("a CIF with symmetry")
    atoms = next(iter(read_cif(io.StringIO(text), slice(None), subtrans_included=True, primitive_cell=False)))
    return ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that may be in a gzip file, or alone in a zip archive."""
    if path.suffix == ".gz":
        with gzip.open(path) as file:
            yield file  # type: ignore[misc]
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.startswith("__MACOSX/")]
            (name,) = [name for name in names if name.endswith((".json", ".csv"))]
            with archive.open(name) as file:
                yield file
    else:
        with open(path, "rb") as file:
            yield file


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table, one at a time in memory.

    The layouts: JSON with a list of records, JSON as pandas writes it with ``orient="split"``, and CSV with structures
    as Python literals and comments with ``#``; each also in a gzip file or a zip archive.

    Raises:
        DataError: Not such a file, or a damaged one.
        MissingDependency: ijson is not installed.
    """
    is_csv = any(suffix == ".csv" for suffix in path.suffixes)
    try:
        yield from _read_csv(path) if is_csv else _read_json(path)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); get it again.") from None


def _read_csv(path: Path) -> Iterator[dict[str, Any]]:
    with _open(path) as file, io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
        for row in csv.DictReader(line for line in text if not line.startswith("#")):
            try:
                yield {**row, "structure": ast.literal_eval(row["structure"])}
            except (KeyError, SyntaxError) as error:
                raise ValueError(f"no structure: {error!r}") from None


def _read_json(path: Path) -> Iterator[dict[str, Any]]:
    try:
        import ijson  # type: ignore[import-untyped]
    except ImportError:
        raise MissingDependency("Snapshots of the Materials Project need ijson: pip install ijson") from None
    try:
        with _open(path) as file:
            columns = list(ijson.items(file, "columns.item"))
        with _open(path) as file:
            if columns:
                for row in ijson.items(file, "data.item", use_float=True):
                    yield dict(zip(columns, row, strict=True))
            else:
                yield from ijson.items(file, "item", use_float=True)
    except ijson.JSONError as error:
        raise ValueError(str(error)) from None


def snapshot(name: str) -> MaterialsSnapshot:
    """Return a snapshot by its name."""
    return MaterialsSnapshot(name, SNAPSHOTS[name])
