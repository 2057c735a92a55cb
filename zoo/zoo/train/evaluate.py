"""Errors of a trained network on a part of its data set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoo.data.cache import Cache
from zoo.data.loader import loader
from zoo.data.split import PARTS
from zoo.models import Potential
from zoo.train.checkpoint import Trained, load_checkpoint
from zoo.train.datamodule import open_data
from zoo.train.device import torch_device
from zoo.train.errors import Errors, Evaluation, save_errors, summarise
from zoo.train.figures import draw_run
from zoo.train.source import evaluated
from zoo.train.weights import weights_sha256
from zoo_registry.errors import UsageError, close_matches
from zoo_registry.files import replacing
from zoo_runtime import keys


def evaluate(
    checkpoint: str | Path,
    split: str = "test",
    batch_size: int = 1000,
    device: str = "auto",
    root: str | None = None,
    figures: bool = False,
) -> Evaluation:
    """Evaluate a trained network and keep the result in its run folder.

    ``evaluation.json`` gets the metrics (those of other splits stay, those of other weights go) and the hash of the
    weights, ``errors-<split>.npz`` the single errors; see `zoo.train.errors.save_errors`.

    Args:
        checkpoint: Run folder or ``.ckpt`` file.
        split: train, val or test.
        batch_size: Systems in a batch.
        device: auto, cpu or cuda.
        root: Folder of the data sets, where it is not that of the training.
        figures: Draw parity, errors and learning curve into the folder ``figures`` of the run folder.

    Raises:
        UsageError: An unknown split or device.
        ModelError: No checkpoint there.
        DataError: The data set is missing or is not the one of the training.
    """
    if split not in PARTS:
        raise UsageError(f"split={split} is not allowed{close_matches(split, PARTS)}")
    where = torch_device(device)
    trained = load_checkpoint(checkpoint)
    data = trained.recipe.data
    if root is not None:
        data = data.model_copy(update={"root": root})
    cache, parts = open_data(data, trained.facts, trained.folder / "split.npz")
    indices = getattr(parts, split)
    if not len(indices):
        raise UsageError(f"The {split} part of the split is empty; choose another one.")
    targets = evaluated(data, trained.potential.outputs())
    added = constants(trained.facts, trained.potential.hyperparameters)
    errors = predict_errors(trained.potential.to(where), cache, indices, targets, batch_size, where, added)
    found = Evaluation(summarise(errors, split), errors, indices)
    _save(trained, split, found)
    if not figures:
        return found
    units = {name: what["unit"] for name, what in trained.potential.outputs().items()}
    return replace(found, pictures=tuple(draw_run(trained.folder, units, trained.folder / "figures", split)))


def predict_errors(
    potential: Potential,
    cache: Cache,
    indices: np.ndarray,
    targets: dict[str, str | None],
    batch_size: int,
    device: torch.device,
    added: Mapping[str, Mapping[int, float]] | None = None,
) -> dict[str, Errors]:
    """Return prediction - target of some outputs.

    Args:
        potential: On ``device``.
        cache: The data set.
        indices: ``[s]`` the systems.
        targets: Output to property; None stands for zero.
        batch_size: Systems in a batch.
        device: Where to compute.
        added: See `constants`.
    """
    batches = loader(
        cache,
        indices,
        cutoff=potential.cutoff,
        batch_size=batch_size,
        triples=potential.needs_triples,
        properties=[target for target in targets.values() if target is not None],
    )
    described = potential.outputs()
    potential.gradients = any(described[name]["gradient_of"] for name in targets)
    spreads = {name: keys.SPREADS[name] for name in targets if keys.SPREADS.get(name) in described}
    collected: dict[str, list[np.ndarray]] = {}
    for batch in batches:
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        with torch.set_grad_enabled(potential.gradients):
            outputs = potential(batch)
        for name in (*targets, *spreads.values()):
            collected.setdefault(name, []).append(outputs[name].detach().cpu().numpy())
    predicted = {name: np.concatenate(parts) for name, parts in collected.items()}
    return compare(predicted, cache, indices, targets, described, added or {})


def compare(
    predicted: Mapping[str, np.ndarray],
    cache: Cache,
    indices: np.ndarray,
    targets: Mapping[str, str | None],
    described: Mapping[str, dict[str, Any]],
    added: Mapping[str, Mapping[int, float]],
) -> dict[str, Errors]:
    """Return prediction - target of some outputs.

    Args:
        predicted: Output to values of all systems, ``[s, ...]`` or ``[n, ...]``; those of a committee with its spreads.
        cache: The data set.
        indices: ``[s]`` the systems.
        targets: Output to property; None stands for zero.
        described: ``unit`` and ``per`` of each output.
        added: See `constants`.
    """
    n_atoms = cache.n_atoms[indices]
    errors = {}
    for name, property in targets.items():
        per_system = described[name]["per"] == "system"
        target = None
        if property is not None:
            rows = indices if cache.properties[property].per == "system" else cache.atoms_of(indices)
            target = cache.values(property)[rows].reshape(predicted[name].shape)
        errors[name] = Errors(
            predicted[name] if target is None else predicted[name] - target,
            described[name]["unit"],
            n_atoms if per_system else None,
            target,
            predicted.get(keys.SPREADS.get(name, "")),
            baseline(cache, indices, added[name]) if name in added else None,
        )
    return errors


def constants(facts: Mapping[str, Any], hyperparameters: Mapping[str, Any]) -> dict[str, dict[int, float]]:
    """Return what a network adds for each atom, by output and atomic number, where the output is a sum over the atoms.

    Args:
        facts: Of the training.
        hyperparameters: Of the network.
    """
    found = {}
    for head, settings in hyperparameters["heads"].items():
        done = facts.get("standardisation", {}).get(head)
        if done is not None and settings.get("aggregation", "sum") == "sum":
            values = {int(z): done["mean"] + value for z, value in done["references"].items()}
            found[settings.get("property", keys.ENERGY)] = values
    return found


def baseline(cache: Cache, indices: np.ndarray, values: Mapping[int, float]) -> np.ndarray:
    """Return ``[s]`` the sum of values, by atomic number, over the atoms of each system."""
    table = np.zeros(119)
    table[list(values)] = list(values.values())
    ends = np.cumsum(cache.n_atoms[indices])
    sums = np.concatenate([[0.0], np.cumsum(table[cache.numbers[cache.atoms_of(indices)]])])
    return np.asarray(sums[ends] - sums[ends - cache.n_atoms[indices]])


def _save(trained: Trained, split: str, found: Evaluation) -> None:
    folder, sha256 = trained.folder, weights_sha256(trained.potential)
    path = folder / "evaluation.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept = known["metrics"] if known.get("weights_sha256") == sha256 else {}  # errors of other weights are of no use
    kept = {name: value for name, value in kept.items() if not name.startswith(f"{split}/")}
    document = {"weights_sha256": sha256, "metrics": kept | found.metrics}
    with replacing(path) as part:
        part.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    save_errors(found, folder / f"errors-{split}.npz")
