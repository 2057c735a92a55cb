"""Reading a training run back: the network with its best weights, and what is known of it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zoo.models import Potential, build
from zoo.models.committee import Committee
from zoo.train.orientation import orient
from zoo.train.recipe import Recipe, load_recipe, parse_recipe
from zoo_registry.errors import ModelNotFound, ReleaseInvalid


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        potential: The network in evaluation mode on the CPU, with averaged weights where the recipe asks for them.
        recipe: How it was trained.
        facts: Data set, version, sha256, split, domain, standardisation, epochs, time, hardware, package versions.
        path: The checkpoint; of a committee, its folder.
    """

    potential: Potential
    recipe: Recipe
    facts: dict[str, Any]
    path: Path

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.path if self.path.is_dir() else self.path.parent.parent


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
    """Rebuild the network of a run folder (its best weights), of a ``.ckpt`` file, or the committee of its members.

    Args:
        path: Run folder or checkpoint.

    Raises:
        ModelNotFound: There is no checkpoint, or a member of the committee is not trained yet.
        ReleaseInvalid: It is damaged, or not one of ours, or members were trained on different splits.
    """
    if (Path(path) / "member-0").is_dir():
        return _load_committee(Path(path))
    found = checkpoint_path(path)
    checkpoint = read_checkpoint(found)
    ours, callbacks = checkpoint["zoo"], checkpoint["callbacks"]
    recipe = parse_recipe(ours["recipe"])
    potential = build(ours["hyperparameters"])
    if recipe.trainer.precision == "64-true":
        potential.cast(torch.float64)
    weights = checkpoint["state_dict"] | callbacks.get("WeightAverage", {}).get("average", {})
    potential.load_state_dict({name.removeprefix("potential."): value for name, value in weights.items()})
    potential.eval().requires_grad_(False)
    orient(potential, recipe.data.targets)
    facts = ours["facts"] | {"training_seconds": callbacks["TimeLimit"]["seconds"]}
    return Trained(potential, recipe, facts, found)


def _load_committee(folder: Path) -> Trained:
    recipe = load_recipe(str(folder / "recipe.yaml"))
    members = [load_checkpoint(folder / f"member-{k}") for k in range(recipe.ensemble)]
    first = members[0]
    if any(member.facts["split"]["sha256"] != first.facts["split"]["sha256"] for member in members):
        raise ReleaseInvalid(f"The members in {folder} were trained on different splits; train them again.")
    split = folder / "split.npz"
    if not split.exists():
        shutil.copyfile(first.folder / split.name, split)
    potential = Committee(
        [member.potential for member in members], {"committee": len(members), **first.potential.hyperparameters}
    )
    seconds = [member.facts["training_seconds"] for member in members]
    facts = first.facts | {
        "epochs": max(member.facts["epochs"] for member in members),
        "training_seconds": sum(seconds),
        "members": [
            {"seed": member.recipe.seed, "epochs": member.facts["epochs"], "training_seconds": time}
            for member, time in zip(members, seconds, strict=True)
        ],
    }
    return Trained(potential.eval(), recipe, facts, folder)
