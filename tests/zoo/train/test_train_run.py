from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zoo.data.cache import Cache
from zoo.data.split import load_split
from zoo.models import build
from zoo.train.checkpoint import load_checkpoint, read_checkpoint
from zoo.train.datamodule import TrainingData
from zoo.train.evaluate import evaluate, predict_errors
from zoo.train.module import TrainingModule, lr_factor
from zoo.train.recipe import Recipe, Schedule
from zoo.train.run import train
from zoo_registry.errors import DataError, ModelNotFound, ReleaseInvalid, TrainingError, UsageError

MakeRecipe = Callable[..., Recipe]
Rows = Callable[[Path], list[dict[str, float]]]
TARGETS = {"energy": "E"}


def last(folder: Path) -> dict[str, Any]:
    return read_checkpoint(folder / "checkpoints" / "last.ckpt")


def assert_same_weights(one: Path, other: Path) -> None:
    a, b = last(one), last(other)
    assert a["zoo"]["facts"]["epochs"] == b["zoo"]["facts"]["epochs"]
    for key in ("state_dict", "average"):
        left = a[key] if key == "state_dict" else a["callbacks"]["WeightAverage"]["average"]
        right = b[key] if key == "state_dict" else b["callbacks"]["WeightAverage"]["average"]
        assert left.keys() == right.keys()
        for name, value in left.items():
            assert torch.equal(value, right[name]), name


def test_training_on_energies_and_forces_halves_both_errors(
    make_recipe: MakeRecipe, molecules: Cache, rows: Rows
) -> None:
    data = {"dataset": str(molecules.folder), "n_train": 40, "n_val": 10, "targets": {"energy": "E", "forces": "F"}}
    recipe = make_recipe(
        data=data, loss={"energy": {"kind": "smooth_l1", "beta": 0.1}, "forces": {}}, trainer={"max_epochs": 15}
    )
    history = rows(train(recipe, progress=False))
    assert [row["epoch"] for row in history] == list(range(1, 16))
    for metric in ("train/loss", "val/loss", "val/forces_mae"):
        assert history[-1][metric] < 0.5 * history[0][metric], metric
    metrics = evaluate(recipe.folder, device="cpu").metrics
    assert metrics["test/energy_mae"]["unit"] == "eV"
    assert metrics["test/forces_mae"]["unit"] == "eV/Å"
    assert metrics["test/energy_mae"]["value"] <= metrics["test/energy_rmse"]["value"]


@pytest.mark.parametrize("schedule", [{"kind": "cosine", "warmup": 3}, {"kind": "plateau", "patience": 1}])
@pytest.mark.parametrize("precision", ["64-true", "32-true"])
def test_a_run_in_many_sessions_ends_with_bitwise_the_same_weights(
    make_recipe: MakeRecipe, tmp_path: Path, schedule: dict[str, Any], precision: str, rows: Rows
) -> None:
    whole = make_recipe(out=str(tmp_path / "whole"), schedule=schedule, trainer={"precision": precision})
    train(whole, progress=False)
    parts = make_recipe(
        out=str(tmp_path / "parts"), schedule=schedule, trainer={"precision": precision, "max_time": 1e-9}
    )
    for epochs in (1, 2, 3):
        train(parts, progress=False)
        assert last(parts.folder)["zoo"]["facts"]["epochs"] == epochs
    assert_same_weights(whole.folder, parts.folder)
    assert [row["val/loss"] for row in rows(whole.folder)] == [row["val/loss"] for row in rows(parts.folder)]


def test_a_finished_run_is_left_alone(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(trainer={"max_epochs": 1})
    train(recipe, progress=False)
    before = {p: p.read_bytes() for p in recipe.folder.rglob("*") if p.is_file()}
    train(recipe, progress=False)
    assert {p: p.read_bytes() for p in recipe.folder.rglob("*") if p.is_file()} == before


def test_early_stopping_ends_the_run_for_good(make_recipe: MakeRecipe, rows: Rows) -> None:
    never = {"patience": 2, "min_delta": 1e9}
    recipe = make_recipe(trainer={"max_epochs": 50, "early_stopping": never})
    train(recipe, progress=False)
    assert len(rows(recipe.folder)) == 3
    train(recipe, progress=False)
    assert len(rows(recipe.folder)) == 3


def test_nothing_is_overwritten(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe(trainer={"max_epochs": 1})
    train(recipe, progress=False)
    with pytest.raises(UsageError, match=r"optimizer\.lr=0\.005, not 0\.001"):
        train(make_recipe(trainer={"max_epochs": 1}, optimizer={"lr": 1e-3}), progress=False)
    with pytest.raises(UsageError, match="exists and nothing is overwritten"):
        train(recipe, fresh=True, progress=False)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match="not a run folder"):
        train(make_recipe(out=str(tmp_path / "other")), progress=False)


def test_a_property_that_is_not_there_and_a_folder_that_cannot_be_are_named(
    make_recipe: MakeRecipe, molecules: Cache, tmp_path: Path
) -> None:
    data = make_recipe().data.model_dump() | {"targets": {"energy": "energies"}}
    with pytest.raises(DataError, match=r"no property 'energies'\. Allowed: E, F"):
        train(make_recipe(data=data), progress=False)
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="cannot be written"):
        train(make_recipe(out=str(tmp_path / "file" / "run")), progress=False)


