from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zoo.data.cache import Cache
from zoo.data.split import load_split
from zoo.models.committee import Committee
from zoo.train.checkpoint import load_checkpoint, read_checkpoint
from zoo.train.evaluate import evaluate
from zoo.train.recipe import Recipe
from zoo.train.run import train
from zoo_registry.errors import ModelNotFound, UsageError

MakeRecipe = Callable[..., Recipe]


def state(folder: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]


@pytest.fixture
def forces(molecules: Cache) -> dict[str, Any]:
    data = {"dataset": str(molecules.folder), "n_train": 40, "n_val": 10, "targets": {"energy": "E", "forces": "F"}}
    return {"data": data, "loss": {"energy": {}, "forces": {}}}


def test_members_share_the_split_and_nothing_else(make_recipe: MakeRecipe, forces: dict[str, Any]) -> None:
    recipe = make_recipe(ensemble=2, seed=7, trainer={"max_epochs": 1}, **forces)
    folder = train(recipe, progress=False)
    one, other = folder / "member-0", folder / "member-1"
    assert [load_checkpoint(member).recipe.seed for member in (one, other)] == [7, 8]
    assert load_split(one / "split.npz").sha256 == load_split(other / "split.npz").sha256
    assert all(not torch.equal(value, state(other)[name]) for name, value in state(one).items() if "weight" in name)
    alone = train(make_recipe(seed=7, out=f"{folder}-alone", trainer={"max_epochs": 1}, **forces), progress=False)
    for name, value in state(alone).items():
        assert torch.equal(value, state(one)[name]), name


def test_a_committee_is_loaded_evaluated_and_described_as_one_network(
    make_recipe: MakeRecipe, forces: dict[str, Any], molecules: Cache
) -> None:
    folder = train(make_recipe(ensemble=2, trainer={"max_epochs": 2}, **forces), progress=False)
    trained = load_checkpoint(folder)
    assert isinstance(trained.potential, Committee)
    assert trained.folder == folder
    assert trained.facts["members"][1]["seed"] == 1
    assert trained.facts["training_seconds"] == sum(member["training_seconds"] for member in trained.facts["members"])
    result = evaluate(folder, device="cpu")
    single = [evaluate(folder / f"member-{k}", device="cpu") for k in range(2)]
    for name, errors in result.errors.items():
        mean = np.mean([one.errors[name].difference for one in single], axis=0)
        np.testing.assert_allclose(errors.difference, mean, rtol=0, atol=1e-5)
    assert result.metrics["test/forces_rmse"]["value"] <= max(s.metrics["test/forces_rmse"]["value"] for s in single)
    assert (folder / "evaluation.json").is_file()


def test_a_committee_goes_on_where_it_was_stopped(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    whole = make_recipe(ensemble=2, out=str(tmp_path / "whole"), trainer={"max_epochs": 2})
    train(whole, progress=False)
    parts = make_recipe(ensemble=2, out=str(tmp_path / "parts"), trainer={"max_epochs": 2, "max_time": 1e-9})
    train(parts, progress=False)
    assert not (parts.folder / "member-1").exists()
    with pytest.raises(ModelNotFound, match="member-1"):
        load_checkpoint(parts.folder)
    for _ in range(3):
        train(parts, progress=False)
    before = (parts.folder / "member-0" / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    train(parts, progress=False)
    assert (parts.folder / "member-0" / "checkpoints" / "last.ckpt").stat().st_mtime_ns == before
    for k in range(2):
        for name, value in state(whole.folder / f"member-{k}").items():
            assert torch.equal(value, state(parts.folder / f"member-{k}")[name]), name


def test_members_that_were_trained_on_their_own_are_taken_in(make_recipe: MakeRecipe, molecules: Cache) -> None:
    recipe = make_recipe(ensemble=2, trainer={"max_epochs": 1})
    data = recipe.data.model_dump() | {"split_seed": 0}
    out = recipe.folder / "member-1"
    train(make_recipe(seed=1, data=data, out=str(out), trainer={"max_epochs": 1}), progress=False)
    before = (out / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    assert len(load_checkpoint(train(recipe, progress=False)).facts["members"]) == 2
    assert (out / "checkpoints" / "last.ckpt").stat().st_mtime_ns == before


def test_a_folder_of_another_size_of_committee_is_left_alone(make_recipe: MakeRecipe) -> None:
    train(make_recipe(ensemble=2, trainer={"max_epochs": 1}), progress=False)
    with pytest.raises(UsageError, match="ensemble=2, not 1"):
        train(make_recipe(trainer={"max_epochs": 1}), progress=False)
