"""Data sets: where they come from, how they are kept, and how batches are made of them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from zoo_registry.errors import UsageError, close_matches

if TYPE_CHECKING:
    from zoo.data.base import Dataset

DATASETS = {"qm9": "zoo.data.qm9:QM9"}


def dataset(name: str) -> Dataset:
    """Return a data set by its name, or the ASE database at a path that ends in ``.db``.

    Raises:
        UsageError: Neither.
    """
    if name.endswith(".db"):
        from zoo.data.base import AseDatabase

        return AseDatabase(Path(name))
    if name not in DATASETS:
        raise UsageError(
            f"Unknown data set {name!r}{close_matches(name, DATASETS)}, or the path of an ASE database (.db)."
        )
    module, attribute = DATASETS[name].split(":")
    return getattr(importlib.import_module(module), attribute)()
