"""Several processes train what one does with their joined batches, however they were started."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pytorch_lightning.plugins.environments import SLURMEnvironment

from zoo.data.cache import Cache
from zoo.train.callbacks import TimeLimit
from zoo.train.checkpoint import read_checkpoint
from zoo.train.recipe import Recipe
from zoo.train.run import train
from zoo.train.trainer import make_trainer
from zoo_registry.errors import DataError, UsageError

MakeRecipe = Callable[..., Recipe]
Rows = Callable[[Path], list[dict[str, float]]]
WACSF = {
    "representation": {"kind": "wacsf", "species": [1, 8], "cutoff": 4.0, "radial": 6, "angular": 2},
    "heads": {"energy": {"kind": "elemental_atomwise", "property": "energy", "hidden": [10]}},
}
STARTED = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_PROCID")


@pytest.fixture(autouse=True)
def _started_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in STARTED:
        monkeypatch.delenv(name, raising=False)


def assert_same(one: Path, other: Path, rows: Rows) -> None:
    a, b = (read_checkpoint(folder / "checkpoints" / "last.ckpt") for folder in (one, other))
    assert a["zoo"]["facts"]["split"] == b["zoo"]["facts"]["split"]
    assert a["zoo"]["facts"]["standardisation"] == b["zoo"]["facts"]["standardisation"]
    for name, value in a["state_dict"].items():
        torch.testing.assert_close(b["state_dict"][name], value, rtol=0, atol=1e-9)
    for row, also in zip(rows(one), rows(other), strict=True):
        for metric in row.keys() - {"time", "epoch", "step", "lr"}:
            assert row[metric] == pytest.approx(also[metric], rel=1e-6), metric


@pytest.fixture
def recipes(make_recipe: MakeRecipe, molecules: Cache, tmp_path: Path) -> Callable[..., tuple[Recipe, Recipe]]:
    """The same training in one process, and in two with half the batch; 11 systems to validate are not even."""

    def make(forces: bool = False, **settings: Any) -> tuple[Recipe, Recipe]:
        targets = {"energy": "E", "forces": "F"} if forces else {"energy": "E"}
        data = {"dataset": str(molecules.folder), "n_train": 40, "n_val": 11, "targets": targets}
        loss = {"energy": {"weight": 0.1, "per_atom": True}, "forces": {}} if forces else {"energy": {}}
        common = {"precision": "64-true", "max_epochs": 2, "eval_batch_size": 4}
        two = {"batch_size": 8, "devices": 2, "strategy": "ddp_fork"}
        return tuple(
            make_recipe(data=data, loss=loss, out=str(tmp_path / name), trainer={**common, **trainer}, **settings)
            for name, trainer in (("one", {"batch_size": 16}), ("two", two))
        )

    return make


@pytest.mark.parametrize("forces", [False, True])
def test_two_processes_do_what_one_does_with_the_doubled_batch(
    recipes: Callable[..., tuple[Recipe, Recipe]], forces: bool, rows: Rows
) -> None:
    one, two = recipes(forces)
    assert_same(train(one, progress=False), train(two, progress=False), rows)


def test_two_processes_share_the_work_on_symmetry_functions(
    recipes: Callable[..., tuple[Recipe, Recipe]], rows: Rows
) -> None:
    one, two = recipes(model=WACSF)
    assert_same(train(one, progress=False), train(two, progress=False), rows)


def test_processes_may_have_different_numbers_of_batches(make_recipe: MakeRecipe, molecules: Cache, rows: Rows) -> None:
    data = {"dataset": str(molecules.folder), "n_train": 41, "n_val": 9, "targets": {"energy": "E"}}
    trainer = {"devices": 2, "strategy": "ddp_fork", "eval_batch_size": 4}
    folder = train(make_recipe(data=data, trainer=trainer), progress=False)
    assert all(row["val/energy_mae"] > 0 for row in rows(folder))


def test_two_processes_train_one_member_after_the_other(make_recipe: MakeRecipe, rows: Rows) -> None:
    trainer = {"devices": 2, "strategy": "ddp_fork", "max_epochs": 2, "max_time": 1e-9}
    recipe = make_recipe(ensemble=2, trainer=trainer)
    for trained in ([1], [2, 1], [2, 2]):
        train(recipe, progress=False)
        assert [len(rows(folder)) for folder in sorted(recipe.folder.glob("member-*"))] == trained


def test_torchrun_starts_both_processes(
    make_recipe: MakeRecipe, recipes: Callable[..., tuple[Recipe, Recipe]], tmp_path: Path, rows: Rows
) -> None:
    one, _ = recipes()
    train(one, progress=False)
    document = one.model_dump(mode="json") | {"out": str(tmp_path / "torchrun")}
    document["trainer"] |= {"devices": 2, "strategy": "ddp", "batch_size": 8}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(document))
    script = tmp_path / "zoo"
    script.write_text(
        "import typer, zoo.cli\nfrom zoo_runtime.cli import build_app\n"
        "app = build_app()\nzoo.cli.register(app)\ntyper.main.get_command(app)()\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*torchrun, str(script), "train", f"recipe={recipe}"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / "torchrun")]
    assert_same(one.folder, tmp_path / "torchrun", rows)


def slurm(monkeypatch: pytest.MonkeyPatch, nodes: int, tasks: int, rank: int) -> None:
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    settings = {
        **{"JOB_ID": 4321, "JOB_NAME": "train", "NTASKS": nodes * tasks, "STEP_NUM_TASKS": nodes * tasks},
        **{"NTASKS_PER_NODE": tasks, "NNODES": nodes, "NODELIST": "gpu[07-08]"},
        **{"PROCID": rank, "LOCALID": rank % tasks, "NODEID": rank // tasks},
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))


def test_slurm_tells_every_process_its_place(make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm(monkeypatch, nodes=2, tasks=4, rank=5)
    recipe = make_recipe(trainer={"devices": 4, "num_nodes": 2, "strategy": "ddp"})
    trainer = make_trainer(recipe, TimeLimit(), gradients=False, progress=False)
    place = trainer.strategy.cluster_environment
    assert isinstance(place, SLURMEnvironment)
    assert (place.world_size(), place.global_rank(), place.local_rank(), place.node_rank()) == (8, 5, 1, 1)
    assert place.main_address == "gpu07"
    assert trainer.world_size == 8
    assert not trainer.is_global_zero
    assert not place.auto_requeue


def test_processes_that_would_train_the_same_beside_each_other_are_refused(
    make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm(monkeypatch, nodes=1, tasks=4, rank=0)
    with pytest.raises(UsageError, match=r"4 processes were started, but trainer\.devices=1"):
        train(make_recipe(), progress=False)


def test_slurm_without_tasks_per_node_is_refused_in_one_line(
    make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm(monkeypatch, nodes=1, tasks=2, rank=0)
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE")
    with pytest.raises(UsageError, match="--ntasks-per-node=2"):
        train(make_recipe(trainer={"devices": 2}), progress=False)


def test_a_node_without_the_data_says_so(make_recipe: MakeRecipe, molecules: Cache, tmp_path: Path) -> None:
    from zoo.train.source import open_cache

    data = make_recipe().data.model_copy(update={"dataset": "qm9", "root": str(tmp_path)})
    with pytest.raises(DataError, match="file system that all nodes share"):
        open_cache(data, prepared=True)
