"""Pictures of an evaluation: there, small, the same each time; and the calibration of a committee's spread."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zoo.data.cache import Cache
from zoo.results import add_run, read_runs
from zoo.train.errors import Errors, Evaluation, load_errors, save_errors, summarise
from zoo.train.evaluate import evaluate
from zoo.train.figures import draw_errors, draw_run
from zoo.train.recipe import Recipe
from zoo.train.run import train
from zoo_registry.errors import DataError, UsageError

MakeRecipe = Callable[..., Recipe]


def test_a_run_is_drawn_and_joins_the_table(make_recipe: MakeRecipe, molecules: Cache, tmp_path: Path) -> None:
    data = {"dataset": str(molecules.folder), "n_train": 30, "n_val": 10, "targets": {"energy": "E", "forces": "F"}}
    recipe = make_recipe(data=data, loss={"energy": {}, "forces": {}}, trainer={"max_epochs": 2})
    train(recipe, progress=False)
    with pytest.raises(UsageError, match="has no errors yet; run: zoo evaluate"):
        add_run(recipe.folder, tmp_path / "runs.yaml")
    found = evaluate(recipe.folder, device="cpu", figures=True)
    assert [path.name for path in found.pictures] == ["parity.png", "errors.png", "learning-curve.png"]
    for path in found.pictures:
        assert path.stat().st_size < 40_000
        with Image.open(path) as image:
            assert image.width > 400
    before = {path: path.read_bytes() for path in found.pictures}
    draw_run(recipe.folder, {"energy": "eV", "forces": "eV/Å"}, recipe.folder / "figures")
    assert {path: path.read_bytes() for path in found.pictures} == before

    kept = load_errors(recipe.folder / "errors-test.npz", found.metrics)
    assert summarise(kept.errors, "test") == found.metrics
    target = kept.errors["energy"].target
    np.testing.assert_array_equal(target, molecules.values("E")[kept.indices])

    for _ in range(2):  # the second time in its own place
        add_run(recipe.folder, tmp_path / "runs.yaml")
        (entry,) = read_runs(tmp_path / "runs.yaml")
        assert entry.metrics == found.metrics
        assert entry.training["split"]["train"] == 30


def test_what_a_picture_shows_of_energies_is_not_that_of_the_atoms(make_recipe: MakeRecipe, molecules: Cache) -> None:
    recipe = make_recipe(trainer={"max_epochs": 1})
    train(recipe, progress=False)
    errors = evaluate(recipe.folder, split="train", device="cpu").errors["energy"]
    assert errors.target is not None
    assert errors.baseline is not None
    n_atoms = errors.n_atoms
    assert (errors.target - errors.baseline).mean() == pytest.approx(0, abs=1e-2 * np.abs(errors.target).mean())
    assert np.sum((errors.target - errors.baseline) / n_atoms) == pytest.approx(0, abs=1e-6)


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "errors-test.npz").write_bytes(b"none")
    with pytest.raises(DataError, match="run zoo evaluate"):
        draw_run(tmp_path, {}, tmp_path)
    (tmp_path / "errors-test.npz").unlink()
    assert draw_run(tmp_path, {}, tmp_path) == []


@pytest.mark.parametrize(("factor", "within"), [(1.0, 0.683), (0.5, 0.383), (2.0, 0.954)])
def test_calibration_of_a_normal_distribution(factor: float, within: float) -> None:
    random = np.random.default_rng(0)
    sigma = random.uniform(0.5, 1.5, 20_000)
    errors = Errors(sigma * random.normal(size=sigma.shape), "eV", np.ones(20_000), None, factor * sigma)
    metrics = {name: metric["value"] for name, metric in errors.summary("energy", "test").items()}
    assert metrics["test/energy_rmse_over_spread"] == pytest.approx(1 / factor, rel=0.02)
    assert metrics["test/energy_within_spread"] == pytest.approx(within, abs=0.01)
    assert 0.25 < metrics["test/energy_spread_correlation"] < 0.45


def test_the_spread_of_forces_is_compared_with_the_length_of_their_error(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    members = random.normal(size=(4, 5000, 3))
    mean = members.mean(axis=0)
    spread = np.sqrt(((members - mean) ** 2).sum(axis=(0, 2)) / 3)
    truth = random.normal(size=(5000, 3))  # one more of the same distribution
    errors = {"forces": Errors(mean - truth, "eV/Å", None, truth, spread)}
    metrics = summarise(errors, "test")
    assert metrics["test/forces_rmse_over_spread"]["value"] == pytest.approx(np.sqrt(1 + 1 / 4), rel=0.02)
    assert metrics["test/forces_spread_rms"] == {
        "value": pytest.approx(np.sqrt(3), rel=0.02),
        "unit": "eV/Å",
        "n": 5000,
    }
    assert metrics["test/forces_rmse_over_spread"]["unit"] == "1"
    evaluation = Evaluation(metrics, errors, np.arange(50))
    assert [path.name for path in draw_errors(evaluation, tmp_path)] == ["parity.png", "errors.png", "calibration.png"]
    save_errors(evaluation, tmp_path / "errors-test.npz")
    again = load_errors(tmp_path / "errors-test.npz", metrics).errors["forces"]
    np.testing.assert_array_equal(again.spread, spread)
    assert again.n_atoms is None
