"""Errors of a released model, computed by the runtime as a user's are, on the split that its metadata name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from zoo.data import DATASETS, dataset
from zoo.data.cache import Cache
from zoo.data.split import make_split
from zoo.train.evaluate import PARTS, Errors, Evaluation, summarise
from zoo.train.recipe import Data, parse_recipe
from zoo.train.source import evaluated, open_cache
from zoo_registry.errors import DataError, UsageError, close_matches
from zoo_registry.metadata import Metadata


def evaluate_release(
    model: str,
    split: str = "test",
    backend: str = "auto",
    device: str = "auto",
    root: str | None = None,
    limit: int | None = None,
) -> Evaluation:
    """Evaluate a released model; nothing is written.

    Args:
        model: Name or path of a release.
        split: train, val or test.
        backend: What computes; see `zoo_runtime.load`.
        device: auto, cpu or cuda.
        root: Folder of the data sets, where it is not that of the training.
        limit: Only so many systems of the part, the first ones.

    Raises:
        ModelError: The release cannot be had.
        UsageError: An unknown or empty split, a limit below 1, or a release that does not say how it was trained.
        DataError: The data set cannot be had or is not the one of the training.
    """
    from zoo_runtime.model import load

    if split not in PARTS:
        raise UsageError(f"split={split} is not allowed{close_matches(split, PARTS)}")
    if limit is not None and limit < 1:
        raise UsageError(f"limit={limit} is not allowed; it must be at least 1.")
    loaded = load(model, backend=backend, device=device)
    cache, indices, data = training_data(loaded.metadata, split, root)
    if not len(indices):
        raise UsageError(f"{loaded.metadata.name} was trained with no {split} systems; choose another split.")
    indices = indices[:limit]
    names = evaluated(data, loaded.metadata.outputs)
    differences: dict[str, list[np.ndarray]] = {name: [] for name in names}
    structures = (cache.atoms(int(index)) for index in indices)
    for index, prediction in zip(indices, loaded.predict_many(structures), strict=True):
        values = prediction.values()
        for name, target in names.items():
            differences[name].append(np.asarray(values[name]) - _reference(cache, target)(int(index)))
    errors = {}
    for name, parts in differences.items():
        described = loaded.metadata.outputs[name]
        system = described["per"] == "system"
        joined = np.stack(parts) if system else np.concatenate(parts)
        errors[name] = Errors(joined, described["unit"], cache.n_atoms[indices] if system else None)
    return Evaluation(summarise(errors, split), errors, indices)


def training_data(metadata: Metadata, split: str, root: str | None) -> tuple[Cache, np.ndarray, Data]:
    """Return the data set of a release, a part of its split, and what its recipe says of the data.

    Raises:
        UsageError: The metadata do not say how the model was trained.
        DataError: The data set cannot be had or is not the one of the training.
    """
    training = metadata.training
    try:
        data = parse_recipe(training["recipe"]).data
        sizes, sha256 = training["split"], training["dataset_sha256"]
        sizes = {name: sizes[name] for name in (*PARTS, "seed", "sha256")}
    except KeyError as error:
        raise UsageError(f"{metadata.name} does not say how it was trained (no {error}); give a run folder.") from None
    if root is not None:
        data = data.model_copy(update={"root": root})
    cache = _held(data) or open_cache(data)
    if cache.meta["sha256"] != sha256:
        raise DataError(
            f"{cache.folder} has sha256 {cache.meta['sha256']}, but {metadata.name} was trained on {sha256}."
        )
    parts = make_split(
        len(cache), sizes["train"], sizes["val"], sizes["test"], sizes["seed"], official=cache.official(data.split)
    )
    if parts.sha256 != sizes["sha256"]:
        raise DataError(f"The split of {metadata.name} was not drawn from its seed; evaluate its run folder instead.")
    return cache, getattr(parts, split), data


def _held(data: Data) -> Cache | None:
    """Return the prepared cache, wherever the source is now that it was made from: its sha256 tells what it is."""
    if data.source is None or data.dataset not in DATASETS:
        return None
    path = dataset(data.dataset).path(data.root).with_suffix(".cache")
    return Cache(path) if (path / "meta.json").is_file() else None


def _reference(cache: Cache, target: str | None) -> Callable[[int], np.ndarray]:
    if target is None:
        return lambda index: np.zeros(())
    values = cache.values(target)
    if cache.properties[target].per == "system":
        return lambda index: values[index]
    return lambda index: values[cache.offsets[index] : cache.offsets[index + 1]]
