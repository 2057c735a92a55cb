"""Structures with energies, forces and stress in any file that ASE reads, such as extended XYZ.

Numbers are taken to be in eV, eV/Å and eV/Å³, as ASE has them; a file does not say.
"""

from __future__ import annotations

import glob
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
from ase.stress import voigt_6_to_full_3x3_stress

from zoo.data.cache import describe_source, is_source
from zoo.data.database import Block, System, to_blocks
from zoo.data.streamed import StreamedDataset
from zoo.data.writer import Property
from zoo_registry.errors import DataError, UsageError

# Ours to the names in files. A name with REF_ wins over ASE's own, because newer versions of ASE take those away.
NAMES = {
    "energy": ("REF_energy", "ref_energy", "energy"),
    "forces": ("REF_forces", "ref_forces", "forces", "force"),
    "stress": ("REF_stress", "ref_stress", "stress"),
    "virial": ("REF_virial", "REF_virials", "ref_virial", "ref_virials", "virial", "virials"),
    "dipole": ("REF_dipole", "ref_dipole", "dipole"),
    "weight": ("REF_weight", "config_weight", "weight"),
}
KINDS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
PROPERTIES = {
    "energy": Property(unit="eV"),
    "forces": Property("atom", (3,), "eV/Å"),
    "stress": Property("system", (3, 3), "eV/Å³"),
    "dipole": Property("system", (3,), "e·Å"),
    "weight": Property(),
}


class AseFile(StreamedDataset):
    """Files of the user's own, in their order; the properties are those that every structure has.

    Forces are those in the file: constraints do not set them to zero. Stress has ASE's sign (tension is positive); a
    virial is taken as minus stress times volume. Where files are named ``train``, ``val`` and ``test``, that is the
    published split ``files``.

    Args:
        pattern: Path of a file, or a pattern such as ``Si_*.extxyz``.

    Raises:
        DataError: No such file.
    """

    sources = "left out: the files are here"

    def __init__(self, pattern: str):
        self.files = [Path(pattern)] if Path(pattern).is_file() else [Path(p) for p in sorted(glob.glob(pattern))]
        if not self.files:
            raise DataError(f"There is no file {pattern!r}.")
        self.name = re.sub(r"\W+", "-", Path(pattern).name.split(".")[0]).strip("-_") or "files"
        self._key = hashlib.sha256(str(Path(pattern).resolve()).encode()).hexdigest()[:8]
        self.description = f"Structures of {', '.join(file.name for file in self.files)}"
        self.properties = {}
        self._sizes: list[int] = []
        self._left_out: dict[str, str] = {}

    def path(self, root: str | Path) -> Path:
        """Return where the cache is or will be: a folder that no other file and no published data set has."""
        return Path(root) / "files" / f"{self.name}-{self._key}.cache"

    def prepare(self, root: str | Path, source: str | None = None) -> Path:
        """Make the cache, or return it where it was made of these files as they are.

        Raises:
            DataError: Files that ASE cannot read, or without properties.
            UsageError: A source.
        """
        if source is not None:
            raise UsageError(f"{self.files[0]} is here; leave out source.")
        path = self.path(root)
        found = json.loads((path / "meta.json").read_text(encoding="utf-8")) if (path / "meta.json").is_file() else {}
        held = found.get("files", [])
        same_names = [file["name"] for file in held] == [file.name for file in self.files]  # names make the split
        if same_names and all(map(is_source, held, self.files)):
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.properties = self._describe()
        self.write(path, None, None, files=[describe_source(file) for file in self.files])
        return path

    def structures(self) -> Iterator[tuple[ase.Atoms, dict[str, np.ndarray]]]:
        """Yield the structures with their values; errors say which one."""
        for file, k, atoms in self._atoms():
            try:
                values = read_values(atoms)
            except (DataError, ValueError, TypeError) as error:
                raise DataError(f"{file}, structure {k} (from 0): {error}") from None
            yield atoms, values

    def _atoms(self) -> Iterator[tuple[Path, int, ase.Atoms]]:
        self._sizes = []
        for file in self.files:
            count = 0
            try:
                for atoms in ase.io.iread(str(file), index=":"):
                    count += 1
                    yield file, count - 1, atoms
            except Exception as error:  # each of ASE's readers raises its own
                raise DataError(f"ASE cannot read {file} after structure {count} ({error!r}).") from None
            self._sizes.append(count)

    def _describe(self) -> dict[str, Property]:
        """Find out which properties all structures have."""
        counts, total = Counter[str](), 0
        for _, values in self.structures():
            counts.update(values.keys())
            total += 1
        self._left_out = {name: f"in {n} of {total} structures only" for name, n in counts.items() if n < total}
        common = [name for name in PROPERTIES if total and counts[name] == total]
        if not set(common) - {"weight"}:
            labels = ", ".join(name for name in PROPERTIES if name != "weight")
            raise DataError(
                f"{self.files[0]} has none of {labels} in each of its {total} structures; "
                "name them so, or with REF_ before it."
            )
        return {name: PROPERTIES[name] for name in common}

    def facts(self) -> Mapping[str, Any]:
        """Return what was left out because some structures lack it."""
        return {"left_out": self._left_out} if self._left_out else {}

    def blocks(self, folder: Path, source: str | None) -> Iterator[Block]:
        """Yield the structures.

        Raises:
            DataError: A file that ASE cannot read, or a property of the wrong shape.
        """
        systems = (System(k, atoms, values) for k, (atoms, values) in enumerate(self.structures()))
        yield from to_blocks(systems, self.properties)

    def splits(self) -> Mapping[str, Mapping[str, np.ndarray]]:
        """Return ``files``, where the names of the files say what they are for."""
        parts: dict[str, list[np.ndarray]] = {}
        start = 0
        for file, size in zip(self.files, self._sizes, strict=True):
            said = {KINDS[word] for word in re.split(r"[^a-z]+", file.name.lower()) if word in KINDS}
            if len(said) != 1:
                return {}
            parts.setdefault(said.pop(), []).append(np.arange(start, start + size))
            start += size
        return {"files": {k: np.concatenate(v) for k, v in parts.items()}} if {"train", "test"} <= parts.keys() else {}


