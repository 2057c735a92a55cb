"""Where the systems of a recipe come from: a data set by name, an ASE database or a cache folder by path."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from zoo.data import dataset
from zoo.data.cache import Cache, build_cache
from zoo.train.recipe import Data
from zoo_registry.errors import DataError
from zoo_runtime import keys


def open_cache(data: Data, prepared: bool = False) -> Cache:
    """Open the arrays of a recipe's data set, which are made where they are missing.

    Args:
        data: ``dataset`` is a name, or the path of a ``.db`` file or of a cache folder.
        prepared: They must be there already.

    Raises:
        UsageError: No such data set.
        DataError: It cannot be had.
    """
    if _is_cache(Path(data.dataset)):
        return Cache(data.dataset)
    source = dataset(data.dataset)
    database = source.path(data.root)
    arrays = database.with_suffix(".cache")
    if (prepared or not database.exists()) and _is_cache(arrays):  # all that training needs, and quicker to copy
        return Cache(arrays)
    if prepared:
        raise DataError(f"{arrays} is not on this node; put data.root on a file system that all nodes share.")
    return build_cache(source.prepare(data.root, data.source))


def published_references(data: Data, target: str) -> dict[int, float]:
    """Return the property of single atoms that the data set's authors give, by atomic number.

    Raises:
        DataError: There is none.
    """
    references = {} if _is_cache(Path(data.dataset)) else dataset(data.dataset).references(target)
    if not references:
        raise DataError(f"{data.dataset} has no atomic references for {target}; set references=fit or references=none.")
    return references


def describe(cache: Cache, data: Data) -> dict[str, Any]:
    """Return what is known of the data set: its name, the sha256 of the arrays, and what its authors say of it."""
    own = dict(cache.meta.get("dataset", {}))
    own.pop("properties", None)
    name = own.pop("name", Path(data.dataset).stem)
    return {"dataset": name, "dataset_sha256": cache.meta["sha256"], "dataset_facts": {**own, "systems": len(cache)}}


def evaluated(data: Data, outputs: Collection[str]) -> dict[str, str | None]:
    """Return what to compare a network with: its targets, and zero for the forces of relaxed structures.

    Args:
        data: The data set and the targets of the training.
        outputs: What the network gives.

    Returns:
        Output to property; None stands for zero.
    """
    targets: dict[str, str | None] = {name: target for name, target in data.targets.items() if name in outputs}
    known = not _is_cache(Path(data.dataset))
    if keys.FORCES in outputs and known and dataset(data.dataset).relaxed:
        targets.setdefault(keys.FORCES, None)
    return targets


def _is_cache(folder: Path) -> bool:
    return (folder / "meta.json").is_file()
