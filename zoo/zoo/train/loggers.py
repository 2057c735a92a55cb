"""Where the metrics of a run go, beside ``metrics.csv``: TensorBoard, Weights & Biases, MLflow."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
from collections.abc import Iterable
from typing import Any

from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from zoo.train.device import rank
from zoo.train.recipe import Recipe
from zoo_registry.errors import MissingDependency, UsageError


def loggers(recipe: Recipe) -> list[Logger]:
    """Return Lightning's loggers of a recipe.

    A run that goes on is the same run there too. Weights & Biases and MLflow take their servers and keys from their
    own environment variables (``WANDB_API_KEY``, ``WANDB_MODE=offline``, ``MLFLOW_TRACKING_URI``).

    Raises:
        MissingDependency: A logger's package is not installed.
        UsageError: Its server does not answer, or it refuses its settings.
    """
    wanted = [name for name in recipe.trainer.loggers if name != "csv"]
    for name in wanted:
        if importlib.util.find_spec(name) is None:
            raise MissingDependency(
                f"trainer.loggers has {name}, which is not installed; pip install {name}, or leave it out."
            )
    try:
        return [_make(name, recipe) for name in wanted]
    except Exception as error:  # each has its own for a server that does not answer
        reason = " ".join(str(error).split())
        raise UsageError(f"trainer.loggers={wanted} cannot be opened: {reason:.300}") from None


def close(used: Iterable[Logger]) -> None:
    """End the runs of Weights & Biases, which would take in what the next member of a committee logs."""
    if any(isinstance(logger, WandbLogger) for logger in used):
        importlib.import_module("wandb").finish()


def _make(name: str, recipe: Recipe) -> Logger:
    folder = recipe.folder
    if name == "tensorboard":
        return TensorBoardLogger(folder, name="tensorboard", version="")
    settings: dict[str, Any] = recipe.model_dump(mode="json")
    if name == "wandb":
        key = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
        return WandbLogger(
            project="zoo", name=recipe.name, save_dir=folder, id=key, resume="allow", config=settings, log_model=False
        )
    identity = folder / "mlflow-run"
    known = identity.read_text(encoding="utf-8") if identity.exists() else None
    server = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(folder / 'mlflow.db').resolve()}"
    logger = MLFlowLogger("zoo", recipe.name, server, run_id=known)
    if known is None and rank() == 0:
        identity.write_text(str(logger.run_id), encoding="utf-8")
    return logger
