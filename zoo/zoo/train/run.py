"""A training run, from a recipe to a run folder."""

from __future__ import annotations

import errno
import importlib.metadata
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from zoo.models import build
from zoo.train.callbacks import TimeLimit
from zoo.train.checkpoint import read_checkpoint
from zoo.train.datamodule import TrainingData
from zoo.train.device import describe, rank, torch_device
from zoo.train.loggers import close
from zoo.train.module import TrainingModule
from zoo.train.recipe import Recipe, parse_recipe
from zoo.train.tabulated import tabulate
from zoo.train.trainer import count_devices, make_trainer, quiet
from zoo_registry.errors import TrainingError, UsageError
from zoo_registry.files import replacing

# What may differ when a run goes on, because it does not change the result (beyond rounding).
FREE = {
    "data.dataset",  # other data do not fit the split file
    "data.root",
    "data.source",
    "description",
    "out",
    "trainer.accelerator",
    "trainer.compile",
    "trainer.deterministic",
    "trainer.eval_batch_size",
    "trainer.loggers",
    "trainer.max_time",
    "trainer.num_workers",
    "trainer.strategy",
    "trainer.threads",
}
FULL = (errno.ENOSPC, errno.EDQUOT)


def train(recipe: Recipe, fresh: bool = False, progress: bool = True) -> Path:
    """Train, or go on with a run that was stopped.

    The run folder gets ``recipe.yaml``, ``split.npz``, ``checkpoints/{best,last}.ckpt``, ``metrics.csv`` and
    ``tensorboard/``. The same call on an existing folder continues from ``last.ckpt``; a finished run stays as it is.
    With ``ensemble`` above 1 the folder gets ``member-0``, ``member-1`` and so on, each of them such a run folder, made
    one after another.

    Args:
        recipe: What to do.
        fresh: Insist on a new folder.
        progress: Show progress on stderr.

    Returns:
        The run folder.

    Raises:
        UsageError: The folder holds another run, or the device is missing.
        DataError: The data set cannot be had or does not fit the recipe.
        TrainingError: The loss became infinite or not a number, or the disk is full.
        ModelError: The weights to start from cannot be had.
        MissingDependency: A logger that is not installed.
    """
    torch_device(recipe.trainer.accelerator)
    if rank() == 0:
        _claim(recipe, fresh)
    if recipe.ensemble == 1:
        _train(recipe, progress)
        return recipe.folder
    start, limit = time.monotonic(), recipe.trainer.max_time
    for k in range(recipe.ensemble):
        member = recipe.member(k)
        if limit is not None:
            left = max(limit - (time.monotonic() - start) / 60, 1e-9)
            member = member.model_copy(update={"trainer": recipe.trainer.model_copy(update={"max_time": left})})
        if rank() == 0:
            _claim(member, fresh=False)
        if not _train(member, progress):
            break
    return recipe.folder


def _train(recipe: Recipe, progress: bool) -> bool:
    """Train one network in its folder; return whether it is finished."""
    device = torch_device(recipe.trainer.accelerator)
    last = recipe.folder / "checkpoints" / "last.ckpt"
    resume = read_checkpoint(last) if last.exists() else None
    if resume is not None and _finished(recipe, resume):
        _say(progress, f"{recipe.folder} is finished after {resume['zoo']['facts']['epochs']} epochs.")
        return True
    if recipe.trainer.threads is not None:
        torch.set_num_threads(recipe.trainer.threads)
    torch.set_flush_denormal(True)
    pl.seed_everything(recipe.seed, verbose=False)
    module = TrainingModule(build(recipe.model.model_dump()), recipe, recipe.folder)
    if recipe.trainer.precision == "64-true":  # before Lightning fills in the weights of a checkpoint
        module.double()
    single = recipe.trainer.precision == "32-true"  # the tables know no other numbers
    tabulated = recipe.trainer.tabulate and single and tabulate(module.potential, device)
    hardware = describe(device, count_devices(recipe))
    module.facts = {"tabulated": tabulated, "hardware": hardware, "versions": _versions()}
    limit = TimeLimit(recipe.trainer.max_time)
    with quiet():
        try:
            trainer = make_trainer(recipe, limit, module.potential.gradients, progress)
        except (ValueError, RuntimeError, MisconfigurationException) as error:
            reason = " ".join(str(error).split())
            raise UsageError(f"Lightning refuses these trainer settings: {reason}") from None
        if recipe.trainer.compile:
            _compile(module)
        _say(progress, f"{'Continuing' if resume else 'Training'} {recipe.name} in {recipe.folder} on {hardware}")
        data = TrainingData(recipe, module, resume["zoo"]["facts"] if resume else None)
        try:
            trainer.fit(module, data, ckpt_path=last if resume else None, weights_only=True)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise TrainingError(
                f"The disk is full ({error.filename or recipe.folder}); what was saved before is whole. Make room, and "
                "the same command continues."
            ) from None
        finally:
            torch.use_deterministic_algorithms(False)
            close(trainer.loggers)
    # What this process knows is not enough where others did the work.
    done = read_checkpoint(last)
    finished = _finished(recipe, done)
    if not finished:
        epochs = done["zoo"]["facts"]["epochs"]
        _say(progress, f"max_time reached after epoch {epochs}; the same command continues.")
    return finished


def _claim(recipe: Recipe, fresh: bool) -> None:
    """Make the run folder, or make sure that it belongs to this recipe."""
    folder, path = recipe.folder, recipe.folder / "recipe.yaml"
    if fresh and folder.exists():
        raise UsageError(f"{folder} exists and nothing is overwritten; give a new folder with out=...")
    wanted = recipe.model_dump(mode="json")
    if path.exists():
        # Settings that are newer than the run have their default values.
        old = parse_recipe(yaml.safe_load(path.read_text(encoding="utf-8"))).model_dump(mode="json")
        difference = _difference(old, wanted)
        if difference is None:
            return
        key, before, now = difference
        if next(folder.rglob("last.ckpt"), None) is not None:
            raise UsageError(
                f"{folder} was started with {key}={before}, not {now}; keep {key}={before} to continue, "
                "or give a new folder with out=..."
            )
        (folder / "split.npz").unlink(missing_ok=True)  # it never came to an epoch, so nothing is lost
    elif folder.exists() and any(recipe.ensemble == 1 or "member-" not in entry.name for entry in folder.iterdir()):
        raise UsageError(f"{folder} exists and is not a run folder; give another one with out=...")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            part.write_text(yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True), encoding="utf-8")
    except OSError as error:
        raise TrainingError(f"{folder} cannot be written ({error}); give another folder with out=...") from None


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
