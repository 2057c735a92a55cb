"""What happens around the training steps: averaged weights, the time limit, the record of metrics."""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.optim.swa_utils import get_ema_multi_avg_fn

from zoo_registry.files import replacing


class WeightAverage(pl.Callback):
    """Exponential moving average of the weights, in place of them during validation.

    The average starts as a short one and lengthens to ``decay``, so that it forgets the random initial weights:
    after n steps its decay is ``min(decay, (1 + n) / (10 + n))``.

    Args:
        decay: Share of the old average that stays at each step.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.average: dict[str, torch.Tensor] = {}
        self._weights: list[torch.Tensor] = []

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged weights by name."""
        return {"average": self.average}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the averaged weights of a checkpoint."""
        self.average = state_dict["average"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with the initial weights, or go on with those of the checkpoint."""
        weights = dict(pl_module.named_parameters())
        self._weights = list(weights.values())
        self.average = {
            name: self.average.get(name, weight).detach().to(weight.device, copy=True)
            for name, weight in weights.items()
        }

    @torch.no_grad()
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Move the average towards the weights."""
        step = trainer.global_step
        update = get_ema_multi_avg_fn(min(self.decay, (1 + step) / (10 + step)))
        update(list(self.average.values()), self._weights, step)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the average in place of the weights."""
        self._swap()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the weights back."""
        self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for weight, average in zip(self._weights, self.average.values(), strict=True):
            kept = weight.clone()
            weight.copy_(average)
            average.copy_(kept)


class TimeLimit(pl.Callback):
    """Counts the time of all sessions, and ends a session before an epoch that would not fit.

    Args:
        minutes: Longest time of this session, or None.
    """

    def __init__(self, minutes: float | None = None) -> None:
        self.limit = minutes * 60 if minutes else float("inf")
        self.seconds = 0.0
        self.reached = False
        self._start = self._mark = time.monotonic()
        self._longest = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return the seconds spent in training, all sessions together."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.seconds = state_dict["seconds"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock of the epochs; that of the session runs since this object was made."""
        self._mark = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop if another epoch like the longest one would end too late."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._mark)
        self.seconds += now - self._mark
        self._mark = now
        late = trainer.strategy.broadcast(now + self._longest - self._start > self.limit)
        if late and trainer.current_epoch + 1 < (trainer.max_epochs or 0):
            self.reached = trainer.should_stop = True


class Keep(ModelCheckpoint):
    """Lightning's checkpoint that also goes on in a run folder that was moved, say to another machine."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state, with its paths in today's folder."""

        def here(path: str) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else path

        names = ("best_model_path", "kth_best_model_path", "last_model_path")
        state = state_dict | {name: here(state_dict[name]) for name in names}
        state["best_k_models"] = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state | {"dirpath": self.dirpath})


class Record(pl.Callback):
    """Writes the metrics of every validation as a row of a CSV file, and a line to stderr.

    Args:
        path: The CSV file; rows are added to one that exists. None for no file.
        quiet: Write no lines.
    """

    def __init__(self, path: Path | None, quiet: bool = False) -> None:
        self.path, self.quiet = path, quiet

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Drop the rows of epochs that were not kept in a checkpoint, because they come again."""
        if trainer.is_global_zero and self.path is not None and self.path.exists() and self.path.stat().st_size:
            header, *rows = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            whole = [row for row in rows if row.count(",") == header.count(",") and row.endswith("\n")]
            kept = [row for row in whole if int(row.partition(",")[0]) <= trainer.current_epoch]
            with replacing(self.path) as part:
                part.write_text("".join([header, *kept]), encoding="utf-8")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add a row."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        epoch = trainer.current_epoch + 1
        if not trainer.is_global_zero or epoch % (trainer.check_val_every_n_epoch or 1):
            return
        row = {"epoch": epoch, "step": trainer.global_step, "time": f"{time.time():.0f}"}
        if self.path is not None:
            new = not self.path.exists() or not self.path.stat().st_size
            with self.path.open("a", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                if new:
                    writer.writerow([*row, *metrics])
                writer.writerow([*row.values(), *(f"{value:.8g}" for value in metrics.values())])
        if not self.quiet:
            units = getattr(pl_module, "units", {})
            shown = [f"{name} {value:.4g}{units.get(name, '')}" for name, value in metrics.items()]
            print(f"epoch {epoch}/{trainer.max_epochs}  {'  '.join(shown)}", file=sys.stderr, flush=True)
