"""QM9: 15 computed properties of 133,885 small organic molecules (doi:10.1038/sdata.2014.22).

Published on figshare (doi:10.6084/m9.figshare.c.978904) under CC0. The sizes and md5 sums below are the ones that
figshare gives for its files; the sha256 sums are of files with those md5 sums as public projects that downloaded them
give them: several agree on the molecules, one was found for ``uncharacterized.txt``. The 3,054 molecules that it names,
whose relaxed structure is not the one that was meant, are left out.
"""

from __future__ import annotations

import csv
import importlib.util
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ase
import numpy as np
from ase.data import atomic_numbers

from zoo.data.base import DatabaseDataset
from zoo.data.database import System
from zoo.data.download import RemoteFile
from zoo.data.progress import track
from zoo.data.writer import Property
from zoo_registry.errors import DataError, MissingDependency
from zoo_registry.units import convert

FIGSHARE = ("https://ndownloader.figshare.com/files/{}", "https://springernature.figshare.com/ndownloader/files/{}")
TARBALL = RemoteFile(
    "dsgdb9nsd.xyz.tar.bz2",
    tuple(address.format(3195389) for address in FIGSHARE),
    size=86_144_227,
    sha256="3a63848ac80691bdb8d41834b575afad345b9300d7a2db0c38adb7f6eaa8360c",
    md5="ad1ebd51ee7f5b3a6e32e974e5d54012",
)
UNCHARACTERIZED = RemoteFile(
    "uncharacterized.txt",
    tuple(address.format(3195404) for address in FIGSHARE),
    size=486_752,
    sha256="3aa5115d540b356de94791d4a74c3bf1ed91c469ecf52a4f5d7cc0506fe02e24",
    md5="a361887bacb427b8a0ce7903d92a53b4",
)
QM9PACK = "qm9pack"

# In the order of the files: name, published unit, our unit.
COLUMNS = (
    ("A", "GHz", "GHz"),
    ("B", "GHz", "GHz"),
    ("C", "GHz", "GHz"),
    ("mu", "debye", "e·Å"),
    ("alpha", "bohr^3", "Å³"),
    ("homo", "hartree", "eV"),
    ("lumo", "hartree", "eV"),
    ("gap", "hartree", "eV"),
    ("r2", "bohr^2", "Å²"),
    ("zpve", "hartree", "eV"),
    ("U0", "hartree", "eV"),
    ("U", "hartree", "eV"),
    ("H", "hartree", "eV"),
    ("G", "hartree", "eV"),
    ("Cv", "cal/mol/K", "eV/K"),
)
# atomref.txt (figshare file 3195395), in the published units, for H, C, N, O, F. Its zpve is zero.
ATOMS = {
    "U0": (-0.500273, -37.846772, -54.583861, -75.064579, -99.718730),
    "U": (-0.498857, -37.845355, -54.582445, -75.063163, -99.717314),
    "H": (-0.497912, -37.844411, -54.581501, -75.062219, -99.716370),
    "G": (-0.510927, -37.861317, -54.598897, -75.079532, -99.733544),
    "Cv": (2.981, 2.981, 2.981, 2.981, 2.981),
}
SPECIES = (1, 6, 7, 8, 9)
PACK_HEADER = ("Index", "Elements", "XYZ_Ang", "RotA_GHz", "Heatcapacity_Cv_cal_mol_K")


@dataclass(frozen=True)
class Molecule:
    """One molecule with the 15 values of ``COLUMNS`` in their published units."""

    index: int
    numbers: np.ndarray
    positions: np.ndarray
    values: list[float]


