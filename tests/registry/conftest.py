"""A tiny release, and an empty bundle, cache and hub for every test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from zoo_registry import store
from zoo_registry.manifest import write_manifest
from zoo_registry.metadata import Metadata

MakeRelease = Callable[..., Path]


@pytest.fixture
def metadata() -> Metadata:
    return Metadata(
        name="schnet-tiny",
        version="1.0.0",
        architecture="schnet",
        description="A made-up model of hydrogen.",
        license="MIT",
        species=[1, 8],
        inputs={"numbers": {"dtype": "int64", "shape": ["n"], "unit": "Z"}},
        outputs={"energy": {"dtype": "float64", "shape": ["s"], "unit": "eV", "per": "system"}},
        cutoff=5.0,
        interaction_range=15.0,
        neighbors={"full": True, "strict": True, "triples": False},
        periodic=False,
        dtype="float32",
        energy_reference={"kind": "atoms", "unit": "eV", "values": {"1": -13.6, "8": -2042.0}},
        level_of_theory="B3LYP/6-31G(2df,p)",
        hyperparameters={"representation": {"kind": "schnet"}},
        metrics={"test/energy_mae": {"value": 0.01, "unit": "eV", "n": 10}},
    )


@pytest.fixture
def make_release(metadata: Metadata) -> MakeRelease:
    """Return ``make(root, name, version, weights)``, which writes ``root/name/version``."""

    def make(root: Path, name: str = "schnet-tiny", version: str = "1.0.0", weights: bytes = b"w" * 999) -> Path:
        folder = root / name / version
        folder.mkdir(parents=True)
        facts = {**vars(metadata), "name": name, "version": version}
        (folder / "zoo.json").write_bytes(Metadata(**facts).to_json())
        (folder / "model.safetensors").write_bytes(weights)
        (folder / "README.md").write_text("# tiny\n")
        write_manifest(folder)
        return folder

    return make


@pytest.fixture
def release(tmp_path: Path, make_release: MakeRelease) -> Path:
    return make_release(tmp_path / "release")


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test away from the releases and settings of this machine."""
    monkeypatch.setattr(store, "BUNDLED", tmp_path / "bundled")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ZOO_HUB", raising=False)


@pytest.fixture
def bundled(tmp_path: Path) -> Path:
    return tmp_path / "bundled"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    folder = tmp_path / "hub"
    folder.mkdir()
    return folder
