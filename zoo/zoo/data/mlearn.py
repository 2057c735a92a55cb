"""The benchmark mlearn: six elements as solids and melts, energies, forces and stress (doi:10.1021/acs.jpca.9b08723).

A training and a test file for each element, which are its published split. The sha256 sums of the training files of
copper and nickel are not known; their number of structures is checked.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ase
import numpy as np

from zoo.data.database import Block, System, to_blocks
from zoo.data.download import RemoteFile
from zoo.data.files import PROPERTIES, AseFile
from zoo.data.streamed import StreamedDataset, local
from zoo_registry.errors import DataError
from zoo_registry.units import convert

ADDRESS = (
    "https://raw.githubusercontent.com/materialsvirtuallab/mlearn/10c427a5480c6281c15c64efaf869b03be04818f"
    "/data/{}/{}.json"
)
PARTS = {"train": "training", "test": "test"}
# Symbol to the number of structures for training and for testing.
SIZES = {"Ni": (263, 31), "Cu": (262, 31), "Li": (241, 29), "Mo": (194, 23), "Si": (214, 25), "Ge": (228, 25)}
SHA256 = {
    ("Ni", "test"): "dccbfa14ddff5d1d35f658c48b68f6b431f95496a5261ef8b8f4d1d41e36008a",
    ("Cu", "test"): "1805a315ce8d0ce4a18bb761df4c4f619909ce114d598d426015d0071edc98c2",
    ("Li", "train"): "1cac01475c5a4fb85771ee1fd23366a6b8abfb9891e0c9e088b6e37228e147b3",
    ("Li", "test"): "554d0ce60b35a07b357be3a80bf04f68eb8fc97b5a88328caf08c860b5e9b260",
    ("Mo", "train"): "b13305fca0d0d2631ab080c8fcf13c743ee79a911712fb65a34ca88fadf09f9a",
    ("Mo", "test"): "68169e2927c2115daa2f504805fcb9548ee65daf2dd015428807ba92f8e13bb8",
    ("Si", "train"): "ae6d4b0a65b00e0fcf7ba0a6fad366716710d2f0d21d70199203089c6866b500",
    ("Si", "test"): "d452b30a89f23bff76f7cc529b7b6c2d159ea81ccd5a4599fb1a18207654fa91",
    ("Ge", "train"): "43dee02009a5167f94c7aafce19051222bcfc328c46181750cc2a2018187ca00",
    ("Ge", "test"): "737ea6159c9dd27ebee7fb8ffae22f15e20466884927771248ca4f5b2cd3f093",
}
# Where xx, xy, xz, yx, … zz stand in its virial, the last three of which are not in the same order for all elements.
SHEAR_XY_XZ_YZ, SHEAR_XY_YZ_XZ = [0, 3, 4, 3, 1, 5, 4, 5, 2], [0, 3, 5, 3, 1, 4, 5, 4, 2]
VOIGT = dict.fromkeys(("Cu", "Mo", "Ni"), SHEAR_XY_XZ_YZ) | dict.fromkeys(("Ge", "Li", "Si"), SHEAR_XY_YZ_XZ)


@dataclass
class Mlearn(StreamedDataset):
    """One element of mlearn, the training structures first.

    Attributes:
        element: A symbol of ``SIZES``.
        address: Where the files are, with ``{}`` for the symbol and for the part.
    """

    element: str
    address: str = ADDRESS
    _counts: dict[str, int] = field(default_factory=dict, init=False)

    properties = {name: PROPERTIES[name] for name in ("energy", "forces", "stress")}  # noqa: RUF012
    citation = "doi:10.1021/acs.jpca.9b08723"
    license = "BSD-3-Clause"
    level_of_theory = "PBE, plane waves (VASP)"

    def __post_init__(self) -> None:
        self.name = f"mlearn-{self.element.lower()}"
        self.systems = sum(SIZES[self.element])
        self.description = (
            f"{self.element} as crystals, strained, with vacancies and surfaces, and from molecular dynamics up to "
            "the melt: energies, forces and stress"
        )
        self.sources = (
            f"a folder with {self.element}_training.json and {self.element}_test.json (or training.json and "
            f"test.json, or {self.element}_train.extxyz and {self.element}_test.extxyz, also with .gz)"
        )

    def splits(self) -> Mapping[str, Mapping[str, np.ndarray]]:
        """Return ``official``: the two files."""
        train = self._counts["train"]
        return {"official": {"train": np.arange(train), "test": np.arange(train, train + self._counts["test"])}}

    def blocks(self, folder: Path, source: str | None) -> Iterator[Block]:
        """Yield the structures; see ``sources``.

        Raises:
            DataError: Files that cannot be had or are not in the published layout.
        """
        self._counts, k = {}, 0
        for part, name in PARTS.items():
            if source is None:
                remote = RemoteFile(
                    f"{self.element}_{name}.json",
                    (self.address.format(self.element, name),),
                    sha256=SHA256.get((self.element, part)),
                )
                path = remote.fetch(folder)
            else:
                path = self._find(local(source, self.sources), part, name)
            structures = list(
                _published(path, VOIGT[self.element]) if ".json" in path.suffixes else AseFile(str(path)).structures()
            )
            if {symbol for atoms, _ in structures for symbol in atoms.symbols} != {self.element}:
                raise DataError(f"{path} does not hold {self.element} alone; give the files of {self.name}.")
            self._counts[part] = len(structures)
            if missing := [i for i, (_, v) in enumerate(structures) if not self.properties.keys() <= v.keys()]:
                raise DataError(f"{path}, structure {missing[0]} (from 0): no energy, forces or stress; get it again.")
            numbered = enumerate(structures, k)
            yield from to_blocks((System(i, atoms, values) for i, (atoms, values) in numbered), self.properties)
            k += len(structures)

    def _find(self, folder: Path, part: str, name: str) -> Path:
        stems = [f"{self.element}_{name}.json", f"{self.element}/{name}.json", f"{name}.json"]
        stems += [f"{sub}{self.element}_{part}.extxyz" for sub in ("", "extxyz/")]
        for stem in stems:
            for path in (folder / stem, folder / f"{stem}.gz"):
                if path.is_file():
                    return path
        raise DataError(f"{folder} has no {part} file of {self.name}; source must be {self.sources}.")


def _published(path: Path, order: list[int]) -> Iterator[tuple[ase.Atoms, dict[str, Any]]]:
    """Yield the structures of a published file: pymatgen's dictionaries, eV, eV/Å, and kbar, positive under pressure.

    Raises:
        DataError: Not such a file.
    """
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else open(path, encoding="utf-8") as file:
            entries = json.load(file)
        for entry in entries:
            sites, outputs = entry["structure"]["sites"], entry["outputs"]
            cell = np.array(entry["structure"]["lattice"]["matrix"])
            symbols = [site["species"][0]["element"] for site in sites]
            virial = np.array(outputs["virial_stress"])
            atoms = ase.Atoms(symbols, scaled_positions=[site["abc"] for site in sites], cell=cell, pbc=True)
            yield (
                atoms,
                {
                    "energy": np.float64(outputs["energy"]),
                    "forces": np.array(outputs["forces"]),
                    "stress": -convert(virial[order].reshape(3, 3) / 10, "GPa", "eV/Å^3"),
                },
            )
    except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError) as error:
        raise DataError(f"{path} is not a file of mlearn ({error!r}); get it again.") from None