def read_values(atoms: ase.Atoms) -> dict[str, np.ndarray]:
    """Return energy (eV), forces (eV/Å), stress (eV/Å³, 3×3, ASE's sign) and dipole (e·Å), as far as they are there.

    ``weight`` is that of the structure in training. A structure that is not periodic has no stress, whatever the file
    says.

    Raises:
        DataError: What is not numbers, an energy, stress or virial of an unknown shape, or a virial for a system
            without a volume.
    """
    results = atoms.calc.results if atoms.calc is not None else {}
    found: dict[str, np.ndarray] = {}
    came_from: dict[str, str] = {}
    for ours, names in NAMES.items():
        for name in names:
            raw = atoms.info.get(name, atoms.arrays.get(name, results.get(name)))
            if raw is not None:
                try:
                    found[ours], came_from[ours] = np.asarray(raw, np.float64), name
                except (ValueError, TypeError) as error:
                    raise DataError(f"{name} is not made of numbers ({error}).") from None
                break
    stress, virial = found.pop("stress", None), found.pop("virial", None)
    if virial is not None and _is_reference(came_from["virial"]) and not _is_reference(came_from.get("stress", "")):
        stress = None  # such as a calculator's
    if not atoms.pbc.any():
        pass
    elif stress is not None:
        found["stress"] = _full(stress)
    elif virial is not None:
        if not atoms.cell.rank == 3:
            raise DataError(f"{atoms.get_chemical_formula()} has a virial and no cell, so no stress; remove one.")
        found["stress"] = -_full(virial) / atoms.get_volume()
    if "energy" in found:
        if found["energy"].size != 1:
            raise DataError(f"An energy has shape {found['energy'].shape}; it must be one number.")
        found["energy"] = found["energy"].reshape(())
    if "weight" in found and found["weight"].size != 1:
        del found["weight"]  # that of an atom, or something else
    elif "weight" in found:
        found["weight"] = found["weight"].reshape(())
    return found


def _is_reference(name: str) -> bool:
    return name.lower().startswith("ref_")


def _full(tensor: np.ndarray) -> np.ndarray:
    if tensor.shape == (6,):
        return np.asarray(voigt_6_to_full_3x3_stress(tensor))
    if tensor.size != 9:
        raise DataError(f"A stress or virial has shape {tensor.shape}; it must be (6,) in Voigt's order or (3, 3).")
    return tensor.reshape(3, 3)
