"""``zoo data info``: what is said of a prepared data set is what it holds."""

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from zoo.data import dataset
from zoo.data.cache import Cache
from zoo.data.cli import data_app
from zoo.data.summary import count_elements
from zoo_registry.errors import DataError


@pytest.fixture
def water(tmp_path):
    with h5py.File(tmp_path / "water.h5", "w") as file:
        molecule = file.create_group("gdb11_s01/gdb11_s01-0")
        molecule["species"], molecule["energies"] = np.array([b"O", b"H", b"H"], "S1"), np.array([-76.0, -75.0])
        molecule["coordinates"] = np.random.default_rng(0).normal(size=(2, 3, 3))
    return tmp_path / "water.h5"


def show(tmp_path, *more):
    return CliRunner().invoke(data_app, ["info", "ani1", "--root", str(tmp_path), *more], catch_exceptions=False).stdout


def test_before_it_is_prepared(tmp_path):
    shown = show(tmp_path)
    assert "energy [eV]" in shown
    assert "prepared: no; zoo data prepare ani1" in shown
    with pytest.raises(DataError, match="nothing to draw"):
        show(tmp_path, "--picture", str(tmp_path / "x.png"))


def test_counts_and_ranges_and_picture(tmp_path, water):
    cache = Cache(dataset("ani1").prepare(tmp_path, str(water)))
    assert count_elements(cache) == ([1, 8], [4, 2])
    shown = show(tmp_path, "--picture", str(tmp_path / "x.png"))
    assert "systems: 2\n" in shown
    assert "elements: H 4, O 2\n" in shown
    assert f"energy: {-76 * 27.211386245988:.10g} to {-75 * 27.211386245988:.10g} eV (one per system)" in shown
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG\r\n")
