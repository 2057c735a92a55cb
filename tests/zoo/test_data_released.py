"""Evaluation of a release: what cannot be evaluated is said, not computed."""

from types import SimpleNamespace

import numpy as np
import pytest

from zoo.data import dataset
from zoo.data.cache import Cache
from zoo.train import released
from zoo.train.recipe import Data
from zoo.train.released import evaluate_release
from zoo_registry.errors import DataError, UsageError


@pytest.mark.parametrize("limit", [0, -1])
def test_limit(limit):
    with pytest.raises(UsageError, match=f"limit={limit} is not allowed"):
        evaluate_release("none", limit=limit)


def test_empty_part(monkeypatch):
    loaded = SimpleNamespace(metadata=SimpleNamespace(name="m"))
    monkeypatch.setattr("zoo_runtime.model.load", lambda *args, **kwargs: loaded)
    monkeypatch.setattr(released, "training_data", lambda *args: (None, np.arange(0), None))
    with pytest.raises(UsageError, match="m was trained with no val systems"):
        evaluate_release("m", "val")


def test_a_prepared_cache_is_used_whatever_it_was_made_from(tmp_path):
    source = tmp_path / "part.npz"
    rng = np.random.default_rng(0)
    positions = rng.normal(size=(3, 9, 3))
    np.savez(source, E=rng.normal(size=(3, 1)), F=positions, R=positions, z=[6, 6, 8, 1, 1, 1, 1, 1, 1])
    data = Data(dataset="md17-ethanol", root=str(tmp_path), n_train=1, n_val=1, targets={"energy": "energy"})
    assert released._held(data, "") is None
    path = dataset("md17-ethanol").prepare(tmp_path, str(source))
    with pytest.raises(DataError, match="3 systems of the 555092"):
        dataset("md17-ethanol").prepare(tmp_path)
    assert released._held(data, Cache(path).meta["sha256"]).folder == path
    assert released._held(data, "another") is None
