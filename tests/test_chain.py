"""The whole chain, as a user walks it: an ASE database, a training run, a release, a hub, a prediction."""

from __future__ import annotations

from pathlib import Path

import ase.db
import numpy as np
import pytest
from ase import Atoms

import zoo_runtime
from zoo.train.evaluate import evaluate
from zoo.train.recipe import Recipe, load_recipe
from zoo.train.released import evaluate_release
from zoo.train.run import train
from zoo_export.release import export
from zoo_registry.store import publish, pull

BONDS = 48


def energy(length: float) -> float:
    return -16.0 - 2040.0 + 3.0 * (length - 1.0) ** 2  # eV


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "bonds.db"
    with ase.db.connect(path) as db:
        for length in np.linspace(0.8, 1.3, BONDS):
            db.write(Atoms("OH", [[0, 0, 0], [0, 0, length]]), data={"E": energy(length)})
        db.metadata = {
            "name": "bonds",
            "citation": "doi:10.0/0",
            "license": "CC0-1.0",
            "level_of_theory": "a parabola",
            "properties": {"E": {"unit": "eV", "per": "system"}},
        }
    return path


def make_recipe(database: Path, out: Path) -> Recipe:
    path = out.with_suffix(".yaml")
    path.write_text(f"""
name: schnet-bonds
description: Bonds of oxygen and hydrogen
data: {{dataset: {database}, n_train: 32, n_val: 8, targets: {{energy: E}}}}
references: fit
model:
  representation: {{kind: schnet, species: [1, 8], cutoff: 3.0, features: 16, interactions: 2, gaussians: 10}}
  heads: {{energy: {{kind: atomwise}}}}
loss: {{energy: {{kind: mse}}}}
optimizer: {{lr: 1.0e-2}}
ema: null
trainer: {{max_epochs: 60, batch_size: 8, threads: 1}}
out: {out}
""")
    return load_recipe(str(path), {})


def test_from_an_ase_database_to_a_prediction(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    run = train(make_recipe(database, tmp_path / "run"), progress=False)
    measured = evaluate(run).metrics["test/energy_mae"]["value"]
    release = export(run, out=tmp_path / "releases")

    (tmp_path / "hub").mkdir()
    publish(release.path, str(tmp_path / "hub"))
    assert pull("schnet-bonds", str(tmp_path / "hub")).path.is_relative_to(tmp_path / "cache")

    model = zoo_runtime.load("schnet-bonds")
    lengths = np.linspace(0.85, 1.25, 9)
    predictions = model.predict([Atoms("OH", [[0, 0, 0], [0, 0, length]]) for length in lengths])
    errors = [abs(p.energy - energy(length)) for p, length in zip(predictions, lengths, strict=True)]
    assert measured < 0.02
    assert max(errors) < 0.1
    assert model.metadata.metrics["test/energy_mae"] == {"value": measured, "unit": "eV", "n": 8}
    assert evaluate_release("schnet-bonds").metrics["test/energy_mae"]["value"] == pytest.approx(measured, abs=1e-5)
