"""ANI-1: energies of 20 million conformations of 57,000 organic molecules (doi:10.1038/sdata.2017.193).

Published on figshare (doi:10.6084/m9.figshare.c.3846712) as one archive of eight HDF5 files, one for each number of
heavy atoms. No checksum of the archive was found; its own checksums (gzip) and all eight files must be right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from zoo.data.database import Block
from zoo.data.download import RemoteFile
from zoo.data.streamed import StreamedDataset, frames, local, unpacked
from zoo.data.writer import Property
from zoo_registry.errors import DataError, MissingDependency
from zoo_registry.units import convert

ARCHIVE = RemoteFile(
    "ANI1_release.tar.gz",
    ("https://ndownloader.figshare.com/files/9057631", "https://figshare.com/ndownloader/files/9057631"),
)
# ωB97X/6-31G(d), hartree, as the authors subtract them.
ATOMS = {1: -0.500607632585, 6: -37.8302333826, 7: -54.5680045287, 8: -75.0362229210}
FILES = [f"ani_gdb_s0{k}.h5" for k in range(1, 9)]
ROWS = 1 << 16  # conformations that are in memory at a time, at most


@dataclass
class ANI1(StreamedDataset):
    """ANI-1, in the order of its files, molecules and conformations.

    Attributes:
        high_energy: Whether each molecule's conformations of high energy (``coordinatesHE``) follow its others.
        archive: The published archive.
    """

    high_energy: bool = False
    archive: RemoteFile = ARCHIVE

    name = "ani1"
    description = "Off-equilibrium conformations of organic molecules of up to 8 C, N, O atoms: energies"
    properties = {"energy": Property("system", (), "eV")}  # noqa: RUF012
    citation = "doi:10.1038/sdata.2017.193"
    license = "see doi:10.6084/m9.figshare.c.3846712"
    level_of_theory = "ωB97X/6-31G(d)"
    sources = "the path of ANI1_release.tar.gz, of the folder that it unpacks to, or of some of its .h5 files"

    def __post_init__(self) -> None:
        if self.high_energy:
            self.name = "ani1-high-energy"

    def references(self, name: str) -> dict[int, float]:
        """Return energies of single atoms in eV by atomic number."""
        return {z: convert(value, "hartree", "eV") for z, value in ATOMS.items()} if name == "energy" else {}

    def blocks(self, folder: Path, source: str | None) -> Iterator[Block]:
        """Yield the conformations; see ``sources``.

        Raises:
            DataError: Files that cannot be had or are not in the published layout.
            MissingDependency: h5py is not installed.
        """
        path = self.archive.fetch(folder) if source is None else local(source, self.sources)
        if path.suffix == ".h5":
            files = {path.name: path}
            yield from self._files(files)
            return
        with unpacked(path, folder, lambda name: re.fullmatch(r"ani_gdb_s\d\d\.h5", name)) as files:
            if missing := sorted(set(FILES) - files.keys()) if path.is_file() else [] if files else FILES:
                raise DataError(f"{path} has no {missing[0]}; source must be {self.sources}.")
            yield from self._files(files)

    def _files(self, files: dict[str, Path]) -> Iterator[Block]:
        try:
            import h5py  # type: ignore[import-untyped]
        except ImportError:
            raise MissingDependency("ANI-1 needs h5py: pip install h5py") from None
        index = 0
        for path in files.values():
            try:
                with h5py.File(path) as file:
                    for where, molecule in _molecules(file):
                        for block in self._molecule(molecule, f"{path}:{where}"):
                            block.index = index + np.arange(len(block.n_atoms))
                            index += len(block.n_atoms)
                            yield block
            except (OSError, RuntimeError) as error:  # h5py raises these for damaged files
                raise DataError(f"{path} cannot be read ({error}); get it again.") from None

    def _molecule(self, molecule: Any, where: str) -> Iterator[Block]:
        try:
            symbols = [s.decode() if isinstance(s, bytes) else str(s) for s in molecule["species"][()]]
            numbers = np.array([atomic_numbers[symbol] for symbol in symbols], np.uint8)
            kinds = [(molecule["coordinates"], molecule["energies"])]
            if self.high_energy and "coordinatesHE" in molecule:
                kinds.append((molecule["coordinatesHE"], molecule["energiesHE"]))
        except (KeyError, AttributeError, UnicodeDecodeError) as error:
            raise DataError(f"{where} is not in the layout of ANI-1 ({error!r}).") from None
        for positions, energies in kinds:
            if positions.shape != (len(energies), len(numbers), 3):
                raise DataError(
                    f"{where}: {positions.shape} coordinates, {len(numbers)} atoms, {energies.shape} energies."
                )
            for start in range(0, len(energies), ROWS):
                part = slice(start, start + ROWS)
                values = {"energy": convert(energies[part].astype(np.float64), "hartree", "eV")}
                yield from frames(numbers, positions[part], values, np.arange(len(values["energy"])))


def _molecules(group: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the groups that hold a molecule, whatever the number of levels above them."""
    for name, inner in group.items():
        if not hasattr(inner, "items"):
            continue
        if "coordinates" in inner:
            yield f"{where}/{name}", inner
        else:
            yield from _molecules(inner, f"{where}/{name}")
