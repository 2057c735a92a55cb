"""MD17 and rMD17: molecular dynamics of single small molecules, energies and forces.

MD17 (doi:10.1126/sciadv.1603015; with coupled cluster doi:10.1038/s41467-018-06169-2) is on quantum-machine.org, which
gives no checksums, and none were found elsewhere; the files' own CRC, their molecule and the number of frames are
checked. ``md17-benzene`` is the set of 2017, ``md17-benzene2018`` the later one that was computed with FHI-aims.

rMD17 (doi:10.1088/2632-2153/abba6f) has the same geometries with better converged labels, beside the old ones. Of its
archive the first digits of the sha256 sum are known from one public project. Its authors warn: train on no more than
1,000 of its frames.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import ase
import numpy as np

from zoo.data.database import Block
from zoo.data.download import RemoteFile
from zoo.data.streamed import StreamedDataset, frames, local, unpacked
from zoo.data.writer import Property
from zoo_registry.errors import DataError
from zoo_registry.units import convert

ENERGY, FORCE = Property("system", (), "eV"), Property("atom", (3,), "eV/Å")
GDML = ("http://www.quantum-machine.org/gdml/data/npz/{}", "http://quantum-machine.org/gdml/data/npz/{}")
FORMULAS = {
    "aspirin": "C9H8O4",
    "azobenzene": "C12H10N2",
    "benzene": "C6H6",
    "ethanol": "C2H6O",
    "malonaldehyde": "C3H4O2",
    "naphthalene": "C10H8",
    "paracetamol": "C8H9NO2",
    "salicylic": "C7H6O3",
    "toluene": "C7H8",
    "uracil": "C4H4N2O2",
}
# Name after "md17-": molecule, published file, frames.
DFT = {
    "aspirin": ("aspirin", "md17_aspirin.npz", 211_762),
    "azobenzene": ("azobenzene", "azobenzene_dft.npz", 99_999),
    "benzene": ("benzene", "md17_benzene2017.npz", 627_983),
    "benzene2018": ("benzene", "benzene2018_dft.npz", 49_863),
    "ethanol": ("ethanol", "md17_ethanol.npz", 555_092),
    "malonaldehyde": ("malonaldehyde", "md17_malonaldehyde.npz", 993_237),
    "naphthalene": ("naphthalene", "md17_naphthalene.npz", 326_250),
    "paracetamol": ("paracetamol", "paracetamol_dft.npz", 106_490),
    "salicylic": ("salicylic", "md17_salicylic.npz", 320_231),
    "toluene": ("toluene", "md17_toluene.npz", 442_790),
    "uracil": ("uracil", "md17_uracil.npz", 133_770),
}
COUPLED_CLUSTER = {
    "aspirin-ccsd": ("aspirin", "aspirin_ccsd.zip"),
    "benzene-ccsd-t": ("benzene", "benzene_ccsd_t.zip"),
    "ethanol-ccsd-t": ("ethanol", "ethanol_ccsd_t.zip"),
    "malonaldehyde-ccsd-t": ("malonaldehyde", "malonaldehyde_ccsd_t.zip"),
    "toluene-ccsd-t": ("toluene", "toluene_ccsd_t.zip"),
}
# kcal/mol, as SchNetPack 2 gives them for MD17 (PBE); the paper has none. The carbon value is SchNetPack's and not the
# energy of a carbon atom, so that energies less these are no atomisation energies.
ATOMS = {1: -313.5150902000774, 6: -23622.587180094913, 7: -34219.46811826416, 8: -47069.30768969713}
REVISED = RemoteFile(
    "rmd17.tar.bz2",
    (
        "https://figshare.com/ndownloader/files/23950376",
        "https://ndownloader.figshare.com/files/23950376",
        "https://archive.materialscloud.org/record/file?filename=rmd17.tar.bz2&record_id=466",
    ),
    sha256="cddeea2ec2c4",
)


class _Trajectory(StreamedDataset):
    """Frames of one molecule, in kcal/mol as published."""

    def _check(self, numbers: np.ndarray, molecule: str, where: object) -> None:
        formula = FORMULAS[molecule]
        if sorted(numbers.tolist()) != sorted(ase.Atoms(formula).numbers.tolist()):
            raise DataError(f"{where} holds {ase.Atoms(numbers).get_chemical_formula()}, {self.name} is {formula}.")


@dataclass
class MD17(_Trajectory):
    """One molecule of MD17; its forces are those of the published file.

    Attributes:
        variant: A name of ``DFT`` or ``COUPLED_CLUSTER``.
        addresses: Where the files are, with ``{}`` for the name.
    """

    variant: str
    addresses: tuple[str, ...] = GDML
    _sizes: list[int] = field(default_factory=list, init=False)

    properties = {"energy": ENERGY, "forces": FORCE}  # noqa: RUF012
    license = "none stated; see quantum-machine.org"

    def __post_init__(self) -> None:
        self.name = f"md17-{self.variant}"
        if self.variant in DFT:
            self.molecule, self.file, self.systems = DFT[self.variant]
            self.citation, self.level_of_theory = "doi:10.1126/sciadv.1603015", "PBE+vdW-TS"
        else:
            self.molecule, self.file = COUPLED_CLUSTER[self.variant]
            self.citation = "doi:10.1038/s41467-018-06169-2"
            self.level_of_theory = "CCSD" if self.variant == "aspirin-ccsd" else "CCSD(T)"
        self.description = f"Molecular dynamics of {self.molecule} ({FORMULAS[self.molecule]}): energies and forces"
        self.sources = f"the path of {self.file}, or of another .npz file with E, F, R, z in kcal/mol and Å"

    def references(self, name: str) -> dict[int, float]:
        """Return energies of single atoms in eV by atomic number, for the sets with density functional theory.

        They are SchNetPack's, and that of carbon is not an atom's energy: ``references=fit`` or none are recommended.
        """
        if name != "energy" or self.variant not in DFT:
            return {}
        return {z: convert(value, "kcal/mol", "eV") for z, value in ATOMS.items()}

    def splits(self) -> Mapping[str, Mapping[str, np.ndarray]]:
        """Return ``published`` for the coupled cluster sets, which come as a training and a test file."""
        if len(self._sizes) != 2:
            return {}
        train, test = self._sizes
        return {"published": {"train": np.arange(train), "test": np.arange(train, train + test)}}

    def blocks(self, folder: Path, source: str | None) -> Iterator[Block]:
        """Yield the frames; see ``sources``.

        Raises:
            DataError: A file that cannot be had, or is not of this molecule or layout.
        """
        remote = RemoteFile(self.file, tuple(address.format(self.file) for address in self.addresses))
        path = remote.fetch(folder) if source is None else local(source, self.sources)
        self._sizes.clear()
        if path.suffix != ".zip":
            yield from self._frames(path, path)
            return
        try:
            with zipfile.ZipFile(path) as archive:
                names = {part: [n for n in archive.namelist() if n.endswith(f"-{part}.npz")] for part in PARTS}
                if any(len(found) != 1 for found in names.values()):
                    raise DataError(f"{path} holds {archive.namelist()}, expected one -train.npz and one -test.npz.")
                for (name,) in names.values():
                    with archive.open(name) as file:
                        yield from self._frames(file, f"{path}:{name}")
        except (zipfile.BadZipFile, OSError) as error:
            raise DataError(f"{path} cannot be read ({error}); get it again.") from None

    def _frames(self, file: Any, where: object) -> Iterator[Block]:
        numbers, positions, energies, forces = load_npz(file, where, ("z", "R", "E", "F"))
        self._check(numbers, self.molecule, where)
        first = sum(self._sizes)
        self._sizes.append(len(positions))
        values = {
            "energy": convert(energies.reshape(-1), "kcal/mol", "eV"),
            "forces": convert(forces, "kcal/mol", "eV"),
        }
        yield from frames(numbers, positions, values, np.arange(first, first + len(positions)))


PARTS = ("train", "test")


@dataclass
class RMD17(_Trajectory):
    """One molecule of the revised MD17, with the revised and the old labels and the five published splits.

    Attributes:
        molecule: A name of ``FORMULAS``.
        archive: The published archive.
    """

    molecule: str
    archive: RemoteFile = REVISED
    _splits: dict[str, dict[str, np.ndarray]] = field(default_factory=dict, init=False)

    properties = {"energy": ENERGY, "forces": FORCE, "old_energy": ENERGY, "old_forces": FORCE}  # noqa: RUF012
    citation = "doi:10.1088/2632-2153/abba6f"
    license = "CC0-1.0"
    level_of_theory = "PBE/def2-SVP (old_energy, old_forces: PBE+vdW-TS)"

    def __post_init__(self) -> None:
        self.name = f"rmd17-{self.molecule}"
        self.systems = 99_988 if self.molecule == "azobenzene" else 100_000
        self.description = f"Molecular dynamics of {self.molecule} ({FORMULAS[self.molecule]}): revised and old labels"
        self.sources = (
            f"the path of rmd17.tar.bz2, or of a folder with its rmd17_{self.molecule}.npz and index_*.csv, or with "
            f"the published parts rmd17_{self.molecule}_train_01.npz and so on"
        )

    def splits(self) -> Mapping[str, Mapping[str, np.ndarray]]:
        """Return ``split-1`` to ``split-5``: 1,000 training and 1,000 test frames each."""
        return self._splits

    def blocks(self, folder: Path, source: str | None) -> Iterator[Block]:
        """Yield the frames; see ``sources``.

        Raises:
            DataError: Files that cannot be had, or are not of this molecule or layout.
        """
        shared = folder.parent / "rmd17"  # one archive for all molecules
        path = self.archive.fetch(shared) if source is None else local(source, self.sources)
        whole = f"rmd17_{self.molecule}.npz"
        parts = {f"rmd17_{self.molecule}_{part}_0{k}.npz": (k, part) for k in range(1, 6) for part in PARTS}
        lists = {f"index_{part}_0{k}.csv": (k, part) for k in range(1, 6) for part in PARTS}
        with unpacked(path, shared, lambda name: name == whole or name in parts or name in lists) as files:
            if whole in files:
                if missing := sorted(lists.keys() - files.keys()):
                    raise DataError(f"{path} has no {missing[0]}; source must be {self.sources}.")
                found = {lists[name]: _indices(files[name]) for name in lists}
                arrays = load_npz(files[whole], files[whole], KEYS)
                index = np.arange(len(arrays[1]))
            elif held := [name for name in files if name in parts]:
                arrays, index, found = _join({parts[name]: files[name] for name in held})
            else:
                raise DataError(f"{path} has no {whole}; source must be {self.sources}.")
        numbers, positions, energies, forces, old_energies, old_forces, _ = arrays
        self._check(numbers, self.molecule, path)
        self._splits = {f"split-{k}": {p: found[k, p] for p in PARTS} for k, part in found if part == "train"}
        values = {"energy": energies, "forces": forces, "old_energy": old_energies, "old_forces": old_forces}
        yield from frames(numbers, positions, {k: convert(v, "kcal/mol", "eV") for k, v in values.items()}, index)


KEYS = ("nuclear_charges", "coords", "energies", "forces", "old_energies", "old_forces", "old_indices")


def load_npz(file: Path | BinaryIO, where: object, keys: tuple[str, ...]) -> list[np.ndarray]:
    """Return arrays of an ``.npz`` file.

    Raises:
        DataError: Not such a file, a damaged one, or one without these arrays.
    """
    if isinstance(file, Path):
        with open(file, "rb") as opened:  # numpy would leave a damaged file open
            return load_npz(opened, where, keys)
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return [np.asarray(arrays[key]) for key in keys]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{where} is not an .npz file with {', '.join(keys)} ({error}); get it again.") from None


def _indices(path: Path) -> np.ndarray:
    try:
        return np.array(path.read_text(encoding="utf-8").split(), dtype=np.int64)
    except ValueError as error:
        raise DataError(f"{path} is not a list of indices ({error}).") from None


def _join(files: dict[tuple[int, str], Path]) -> tuple[list[np.ndarray], np.ndarray, dict[Any, np.ndarray]]:
    """Put the parts together; a frame is in several of them, and its number in MD17 tells which it is."""
    loaded = {part: load_npz(path, path, KEYS) for part, path in files.items()}
    if missing := [(k, p) for k, _ in files for p in PARTS if (k, p) not in files]:
        raise DataError(f"Split {missing[0][0]} has no {missing[0][1]} part; get the file beside the others.")
    numbers = next(iter(loaded.values()))[0]
    stacked = [np.concatenate(arrays) for arrays in list(zip(*loaded.values(), strict=True))[1:]]
    index, first, inverse = np.unique(stacked[-1], return_index=True, return_inverse=True)
    if not np.array_equal(stacked[0][first][inverse], stacked[0]):
        raise DataError("Frames of the same number differ between the parts; get the files again.")
    ends = np.cumsum([len(arrays[1]) for arrays in loaded.values()])
    return (
        [numbers, *(array[first] for array in stacked)],
        index,
        dict(zip(loaded, np.split(inverse, ends[:-1]), strict=True)),
    )
