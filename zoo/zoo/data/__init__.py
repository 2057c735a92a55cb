"""Data sets: where they come from, how they are kept, and how batches are made of them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from zoo_registry.errors import UsageError, close_matches

if TYPE_CHECKING:
    from zoo.data.base import Dataset

_MOLECULES = (
    *("aspirin", "azobenzene", "benzene", "ethanol", "malonaldehyde"),
    *("naphthalene", "paracetamol", "salicylic", "toluene", "uracil"),
)
_COUPLED_CLUSTER = ("aspirin-ccsd", "benzene-ccsd-t", "ethanol-ccsd-t", "malonaldehyde-ccsd-t", "toluene-ccsd-t")
_MLEARN = ("Ni", "Cu", "Li", "Mo", "Si", "Ge")
# Name to the function that makes it and its arguments; nothing is imported before it is needed.
DATASETS: dict[str, tuple[str, str, tuple[object, ...]]] = {
    "qm9": ("zoo.data.qm9", "QM9", ()),
    "ani1": ("zoo.data.ani1", "ANI1", ()),
    "ani1-high-energy": ("zoo.data.ani1", "ANI1", (True,)),
    "iso17": ("zoo.data.iso17", "ISO17", ()),
    **{
        f"md17-{variant}": ("zoo.data.md17", "MD17", (variant,))
        for variant in (*_MOLECULES, "benzene2018", *_COUPLED_CLUSTER)
    },
    **{f"rmd17-{molecule}": ("zoo.data.md17", "RMD17", (molecule,)) for molecule in _MOLECULES},
    **{f"mlearn-{symbol.lower()}": ("zoo.data.mlearn", "Mlearn", (symbol,)) for symbol in _MLEARN},
    "materials-project": ("zoo.data.materials", "MaterialsProject", ()),
    **{
        name: ("zoo.data.materials", "snapshot", (name,))
        for name in ("mp-2018", "mp-2018-10", "mp-matbench", "mp-flla")
    },
}


def dataset(name: str) -> Dataset:
    """Return a data set by its name, or the one in files of one's own.

    Args:
        name: A name of ``DATASETS``, the path of an ASE database (ending in ``.db``), or the path of any other file
            that ASE reads, or a pattern of paths such as ``Si_*.extxyz``.

    Raises:
        UsageError: None of these.
        DataError: A file that is not what its name says.
    """
    if name in DATASETS:
        module, attribute, arguments = DATASETS[name]
        return getattr(importlib.import_module(module), attribute)(*arguments)
    if name.endswith(".db"):
        from zoo.data.base import AseDatabase

        return AseDatabase(Path(name))
    if Path(name).suffix or Path(name).is_file():
        from zoo.data.files import AseFile

        return AseFile(name)
    raise UsageError(f"Unknown data set {name!r}{close_matches(name, DATASETS)}, or the path of a file that ASE reads.")
