"""The training step: loss, metrics, optimiser and learning rate of a potential."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from zoo.models import Potential
from zoo.train.device import world
from zoo.train.features import predict
from zoo.train.recipe import Loss, Recipe, Schedule
from zoo_registry.errors import TrainingError
from zoo_runtime import keys

PENALTIES: dict[str, Callable[[Tensor, Loss], Tensor]] = {
    "mse": lambda difference, term: difference.square(),
    "mae": lambda difference, term: difference.abs(),
    "smooth_l1": lambda difference, term: functional.smooth_l1_loss(
        difference, torch.zeros_like(difference), reduction="none", beta=term.beta
    ),
}


class TrainingModule(pl.LightningModule):
    """Fits a potential to the targets of a recipe.

    Args:
        potential: The network, already standardised or about to be.
        recipe: What to fit, and how.
        folder: Where a batch with a non-finite loss is kept.

    Attributes:
        facts: Plain facts of the run that every checkpoint carries.
        units: Unit of each logged metric, for display.
    """

    def __init__(self, potential: Potential, recipe: Recipe, folder: Path) -> None:
        super().__init__()
        self.potential = potential
        self.recipe, self.folder = recipe, folder
        self.facts: dict[str, Any] = {}
        outputs = potential.outputs()
        potential.gradients = any(outputs[name]["gradient_of"] for name in recipe.loss)
        self.per_system = {name: outputs[name]["per"] == "system" for name in recipe.loss}
        self.units = {f"val/{name}_mae": f" {outputs[name]['unit']}" for name in recipe.loss}
        self.plateau: ReduceLROnPlateau | None = None
        self._plateau_state: dict[str, Any] | None = None
        self._recent: list[tuple[Tensor, dict[str, Tensor]]] = []
        self._train: list[Tensor] = []
        self._sums: list[Tensor] = []

    def penalties(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Return for each term of the loss f(prediction - target), weighted by the data, and |prediction - target|.

        Args:
            outputs: What the potential gave.
            batch: Graph, targets and weights.

        Returns:
            By output, two tensors of its shape; the second without what the data give no weight.
        """
        found = {}
        for name, term in self.recipe.loss.items():
            target = batch[self.recipe.data.targets[name]]
            difference = outputs[name] - target.view_as(outputs[name])
            absolute, beside = difference.detach().abs(), [1] * (difference.dim() - 1)
            if term.per_atom and self.per_system[name]:
                difference = difference / batch["n_atoms"].view(-1, *beside)
            # The subtraction needs float64; after it nothing is lost in the network's own precision.
            difference = difference.to(next(self.parameters()).dtype)
            penalty = PENALTIES[term.kind](difference, term)
            if term.weights is not None:
                weights = batch[term.weights]
                if not self.per_system[name] and len(weights) != len(difference):
                    weights = weights[batch[keys.SYSTEM]]
                penalty = penalty * weights.view(-1, *beside).to(penalty.dtype)
                absolute = absolute[weights > 0]
            found[name] = penalty, absolute
        return found

    def loss(self, penalties: Mapping[str, tuple[Tensor, Tensor]]) -> Tensor:
        """Return the loss of a batch, such that its average over all processes is that of their joined batches."""
        total = torch.zeros((), device=self.device)
        for name, term in self.recipe.loss.items():
            penalty = penalties[name][0]
            value = penalty.mean()
            if not self.per_system[name] and world() > 1:
                # Processes have equally many systems, but not equally many atoms.
                count = torch.tensor(float(penalty.numel()), device=self.device)
                torch.distributed.all_reduce(count)
                value = value * (penalty.numel() * world() / count).to(value.dtype)
            total = total + term.weight * value
        return total

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        loss = self.loss(self.penalties(predict(self.potential, batch), batch))
        self._recent.append((loss.detach(), batch))
        # Looking at a number makes the CPU wait for the GPU, so there only some steps later.
        if len(self._recent) >= (1 if loss.device.type == "cpu" else 32):
            self._check_recent()
        return loss

    def on_train_start(self) -> None:
        """Keep DDP from exchanging buffers, which never change; processes with fewer batches would be waited for."""
        if isinstance(self.trainer.model, DistributedDataParallel):
            self.trainer.model.broadcast_buffers = False

    def on_train_epoch_start(self) -> None:
        """Forget the losses of the epoch before."""
        self._train = []

    def _check_recent(self) -> None:
        losses = torch.stack([loss for loss, _ in self._recent])
        self._train.append(losses)
        finite = losses.isfinite()
        if not bool(finite.all()):
            first = int((~finite).nonzero()[0])
            batch = {name: value.cpu() for name, value in self._recent[first][1].items()}
            path = self.folder / f"nonfinite-batch-rank{self.global_rank}.pt"
            torch.save(batch, path)
            raise TrainingError(
                f"The loss became {float(losses[first])} in epoch {self.current_epoch + 1}; the batch is in {path}. "
                "Look for wrong data there, or start anew with a lower optimizer.lr or with trainer.gradient_clip=1."
            )
        self._recent.clear()

    def on_validation_epoch_start(self) -> None:
        """Begin new sums."""
        if self._recent:
            self._check_recent()
        self._sums = []

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Add a batch to the sums."""
        with torch.set_grad_enabled(self.potential.gradients):
            penalties = self.penalties(predict(self.potential, batch), batch)
        rows = [torch.cat([_totals(penalty), _totals(absolute)]) for penalty, absolute in penalties.values()]
        self._sums.append(torch.stack(rows))

    def on_validation_epoch_end(self) -> None:
        """Log the training loss of the epoch, the validation loss and the mean absolute errors.

        They are those of all systems together, however they were shared out to batches and processes.
        """
        terms = self.recipe.loss
        empty = torch.zeros(len(terms), 4, dtype=torch.float64, device=self.device)
        sums = torch.stack(self._sums).sum(0) if self._sums else empty  # [terms, 4]
        train = torch.cat(self._train).double() if self._train else empty[:0, 0]
        ours = torch.cat([sums.flatten(), train.sum().view(1), torch.full_like(sums[0, :1], len(train))])
        reduced = self.trainer.strategy.reduce(ours, reduce_op="sum")
        *values, train_sum, train_n = torch.as_tensor(reduced).tolist()
        rows = {name: values[4 * i : 4 * i + 4] for i, name in enumerate(terms)}
        metrics = {"train/loss": train_sum / max(train_n, 1.0)}
        metrics["val/loss"] = sum(term.weight * rows[name][0] / rows[name][1] for name, term in terms.items())
        for name, (_, _, absolute, count) in rows.items():
            metrics[f"val/{name}_mae"] = absolute / max(count, 1.0)
        if not math.isfinite(metrics["val/loss"]):
            raise TrainingError(
                f"The validation loss became {metrics['val/loss']} in epoch {self.current_epoch + 1}; "
                "start anew with a lower optimizer.lr or with trainer.gradient_clip=1."
            )
        if self.plateau is not None:
            self.plateau.step(metrics["val/loss"])
        metrics["lr"] = self.trainer.optimizers[0].param_groups[0]["lr"]
        tensors = torch.tensor(list(metrics.values()), dtype=torch.float64, device=self.device)
        # They are the same in all processes; without sync_dist Lightning would suspect that they are not.
        self.log_dict(dict(zip(metrics, tensors, strict=True)), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """Return the optimiser and, where there is one, the schedule of steps."""
        settings, schedule = self.recipe.optimizer, self.recipe.schedule
        kind = torch.optim.AdamW if settings.kind == "adamw" else torch.optim.Adam
        # Lightning's mixed precision cannot clip the gradients of a fused optimiser.
        fused = self.recipe.trainer.precision != "bf16-mixed"
        optimizer = kind(self.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, fused=fused)
        if schedule.kind == "plateau":
            self.plateau = ReduceLROnPlateau(
                optimizer, factor=schedule.factor, patience=schedule.patience, min_lr=schedule.min_lr
            )
            if self._plateau_state is not None:
                self.plateau.load_state_dict(self._plateau_state)
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = LambdaLR(optimizer, lambda step: lr_factor(schedule, step, steps, schedule.min_lr / settings.lr))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is needed to rebuild and to describe the model."""
        checkpoint["zoo"] = {
            "recipe": self.recipe.model_dump(mode="json"),
            "hyperparameters": self.potential.hyperparameters,
            "facts": self.facts | {"epochs": self.current_epoch + 1},
            "plateau": self.plateau.state_dict() if self.plateau is not None else None,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the state of the plateau schedule until the optimiser is there."""
        self._plateau_state = checkpoint["zoo"]["plateau"]
        if self.plateau is not None and self._plateau_state is not None:
            self.plateau.load_state_dict(self._plateau_state)


def _totals(values: Tensor) -> Tensor:
    """Return the sum of all numbers and how many they are."""
    total = values.detach().double().sum()
    return torch.stack([total, torch.full_like(total, values.numel())])


def lr_factor(schedule: Schedule, step: int, steps: int, lowest: float) -> float:
    """Return the learning rate at a step, relative to ``optimizer.lr``.

    Args:
        schedule: constant, cosine or onecycle.
        step: From 0.
        steps: Planned number of steps.
        lowest: Where cosine and onecycle end.
    """

    def cosine(start: float, end: float, progress: float) -> float:
        return end + (start - end) * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2

    rise = schedule.rise * steps if schedule.kind == "onecycle" else schedule.warmup
    if step < rise:
        return cosine(0.04, 1.0, step / rise) if schedule.kind == "onecycle" else (step + 1) / (rise + 1)
    if schedule.kind == "constant":
        return 1.0
    return cosine(1.0, lowest, (step - rise) / max(steps - rise, 1))
