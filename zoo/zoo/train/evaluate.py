"""Errors of a trained network on a part of its data set."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
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
from zoo.train.source import evaluated
from zoo.train.weights import weights_sha256
from zoo_registry.errors import UsageError, close_matches
from zoo_registry.units import convert


@dataclass(frozen=True)
class Errors:
    """Differences prediction - target of one output.

    Attributes:
        difference: ``[s, ...]``, or per atom ``[n, ...]``.
        unit: Their unit.
        n_atoms: ``[s]`` for an output of the system, None for one of the atoms.
    """

    difference: np.ndarray
    unit: str
    n_atoms: np.ndarray | None

    def summary(self, name: str, split: str) -> dict[str, dict[str, Any]]:
        """Return MAE, RMSE and largest error as ``"test/energy_mae": {"value", "unit", "n"}`` and so on."""
        rows = {name: (self.difference, self.unit)}
        if name == "energy" and self.n_atoms is not None:
            rows["energy_per_atom"] = (self.difference / self.n_atoms, f"{self.unit}/atom")
        metrics = {}
        for label, (difference, unit) in rows.items():
            size = np.abs(difference)
            values = {"mae": size.mean(), "rmse": np.sqrt((size**2).mean()), "max": size.max()}
            for kind, value in values.items():
                metrics[f"{split}/{label}_{kind}"] = {"value": float(value), "unit": unit, "n": len(self.difference)}
        return metrics


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation gives.

    Attributes:
        metrics: ``"test/energy_mae"`` to ``{"value", "unit", "n"}``.
        errors: Differences of each output.
        indices: ``[s]`` the systems, as positions in the cache.
    """

    metrics: dict[str, dict[str, Any]]
    errors: dict[str, Errors]
    indices: np.ndarray


def evaluate(
    checkpoint: str | Path, split: str = "test", batch_size: int = 1000, device: str = "auto", root: str | None = None
) -> Evaluation:
    """Evaluate a trained network and keep the result in its run folder.

    ``evaluation.json`` gets the metrics (those of other splits stay, those of other weights go) and the hash of the
    weights, ``errors-<split>.npz`` the single errors.

    Args:
        checkpoint: Run folder or ``.ckpt`` file.
        split: train, val or test.
        batch_size: Systems in a batch.
        device: auto, cpu or cuda.
        root: Folder of the data sets, where it is not that of the training.

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
    errors = predict_errors(trained.potential.to(where), cache, indices, targets, batch_size, where)
    metrics = summarise(errors, split)
    _save(trained, split, indices, errors, metrics)
    return Evaluation(metrics, errors, indices)


def predict_errors(
    potential: Potential,
    cache: Cache,
    indices: np.ndarray,
    targets: dict[str, str | None],
    batch_size: int,
    device: torch.device,
) -> dict[str, Errors]:
    """Return prediction - target of some outputs.

    Args:
        potential: On ``device``.
        cache: The data set.
        indices: ``[s]`` the systems.
        targets: Output to property; None stands for zero.
        batch_size: Systems in a batch.
        device: Where to compute.
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
    differences: dict[str, list[np.ndarray]] = {name: [] for name in targets}
    for batch in batches:
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        with torch.set_grad_enabled(potential.gradients):
            outputs = potential(batch)
        for name, target in targets.items():
            expected = 0.0 if target is None else batch[target]
            differences[name].append((outputs[name].detach() - expected).cpu().numpy())
    n_atoms = cache.n_atoms[indices]
    return {
        name: Errors(
            np.concatenate(parts), described[name]["unit"], n_atoms if described[name]["per"] == "system" else None
        )
        for name, parts in differences.items()
    }


def _save(
    trained: Trained, split: str, indices: np.ndarray, errors: dict[str, Errors], metrics: dict[str, dict[str, Any]]
) -> None:
    folder, sha256 = trained.folder, weights_sha256(trained.potential)
    path = folder / "evaluation.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept = known["metrics"] if known.get("weights_sha256") == sha256 else {}  # errors of other weights are of no use
    kept = {name: value for name, value in kept.items() if not name.startswith(f"{split}/")}
    part = path.with_suffix(".json.part")
    document = {"weights_sha256": sha256, "metrics": kept | metrics}
    part.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    os.replace(part, path)
    arrays: dict[str, Any] = {name: error.difference for name, error in errors.items()}
    np.savez_compressed(folder / f"errors-{split}.npz", index=indices, **arrays)


def summarise(errors: dict[str, Errors], split: str) -> dict[str, dict[str, Any]]:
    """Return the metrics of all outputs; see `Errors.summary`."""
    metrics: dict[str, dict[str, Any]] = {}
    for name, error in errors.items():
        metrics |= error.summary(name, split)
    return metrics


def format_metrics(metrics: dict[str, dict[str, Any]]) -> list[str]:
    """Return one line for each metric; energies also in kcal/mol."""
    lines = []
    for name, metric in metrics.items():
        value, unit = metric["value"], metric["unit"]
        also = ""
        if unit.startswith("eV") and "Å" not in unit:
            other = unit.replace("eV", "kcal/mol", 1)
            also = f" = {convert(value, 'eV', 'kcal/mol'):.4g} {other}"
        lines.append(f"{name} {value:.4g} {unit}{also} (n = {metric['n']})")
    return lines
