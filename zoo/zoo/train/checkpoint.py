"""Reading a training run back: the network with its best weights, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zoo.models import Potential, build
from zoo.train.recipe import Recipe, parse_recipe
from zoo_registry.errors import ModelNotFound, ReleaseInvalid


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        potential: The network in evaluation mode on the CPU, with averaged weights where the recipe asks for them.
        recipe: How it was trained.
        facts: Data set, version, sha256, split, domain, standardisation, epochs, time, hardware, package versions.
        path: The checkpoint.
    """

    potential: Potential
    recipe: Recipe
    facts: dict[str, Any]
    path: Path

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.path.parent.parent


def checkpoint_path(path: str | Path) -> Path:
    """Return the best checkpoint of a run folder, or the given ``.ckpt`` file itself.

    Raises:
        ModelNotFound: There is none.
    """
    path = Path(path)
    found = path / "checkpoints" / "best.ckpt" if path.is_dir() else path
    if not found.is_file():
        raise ModelNotFound(f"There is no checkpoint {found}; give a run folder that zoo train made, or a .ckpt file.")
    return found


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the contents of a checkpoint: plain values and tensors, never code.

    Raises:
        ReleaseInvalid: Damaged, or not one of ours.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged files
        raise ReleaseInvalid(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}); it is damaged or something else, "
            "give the best.ckpt or last.ckpt of a run folder."
        ) from None
    if not isinstance(checkpoint, dict) or "zoo" not in checkpoint:
        raise ReleaseInvalid(f"{path} was not written by zoo train; give a checkpoint of a run folder.")
    return checkpoint


def load_checkpoint(path: str | Path) -> Trained:
    """Rebuild the network of a run folder (its best weights) or of a ``.ckpt`` file.

    Args:
        path: Run folder or checkpoint.

    Raises:
        ModelNotFound: There is no checkpoint.
        ReleaseInvalid: It is damaged, or not one of ours.
    """
    found = checkpoint_path(path)
    checkpoint = read_checkpoint(found)
    ours, callbacks = checkpoint["zoo"], checkpoint["callbacks"]
    recipe = parse_recipe(ours["recipe"])
    potential = build(ours["hyperparameters"])
    if recipe.trainer.precision == "64-true":
        potential.cast(torch.float64)
    weights = checkpoint["state_dict"] | callbacks.get("WeightAverage", {}).get("average", {})
    potential.load_state_dict({name.removeprefix("potential."): value for name, value in weights.items()})
    facts = ours["facts"] | {"training_seconds": callbacks["TimeLimit"]["seconds"]}
    return Trained(potential.eval().requires_grad_(False), recipe, facts, found)