@dataclass
class QM9(DatabaseDataset):
    """QM9 without the molecules that failed the consistency check; in ascending order of their gdb index.

    Attributes:
        tarball: The molecules.
        exclusions: The list of those to leave out.
        molecules: How many the tarball holds.
        excluded: How many the list names.
    """

    tarball: RemoteFile = TARBALL
    exclusions: RemoteFile = UNCHARACTERIZED
    molecules: int = 133_885
    excluded: int = 3_054

    name = "qm9"
    description = (
        "Small organic molecules of up to 9 C, N, O, F atoms: energies, thermochemistry, electronic properties"
    )
    properties = {name: Property(unit=unit) for name, _, unit in COLUMNS}  # noqa: RUF012
    citation = "doi:10.1038/sdata.2014.22"
    license = "CC0-1.0"
    relaxed = True
    level_of_theory = "B3LYP/6-31G(2df,p)"
    sources = (
        "the path of dsgdb9nsd.xyz.tar.bz2 (uncharacterized.txt is taken from the same folder, or downloaded), "
        "or qm9pack: the data of the installed PyPI package qm9pack"
    )

    @property
    def systems(self) -> int:  # type: ignore[override]
        """How many molecules remain."""
        return self.molecules - self.excluded

    def references(self, name: str) -> dict[int, float]:
        """Return atomic values of U0, U, H, G (eV) or Cv (eV/K) by atomic number; empty for other properties.

        Source: atomref.txt of the publication.
        """
        units = {column: (published, ours) for column, published, ours in COLUMNS}
        return {z: convert(value, *units[name]) for z, value in zip(SPECIES, ATOMS.get(name, ()), strict=False)}

    def read(self, folder: Path, source: str | None) -> Iterator[System]:
        """Yield the molecules; see ``sources``.

        Raises:
            DataError: Files that cannot be had or are not the published ones.
            MissingDependency: qm9pack is asked for and not installed.
        """
        molecules = list(read_qm9pack() if source == QM9PACK else self._read_published(folder, source))
        molecules.sort(key=lambda molecule: molecule.index)
        factors = np.array([convert(1.0, published, ours) for _, published, ours in COLUMNS])
        for molecule in molecules:
            values = dict(zip(self.properties, (np.array(molecule.values) * factors).tolist(), strict=True))
            yield System(molecule.index, ase.Atoms(molecule.numbers, molecule.positions), values)

    def _read_published(self, folder: Path, source: str | None) -> Iterator[Molecule]:
        if source is None:
            tarball = self.tarball.fetch(folder)
        else:
            tarball = Path(source)
            if not tarball.is_file():
                raise DataError(f"No file {source!r}; source must be {self.sources}.")
            self.tarball.verify(tarball)
        beside = tarball.with_name(self.exclusions.name)
        skip = set(read_uncharacterized(self.exclusions.fetch(beside.parent if beside.exists() else folder)))
        if len(skip) != self.excluded:
            raise DataError(f"{self.exclusions.name} names {len(skip)} molecules, expected {self.excluded}.")
        count = 0
        for molecule in track(read_tarball(tarball), f"Reading {tarball.name}", self.molecules):
            count += 1
            if molecule.index not in skip:
                yield molecule
        if count != self.molecules:
            raise DataError(f"{tarball} holds {count} molecules, expected {self.molecules}; download it again.")


def read_uncharacterized(path: Path) -> list[int]:
    """Return the gdb indices (from 1, as in the names of the files) of uncharacterized.txt.

    The list has 9 lines above and one below it.
    """
    return [int(line.split()[0]) for line in path.read_text(encoding="utf-8").splitlines()[9:-1]]


def read_tarball(path: Path) -> Iterator[Molecule]:
    """Yield the molecules of ``dsgdb9nsd.xyz.tar.bz2`` in the order of the archive, without unpacking it.

    Raises:
        DataError: A damaged archive, or a file in it that is not in the published layout.
    """
    try:
        with tarfile.open(path, "r|bz2") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.name.endswith(".xyz") else None
                if file is not None:
                    yield parse_xyz(file.read().decode(), member.name)
    except (tarfile.TarError, EOFError, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); download it again.") from None


def parse_xyz(text: str, name: str) -> Molecule:
    """Read one file: number of atoms; ``gdb``, index, 15 values; element, x, y, z (Å), charge of each atom; the rest.

    Raises:
        DataError: Not that layout.
    """
    lines = text.replace("*^", "e").splitlines()  # Mathematica writes 1.2*^-6
    try:
        n_atoms = int(lines[0])
        tag, index, *values = lines[1].split()
        atoms = [line.split() for line in lines[2 : n_atoms + 2]]
        molecule = Molecule(
            index=int(index),
            numbers=np.array([atomic_numbers[atom[0]] for atom in atoms], dtype=np.uint8),
            positions=np.array([[float(x) for x in atom[1:4]] for atom in atoms]),
            values=[float(value) for value in values],
        )
    except (ValueError, IndexError, KeyError) as error:
        raise DataError(f"{name} is not a QM9 file ({error!r}).") from None
    if tag != "gdb" or len(values) != len(COLUMNS) or molecule.positions.shape != (n_atoms, 3):
        raise DataError(f"{name} is not a QM9 file: expected 'gdb', {len(COLUMNS)} values and {n_atoms} atoms.")
    return molecule


def read_qm9pack() -> Iterator[Molecule]:
    """Yield the 130,831 molecules that the PyPI package qm9pack 1.0.3 (MIT) carries as CSV files.

    It holds the published decimals, without the uncharacterised molecules. Importing it needs the removed
    ``pkg_resources`` and pandas, so its files are read instead.

    Raises:
        MissingDependency: It is not installed.
        DataError: Its files are not those of version 1.0.3.
    """
    spec = importlib.util.find_spec(QM9PACK)
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependency("source=qm9pack needs that package: pip install --no-deps qm9pack==1.0.3")
    folder = Path(spec.submodule_search_locations[0]) / "data"
    bare = str.maketrans("", "", "[]'")
    for path in sorted(folder.glob("qm9_part*.csv")):
        with open(path, newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            header = next(rows)
            if not set(PACK_HEADER) <= set(header):
                raise DataError(f"{path} lacks the columns {PACK_HEADER}; install qm9pack==1.0.3.")
            index, elements, xyz, first, last = (header.index(name) for name in PACK_HEADER)
            for row in rows:
                symbols = row[elements].translate(bare).split(",")
                coordinates = [float(x) for x in row[xyz].translate(bare).split(",")]
                yield Molecule(
                    index=int(row[index]),
                    numbers=np.array([atomic_numbers[symbol] for symbol in symbols], dtype=np.uint8),
                    positions=np.array(coordinates).reshape(len(symbols), 3),
                    values=[float(value) for value in row[first : last + 1]],
                )
