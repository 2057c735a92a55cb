"""A run that is killed anywhere ends with the weights of an undisturbed one, bit for bit; a full disk loses nothing."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zoo.train.checkpoint import load_checkpoint, read_checkpoint
from zoo.train.recipe import Recipe
from zoo.train.run import train
from zoo_registry.errors import TrainingError

MakeRecipe = Callable[..., Recipe]
TRAINER = {"max_epochs": 6, "precision": "64-true", "batch_size": 4}
TRAIN = """
import os, signal, torch
import zoo.train.trainer
from zoo.train.module import TrainingModule
from zoo.train.recipe import parse_recipe
from zoo.train.run import train

def die():
    os.kill(os.getpid(), signal.SIGKILL)

{where}
torch.set_num_threads(1)
train(parse_recipe({document!r}), progress=False)
"""
IN_THE_MIDDLE_OF_AN_EPOCH = """
steps, step = [], TrainingModule.training_step

def counted(self, batch, index):
    steps.append(index)
    return die() if len(steps) == 15 else step(self, batch, index)

TrainingModule.training_step = counted
"""
WHILE_WRITING_A_CHECKPOINT = """
calls, replace = [], os.replace

def half(part, path):
    if str(path).endswith(".ckpt"):
        calls.append(path)
        if len(calls) == 3:
            os.truncate(part, os.path.getsize(part) // 2)
            die()
    replace(part, path)

os.replace = half
"""
BETWEEN_TWO_CHECKPOINTS = """
replace = os.replace

def once(part, path):
    replace(part, path)
    if str(path).endswith("best.ckpt"):
        die()

os.replace = once
"""


def start(recipe: Recipe, where: str = "") -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["zoo.train.run"])
    code = TRAIN.format(where=where, document=recipe.model_dump(mode="json"))
    process = context.Process(target=exec, args=(code, {}))
    process.start()
    return process


def last(folder: Path) -> dict[str, Any]:
    return read_checkpoint(folder / "checkpoints" / "last.ckpt")


def assert_same_run(one: Path, other: Path) -> None:
    a, b = last(one), last(other)
    average = a["callbacks"]["WeightAverage"]["average"]
    assert a["zoo"]["facts"]["epochs"] == b["zoo"]["facts"]["epochs"]
    assert all(torch.equal(value, b["state_dict"][name]) for name, value in a["state_dict"].items())
    assert all(torch.equal(value, b["callbacks"]["WeightAverage"]["average"][name]) for name, value in average.items())
    best, also = load_checkpoint(one), load_checkpoint(other)
    assert best.facts["epochs"] == also.facts["epochs"]
    weights = also.potential.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in best.potential.state_dict().items())
    tables = [
        [line.split(",")[:2] + line.split(",")[3:] for line in (folder / "metrics.csv").read_text().splitlines()]
        for folder in (one, other)  # without the time of day
    ]
    assert tables[0] == tables[1]


def test_a_run_killed_at_the_worst_moments_ends_like_an_undisturbed_one(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"schedule": {"kind": "plateau", "patience": 1}, "trainer": TRAINER}
    whole = train(make_recipe(out=str(tmp_path / "whole"), **settings), progress=False)
    recipe = make_recipe(out=str(tmp_path / "killed"), **settings)
    moments = [IN_THE_MIDDLE_OF_AN_EPOCH, WHILE_WRITING_A_CHECKPOINT, BETWEEN_TWO_CHECKPOINTS]
    for where in moments:
        process = start(recipe, where)
        process.join()
        assert process.exitcode == -signal.SIGKILL
    train(recipe, progress=False)
    assert_same_run(whole, recipe.folder)


def test_a_run_killed_at_random_moments_ends_like_an_undisturbed_one(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"trainer": TRAINER}
    whole = train(make_recipe(out=str(tmp_path / "whole"), **settings), progress=False)
    recipe = make_recipe(out=str(tmp_path / "killed"), **settings)
    random, killed = np.random.default_rng(), 0
    for longest in (0.0, 0.05, 0.2, 0.8):  # seconds; the first is alive for certain
        process = start(recipe)
        while not (recipe.folder / "split.npz").exists() and process.is_alive():
            time.sleep(0.01)
        process.join(random.uniform(0.0, longest))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.join()
    assert killed > 0
    train(recipe, progress=False)
    assert_same_run(whole, recipe.folder)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_keeps_the_checkpoint_before_and_the_same_command_goes_on(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    whole = train(make_recipe(out=str(tmp_path / "whole")), progress=False)
    train(make_recipe(trainer={"max_time": 1e-9}), progress=False)
    recipe = make_recipe()
    part = recipe.folder / "checkpoints" / ".part-last.ckpt"
    part.symlink_to("/dev/full")
    before = (recipe.folder / "checkpoints" / "last.ckpt").read_bytes()
    with pytest.raises(TrainingError, match=r"The disk is full .*the same command continues"):
        train(recipe, progress=False)
    assert (recipe.folder / "checkpoints" / "last.ckpt").read_bytes() == before
    assert not part.is_symlink()
    train(recipe, progress=False)
    assert_same_run(whole, recipe.folder)