def test_a_start_that_failed_can_be_corrected(make_recipe: MakeRecipe) -> None:
    model = make_recipe().model.model_dump()
    model["representation"]["species"] = [1]
    with pytest.raises(DataError, match=r"O \(8\)"):
        train(make_recipe(model=model, trainer={"max_epochs": 1}), progress=False)
    train(make_recipe(trainer={"max_epochs": 1}), progress=False)


def test_averaged_weights_are_validated_and_released(make_recipe: MakeRecipe, molecules: Cache, rows: Rows) -> None:
    recipe = make_recipe(ema={"decay": 0.99}, trainer={"max_epochs": 2})
    folder = train(recipe, progress=False)
    checkpoint = last(folder)
    average = checkpoint["callbacks"]["WeightAverage"]["average"]
    val, cpu = load_split(folder / "split.npz").val, torch.device("cpu")

    def mae(weights: dict[str, torch.Tensor]) -> float:
        potential = build(checkpoint["zoo"]["hyperparameters"])
        potential.load_state_dict({name.removeprefix("potential."): value for name, value in weights.items()})
        errors = predict_errors(potential.eval(), molecules, val, TARGETS, 10, cpu)
        return float(np.abs(errors["energy"].difference).mean())

    logged = rows(folder)[-1]["val/energy_mae"]
    assert mae(checkpoint["state_dict"] | average) == pytest.approx(logged, rel=1e-5)
    assert mae(checkpoint["state_dict"]) != pytest.approx(logged, rel=1e-3)
    released = load_checkpoint(folder / "checkpoints" / "last.ckpt").potential.state_dict()
    for name, value in average.items():
        assert torch.equal(released[name.removeprefix("potential.")], value)


