"""A training run, from a recipe to a run folder."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.callbacks import Callback, EarlyStopping, RichProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from zoo.models import build
from zoo.train.callbacks import Keep, Record, TimeLimit, WeightAverage
from zoo.train.checkpoint import read_checkpoint
from zoo.train.datamodule import TrainingData
from zoo.train.device import describe, rank, torch_device
from zoo.train.module import TrainingModule
from zoo.train.recipe import Recipe
from zoo.train.tabulated import tabulate
from zoo_registry.errors import UsageError

# What may differ when a run goes on, because it does not change the result (beyond rounding).
FREE = {
    "data.dataset",  # other data do not fit the split file
    "data.root",
    "data.source",
    "description",
    "out",
    "trainer.accelerator",
    "trainer.compile",
    "trainer.eval_batch_size",
    "trainer.max_time",
    "trainer.num_workers",
    "trainer.strategy",
    "trainer.threads",
}


def train(recipe: Recipe, fresh: bool = False, progress: bool = True) -> Path:
    """Train, or go on with a run that was stopped.

    The run folder gets ``recipe.yaml``, ``split.npz``, ``checkpoints/{best,last}.ckpt``, ``metrics.csv`` and
    ``tensorboard/``. The same call on an existing folder continues from ``last.ckpt``; a finished run stays as it is.

    Args:
        recipe: What to do.
        fresh: Insist on a new folder.
        progress: Show progress on stderr.

    Returns:
        The run folder.

    Raises:
        UsageError: The folder holds another run, or the device is missing.
        DataError: The data set cannot be had or does not fit the recipe.
        TrainingError: The loss became infinite or not a number.
    """
    device = torch_device(recipe.trainer.accelerator)
    last = recipe.folder / "checkpoints" / "last.ckpt"
    if rank() == 0:
        _claim(recipe, fresh)
    resume = read_checkpoint(last) if last.exists() else None
    if resume is not None and _finished(recipe, resume):
        _say(progress, f"{recipe.folder} is finished after {resume['zoo']['facts']['epochs']} epochs.")
        return recipe.folder
    if recipe.trainer.threads is not None:
        torch.set_num_threads(recipe.trainer.threads)
    torch.set_flush_denormal(True)
    pl.seed_everything(recipe.seed, verbose=False)
    module = TrainingModule(build(recipe.model.model_dump()), recipe, recipe.folder)
    if recipe.trainer.precision == "64-true":  # before Lightning fills in the weights of a checkpoint
        module.double()
    tabulated = recipe.trainer.tabulate and tabulate(module.potential, device)
    module.facts = {"tabulated": tabulated, "hardware": describe(device, _count(recipe)), "versions": _versions()}
    limit = TimeLimit(recipe.trainer.max_time)
    with _quiet():
        try:
            trainer = _trainer(recipe, device, limit, module.potential.gradients, progress)
        except (ValueError, MisconfigurationException) as error:
            reason = " ".join(str(error).split())
            raise UsageError(f"Lightning refuses these trainer settings: {reason}") from None
        if recipe.trainer.compile:
            _compile(module)
        _say(
            progress,
            f"{'Continuing' if resume else 'Training'} {recipe.name} in {recipe.folder} on {module.facts['hardware']}",
        )
        data = TrainingData(recipe, module, resume["zoo"]["facts"] if resume else None)
        trainer.fit(module, data, ckpt_path=last if resume else None, weights_only=True)
    if limit.reached:
        _say(progress, f"max_time reached after epoch {trainer.current_epoch}; the same command continues.")
    return recipe.folder


def _claim(recipe: Recipe, fresh: bool) -> None:
    """Make the run folder, or make sure that it belongs to this recipe."""
    folder, path = recipe.folder, recipe.folder / "recipe.yaml"
    if fresh and folder.exists():
        raise UsageError(f"{folder} exists and nothing is overwritten; give a new folder with out=...")
    wanted = recipe.model_dump(mode="json")
    if path.exists():
        difference = _difference(yaml.safe_load(path.read_text(encoding="utf-8")), wanted)
        if difference is None:
            return
        key, old, new = difference
        if (folder / "checkpoints" / "last.ckpt").exists():
            raise UsageError(
                f"{folder} was started with {key}={old}, not {new}; keep {key}={old} to continue, "
                "or give a new folder with out=..."
            )
        (folder / "split.npz").unlink(missing_ok=True)  # it never came to an epoch, so nothing is lost
    elif folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} exists and is not a run folder; give another one with out=...")
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True), encoding="utf-8")
    os.replace(part, path)


def _flat(document: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _difference(old: dict[str, Any], new: dict[str, Any]) -> tuple[str, Any, Any] | None:
    before, after = dict(_flat(old)), dict(_flat(new))
    free = set(FREE)
    if new["schedule"]["kind"] in ("constant", "plateau"):  # no plan that depends on the last epoch
        free.add("trainer.max_epochs")
    for key in [*before, *after]:
        if key not in free and before.get(key) != after.get(key):
            return key, before.get(key), after.get(key)
    return None


def _finished(recipe: Recipe, checkpoint: dict[str, Any]) -> bool:
    if checkpoint["zoo"]["facts"]["epochs"] >= recipe.trainer.max_epochs:
        return True
    waited = [state["wait_count"] for key, state in checkpoint["callbacks"].items() if key.startswith("EarlyStopping")]
    early = recipe.trainer.early_stopping
    return early is not None and any(count >= early.patience for count in waited)


def _trainer(recipe: Recipe, device: torch.device, limit: TimeLimit, gradients: bool, progress: bool) -> pl.Trainer:
    settings, folder = recipe.trainer, recipe.folder
    every = {"save_on_train_epoch_end": True, "enable_version_counter": False, "dirpath": folder / "checkpoints"}
    terminal = sys.stderr.isatty()
    callbacks: list[Callback] = [limit]
    if recipe.ema is not None:
        callbacks.append(WeightAverage(recipe.ema.decay))
    callbacks.append(Record(folder / "metrics.csv", quiet=terminal or not progress))
    if settings.early_stopping is not None:
        early = settings.early_stopping
        callbacks.append(EarlyStopping("val/loss", early.min_delta, early.patience))
    if progress and terminal:
        callbacks.append(RichProgressBar(refresh_rate=20, console_kwargs={"stderr": True}))
    callbacks.append(
        Keep(
            filename="best",
            monitor="val/loss",
            every_n_epochs=settings.check_val_every,
            **every,  # type: ignore[arg-type]
        )
    )
    callbacks.append(Keep(filename="last", **every))  # type: ignore[arg-type]
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high" if settings.tf32 else "highest")
    return pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=_count(recipe),
        num_nodes=settings.num_nodes,
        strategy=settings.strategy,
        precision=settings.precision,
        max_epochs=settings.max_epochs,
        check_val_every_n_epoch=settings.check_val_every,
        gradient_clip_val=settings.gradient_clip or None,
        callbacks=callbacks,
        logger=TensorBoardLogger(folder, name="tensorboard", version=""),
        enable_progress_bar=progress and terminal,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        inference_mode=not gradients,
    )


def _count(recipe: Recipe) -> int:
    """Return how many processes run on a node."""
    devices, cuda = recipe.trainer.devices, torch_device(recipe.trainer.accelerator).type == "cuda"
    present = torch.cuda.device_count() if cuda else None
    if devices == "auto":
        return present or 1
    if present is not None and devices > present:
        raise UsageError(f"trainer.devices={devices}, but there are {present} CUDA devices; use at most {present}.")
    return devices


def _compile(module: TrainingModule) -> None:
    if module.potential.gradients:
        raise UsageError("torch.compile cannot train on forces or stress; set trainer.compile=false.")
    module.potential.compile(dynamic=True)


def _versions() -> dict[str, str]:
    names = ("torch", "pytorch-lightning", "numpy", "ase", "vesin")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}


def _say(progress: bool, text: str) -> None:
    if progress and rank() == 0:
        print(text, file=sys.stderr, flush=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence advice of Lightning's that does not fit what is done here on purpose."""
    with warnings.catch_warnings():
        # Batches are gathered whole, from mapped memory; worker processes gain nothing on a CPU.
        warnings.filterwarnings("ignore", message=".*does not have many workers which may be a bottleneck")
        # Nothing is logged step by step.
        warnings.filterwarnings("ignore", message=r"The number of training batches \(\d+\) is smaller than the logging")
        # That is how a run goes on.
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        # Lightning's own use of a deprecated class of PyTorch.
        warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
        logger = logging.getLogger("pytorch_lightning.utilities.rank_zero")
        level = logger.level
        logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            logger.setLevel(level)
