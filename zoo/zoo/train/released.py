"""Errors of a released model, computed by the runtime as a user's are, on the split that its metadata name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from zoo.data import DATASETS, dataset
from zoo.data.cache import Cache
from zoo.data.split import PARTS, make_split
from zoo.train.errors import Evaluation, summarise
from zoo.train.evaluate import compare, constants
from zoo.train.figures import draw_errors
from zoo.train.recipe import Data, parse_recipe
from zoo.train.source import evaluated, open_cache
from zoo_registry.errors import DataError, UsageError, close_matches
from zoo_registry.metadata import Metadata
from zoo_runtime import keys


def evaluate_release(
    model: str,
    split: str = "test",
    backend: str = "auto",
    device: str = "auto",
    root: str | None = None,
    source: str | None = None,
    limit: int | None = None,
    figures: bool = False,
) -> Evaluation:
    """Evaluate a released model.

    Args:
        model: Name or path of a release.
        split: train, val or test.
        backend: What computes; see `zoo_runtime.load`.
        device: auto, cpu or cuda.
        root: Folder of the data sets, where it is not that of the training.
        source: Where the data are on this machine, as ``data.source`` in training; of a model that was trained on
            files of one's own the path of these files.
        limit: Only so many systems of the part, the first ones.
        figures: Draw parity and errors into the folder ``figures-<name>-<version>``; nothing is written otherwise.

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
    metadata = loaded.metadata
    cache, indices, data = training_data(metadata, split, root, source)
    if not len(indices):
        raise UsageError(f"{metadata.name} was trained with no {split} systems; choose another split.")
    indices = indices[:limit]
    targets = evaluated(data, metadata.outputs)
    spreads = [keys.SPREADS[name] for name in targets if keys.SPREADS.get(name) in metadata.outputs]
    collected: dict[str, list[np.ndarray]] = {name: [] for name in (*targets, *spreads)}
    for prediction in loaded.predict_many(cache.atoms(int(index)) for index in indices):
        values = prediction.values()
        for name, parts in collected.items():
            parts.append(np.asarray(values[name]))
    predicted = {
        name: np.stack(parts) if metadata.outputs[name]["per"] == "system" else np.concatenate(parts)
        for name, parts in collected.items()
    }
    added = constants(metadata.training, metadata.hyperparameters)
    errors = compare(predicted, cache, indices, targets, metadata.outputs, added)
    found = Evaluation(summarise(errors, split), errors, indices)
    if not figures:
        return found
    return replace(found, pictures=tuple(draw_errors(found, Path(f"figures-{metadata.name}-{metadata.version}"))))


def training_data(
    metadata: Metadata, split: str, root: str | None, source: str | None = None
) -> tuple[Cache, np.ndarray, Data]:
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
    if source is not None:
        data = data.model_copy(update={"source" if data.dataset in DATASETS else "dataset": source})
    cache = _held(data, sha256) or open_cache(data)
    if cache.meta["sha256"] != sha256:
        raise DataError(
            f"{cache.folder} has sha256 {cache.meta['sha256']}, but {metadata.name} was trained on {sha256}; name the "
            "data of the training with root=... or source=..."
        )
    parts = make_split(
        len(cache), sizes["train"], sizes["val"], sizes["test"], sizes["seed"], official=cache.official(data.split)
    )
    if parts.sha256 != sizes["sha256"]:
        raise DataError(f"The split of {metadata.name} was not drawn from its seed; evaluate its run folder instead.")
    return cache, getattr(parts, split), data


def _held(data: Data, sha256: str) -> Cache | None:
    """Return the prepared cache that a model was trained on, whatever it was made from: its sha256 tells what it is."""
    if data.dataset not in DATASETS:
        return None
    path = dataset(data.dataset).path(data.root).with_suffix(".cache")
    cache = Cache(path) if (path / "meta.json").is_file() else None
    return cache if cache is not None and cache.meta["sha256"] == sha256 else None
