"""The card tells what a reader must know, shows the pictures of the run, and says what the numbers mean."""

import json
from dataclasses import replace

import numpy as np
import pytest

from zoo.train.errors import Errors, Evaluation, save_errors
from zoo_export import speed
from zoo_export.card import card
from zoo_export.release import write
from zoo_registry.release import open_release
from zoo_runtime.verification.report import Report


@pytest.fixture
def run(tmp_path):
    """A run folder as ``zoo train`` and ``zoo evaluate`` leave it."""
    folder = tmp_path / "run"
    folder.mkdir()
    random = np.random.default_rng(0)
    target = random.normal(size=200)
    errors = {"energy": Errors(0.1 * random.normal(size=200), "eV", np.full(200, 4), target, np.full(200, 0.1), None)}
    save_errors(Evaluation({}, errors, np.arange(200)), folder / "errors-test.npz")
    rows = [
        "epoch,step,time,train/loss,val/loss,val/energy_mae,lr",
        *(f"{k},1,1,{1 / k},{2 / k},0.5,0" for k in (1, 2)),
    ]
    (folder / "metrics.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_pictures_are_files_of_the_release_and_on_its_card(make_release_of, run, tmp_path):
    potential, metadata = make_release_of("schnet-tiny", tmp_path)
    folder = tmp_path / "release"
    folder.mkdir()
    write(potential, metadata, folder, targets=(), run=run)
    release = open_release(folder)  # which verifies the manifest
    files = json.loads((folder / "manifest.json").read_text())["files"]
    text = release.file("README.md").read_text(encoding="utf-8")
    for name in ("learning-curve.png", "parity.png", "errors.png", "calibration.png"):
        assert f"]({name})" in text
        assert 0 < files[name]["size"] < 40_000
    assert "## Speed" in text
    assert "µs/atom" in text


def test_the_card_tells_what_the_numbers_mean(make_release_of, tmp_path):
    _, metadata = make_release_of("schnet-committee", tmp_path)
    metrics = {
        "test/energy_mae": {"value": 0.5, "unit": "eV", "n": 14},
        "test/forces_mae": {"value": 0.1, "unit": "eV/Å", "n": 40},
        "test/stress_mae": {"value": 0.001, "unit": "eV/Å³", "n": 14},
        "test/dipole_magnitude_mae": {"value": 0.0208194, "unit": "e·Å", "n": 14},
        "test/forces_rmse_over_spread": {"value": 1.7, "unit": "1", "n": 40},
    }
    text = card(replace(metadata, metrics=metrics), Report("x@1.0.0"))
    for row in (
        "| test/energy_mae | 0.5 | eV | 11.530 kcal/mol | 14 |",
        "| test/forces_mae | 0.1 | eV/Å | 2.306 kcal/mol/Å | 40 |",
        "| test/stress_mae | 0.001 | eV/Å³ | 0.160 GPa | 14 |",
        "| test/dipole_magnitude_mae | 0.02082 | e·Å | 0.100 D | 14 |",
    ):
        assert row in text
    errors, calibration = text.split("## Calibration of the spread")
    assert "rmse_over_spread |" not in errors
    assert "| test/forces_rmse_over_spread | 1.7 |  | 40 |" in calibration
    for words in (
        "| licence of the data | CC0-1.0 |",
        "| licence of the weights | MIT |",
        "| level of theory | pairs |",
        "40 training, 10 validation, 14 test",
        f"zoo evaluate model={metadata.name}@1.0.0",
        f"further than {metadata.interaction_range:g} Å",
        "Elements: H, C, O, Si",
    ):
        assert words in text
    assert "## Pictures" not in text


def test_speed_is_measured_on_what_the_model_is_for(make_release_of, tmp_path):
    _, metadata = make_release_of("schnet", tmp_path)
    assert not speed.typical(metadata).pbc.any()
    crystal = speed.typical(replace(metadata, periodic=True))
    assert crystal.pbc.all()
    assert len(crystal) >= speed.ATOMS