def test_an_untrained_network_of_zeros_predicts_references_and_mean(
    make_recipe: MakeRecipe, molecules: Cache, tmp_path: Path
) -> None:
    recipe = make_recipe()
    module = TrainingModule(build(recipe.model.model_dump()), recipe, tmp_path)
    data = TrainingData(recipe, module)
    data.prepare_data()
    data.setup("fit")
    for parameter in module.potential.heads.parameters():
        torch.nn.init.zeros_(parameter)
    facts = module.facts["standardisation"]["energy"]
    indices = data.split.test
    errors = predict_errors(module.potential.eval(), molecules, indices, TARGETS, 10, torch.device("cpu"))
    predicted = errors["energy"].difference + molecules.values("E")[indices]
    by_hand = [sum(facts["mean"] + facts["references"][str(z)] for z in molecules.atoms(i).numbers) for i in indices]
    np.testing.assert_allclose(predicted, by_hand, rtol=0, atol=1e-9)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_batch(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(optimizer={"lr": 1e30})
    with pytest.raises(TrainingError, match=r"became (nan|inf)") as error:
        train(recipe, progress=False)
    path = recipe.folder / "nonfinite-batch-rank0.pt"
    assert str(path) in str(error.value)
    batch = torch.load(path, weights_only=True)
    assert batch["positions"].shape == (int(batch["n_atoms"].sum()), 3)


def test_best_checkpoint_is_the_one_of_the_lowest_validation_loss(make_recipe: MakeRecipe, rows: Rows) -> None:
    recipe = make_recipe(optimizer={"lr": 3e-2}, schedule={"kind": "constant"}, trainer={"max_epochs": 8})
    folder = train(recipe, progress=False)
    losses = [row["val/loss"] for row in rows(folder)]
    assert load_checkpoint(folder).facts["epochs"] == 1 + int(np.argmin(losses))


def test_checkpoint_tells_where_it_comes_from(make_recipe: MakeRecipe, molecules: Cache) -> None:
    trained = load_checkpoint(train(make_recipe(), progress=False))
    facts = trained.facts
    assert facts["dataset_sha256"] == molecules.meta["sha256"]
    assert (facts["split"]["train"], facts["split"]["val"], facts["split"]["test"]) == (40, 10, 14)
    assert facts["split"]["sha256"] == load_split(trained.folder / "split.npz").sha256
    assert facts["domain"]["largest_system"] == 5
    assert facts["training_seconds"] > 0
    assert facts["versions"]["torch"] == torch.__version__
    assert trained.potential.species.tolist() == [1, 8]


def test_evaluation_refuses_other_data(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    folder = train(make_recipe(trainer={"max_epochs": 1}), progress=False)
    with pytest.raises(UsageError, match="did you mean 'test'"):
        evaluate(folder, split="tset")
    (folder / "split.npz").unlink()
    with pytest.raises(DataError, match=r"split\.npz"):
        evaluate(folder)


def test_a_checkpoint_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="zoo train"):
        load_checkpoint(tmp_path)
    path = tmp_path / "best.ckpt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ReleaseInvalid, match="damaged"):
        load_checkpoint(path)
    torch.save({"weights": torch.zeros(3)}, path)
    with pytest.raises(ReleaseInvalid, match="zoo train"):
        load_checkpoint(path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_a_usage_error(make_recipe: MakeRecipe) -> None:
    with pytest.raises(UsageError, match="No CUDA device"):
        train(make_recipe(trainer={"accelerator": "cuda"}), progress=False)


def test_an_unknown_strategy_is_a_usage_error(make_recipe: MakeRecipe) -> None:
    with pytest.raises(UsageError, match="nonsense"):
        train(make_recipe(trainer={"strategy": "nonsense"}), progress=False)


def test_learning_rate_follows_its_plan() -> None:
    cosine = Schedule(kind="cosine", warmup=10)
    factors = [lr_factor(cosine, step, 110, 0.01) for step in range(111)]
    assert factors[0] == pytest.approx(1 / 11)
    assert max(factors) == factors[10] == 1.0
    assert factors[60] == pytest.approx((1 + 0.01) / 2)
    assert factors[110] == pytest.approx(0.01)
    onecycle = Schedule(kind="onecycle", rise=0.3)
    factors = [lr_factor(onecycle, step, 100, 0.01) for step in range(101)]
    assert factors[0] == pytest.approx(0.04)
    assert int(np.argmax(factors)) == 30
    assert factors[30] == 1.0
    assert factors[100] == pytest.approx(0.01)
    assert lr_factor(Schedule(kind="constant"), 7, 100, 0.01) == 1.0


def test_symmetry_functions_computed_once_train_the_same_network(
    make_recipe: MakeRecipe, molecules: Cache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = {
        "representation": {"kind": "wacsf", "species": [1, 8], "cutoff": 4.0},
        "heads": {"energy": {"kind": "elemental_atomwise", "property": "energy", "hidden": [10]}},
    }
    settings: dict[str, Any] = {"model": model, "trainer": {"precision": "64-true"}}
    frozen = train(make_recipe(out=str(tmp_path / "frozen"), **settings), progress=False)
    monkeypatch.setattr("zoo.train.features.LARGEST", 0)
    direct = train(make_recipe(out=str(tmp_path / "direct"), **settings), progress=False)
    for name, value in last(direct)["state_dict"].items():
        torch.testing.assert_close(last(frozen)["state_dict"][name], value, rtol=0, atol=1e-10)


def test_a_run_folder_can_be_moved_between_sessions(make_recipe: MakeRecipe, tmp_path: Path, rows: Rows) -> None:
    rough = {"optimizer": {"lr": 3e-2}, "schedule": {"kind": "constant"}}
    here, there = tmp_path / "here", tmp_path / "there"
    best = []
    for session in range(1, 5):
        recipe = make_recipe(out=str(here), **rough, trainer={"max_epochs": 5, "max_time": 1e-9})
        losses = [row["val/loss"] for row in rows(train(recipe, progress=False))]
        best.append(1 + int(np.argmin(losses)))
        assert len(losses) == session
        assert load_checkpoint(here).facts["epochs"] == best[-1]
        here.rename(there)
        here, there = there, here
    assert best != [1, 2, 3, 4]  # or a best checkpoint never had to survive a move


def test_epochs_lost_in_a_crash_are_recorded_once(make_recipe: MakeRecipe, rows: Rows) -> None:
    recipe = make_recipe(trainer={"max_epochs": 2, "max_time": 1e-9})
    folder = train(recipe, progress=False)
    table = folder / "metrics.csv"
    table.write_text(table.read_text() + "2" + table.read_text().splitlines()[1][1:] + "\n")
    train(recipe, progress=False)
    assert [row["epoch"] for row in rows(folder)] == [1, 2]
