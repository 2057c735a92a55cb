"""Lightning's trainer as a recipe wants it: callbacks, loggers, processes, and checkpoints that cannot be lost."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from pytorch_lightning.callbacks import Callback, EarlyStopping, RichProgressBar
from pytorch_lightning.plugins.io import TorchCheckpointIO

from zoo.train.callbacks import Keep, Record, TimeLimit, WeightAverage
from zoo.train.device import processes, torch_device
from zoo.train.loggers import loggers
from zoo.train.recipe import Recipe
from zoo_registry.errors import UsageError
from zoo_registry.files import replacing


class SafeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside the one before and then takes its place, so that one of them is always whole."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint, all or nothing."""
        path = Path(path)
        document = io.BytesIO()
        torch.save(checkpoint, document)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part, part.open("wb") as file:
            file.write(document.getbuffer())
            file.flush()
            os.fsync(file.fileno())


def make_trainer(recipe: Recipe, limit: TimeLimit, gradients: bool, progress: bool) -> pl.Trainer:
    """Return the trainer of a recipe.

    Args:
        recipe: What to do.
        limit: Ends a session in time.
        gradients: Whether validation needs autograd, for forces.
        progress: Show progress on stderr.

    Raises:
        UsageError: Devices or processes that are not there.
        MissingDependency: A logger that is not installed.
        ValueError: Settings that Lightning refuses.
    """
    settings, folder = recipe.trainer, recipe.folder
    cuda = torch_device(settings.accelerator).type == "cuda"
    terminal = sys.stderr.isatty()
    if cuda:
        torch.set_float32_matmul_precision("high" if settings.tf32 else "highest")
    plugins: list[Any] = [SafeCheckpoints()]
    if SLURMEnvironment.detect() and not TorchElasticEnvironment.detect():
        # Lightning's own requeueing would write a checkpoint in the middle of an epoch; ours are exact.
        plugins.append(SLURMEnvironment(auto_requeue=False))
    return pl.Trainer(
        accelerator="gpu" if cuda else "cpu",
        devices=count_devices(recipe),
        num_nodes=settings.num_nodes,
        strategy=settings.strategy,
        precision=settings.precision,
        max_epochs=settings.max_epochs,
        check_val_every_n_epoch=settings.check_val_every,
        gradient_clip_val=settings.gradient_clip or None,
        callbacks=_callbacks(recipe, limit, quiet=terminal or not progress, bar=progress and terminal),
        plugins=plugins,
        logger=loggers(recipe),
        default_root_dir=folder,
        deterministic=settings.deterministic or None,
        enable_progress_bar=progress and terminal,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        inference_mode=not gradients,
    )


def _callbacks(recipe: Recipe, limit: TimeLimit, quiet: bool, bar: bool) -> list[Callback]:
    settings, folder = recipe.trainer, recipe.folder
    every: dict[str, Any] = {"save_on_train_epoch_end": True, "enable_version_counter": False}
    every["dirpath"] = folder / "checkpoints"
    callbacks: list[Callback] = [limit]
    if recipe.ema is not None:
        callbacks.append(WeightAverage(recipe.ema.decay))
    callbacks.append(Record(folder / "metrics.csv" if "csv" in settings.loggers else None, quiet))
    if settings.early_stopping is not None:
        early = settings.early_stopping
        callbacks.append(EarlyStopping("val/loss", early.min_delta, early.patience))
    if bar:
        callbacks.append(RichProgressBar(refresh_rate=20, console_kwargs={"stderr": True}))
    callbacks.append(Keep(filename="best", monitor="val/loss", every_n_epochs=settings.check_val_every, **every))
    callbacks.append(Keep(filename="last", **every))
    return callbacks


def count_devices(recipe: Recipe) -> int:
    """Return how many processes run on a node.

    Raises:
        UsageError: More GPUs than there are, or not as many processes as were started from outside.
    """
    settings = recipe.trainer
    cuda = torch_device(settings.accelerator).type == "cuda"
    present = torch.cuda.device_count() if cuda else None
    count = (present or 1) if settings.devices == "auto" else settings.devices
    if present is not None and count > present:
        raise UsageError(f"trainer.devices={count}, but there are {present} CUDA devices; use at most {present}.")
    started = processes()
    if started is not None and started != count * settings.num_nodes:
        raise UsageError(
            f"{started} processes were started, but trainer.devices={count} on trainer.num_nodes="
            f"{settings.num_nodes} makes {count * settings.num_nodes}; make them equal."
        )
    return count


@contextmanager
def quiet() -> Iterator[None]:
    """Silence advice of Lightning's that does not fit what is done here on purpose."""
    with warnings.catch_warnings():
        # Batches are gathered whole, from mapped memory; worker processes gain nothing on a CPU.
        warnings.filterwarnings("ignore", message=".*does not have many workers which may be a bottleneck")
        # Nothing is logged step by step.
        warnings.filterwarnings("ignore", message=r"The number of training batches \(\d+\) is smaller than the logging")
        # That is how a run goes on.
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        # One process needs no srun.
        warnings.filterwarnings("ignore", message="The `srun` command is available on your system but is not used")
        # A layer with one output has gradients of another layout, which DDP copies.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        # Lightning's own use of a deprecated class of PyTorch.
        warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
        logger = logging.getLogger("pytorch_lightning.utilities.rank_zero")
        level = logger.level
        logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            logger.setLevel(level)
