from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zoo.data.cache import Cache, write_cache
from zoo.data.writer import Property
from zoo.train.recipe import Recipe, parse_recipe

ATOM = {1: -13.0, 8: -2040.0}  # eV


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def molecules(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """Crooked chains of H and O with E = sum of atoms + pairs of 0.5 exp(-2 (r - 1)), and its forces."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(2, 6, 64)
    numbers, positions, energies, forces = [], [], [], []
    for size in sizes:
        z = rng.choice([1, 8], size)
        r = np.stack([np.arange(size) * 1.2, *rng.normal(0, 0.2, (2, size))], axis=1)
        vectors = r[:, None] - r[None]
        distances = np.linalg.norm(vectors, axis=-1) + np.diag(np.full(size, np.inf))
        pairs = 0.5 * np.exp(-2 * (distances - 1))
        numbers.append(z)
        positions.append(r)
        energies.append(sum(ATOM[int(a)] for a in z) + pairs.sum() / 2)
        forces.append((2 * (pairs / distances)[..., None] * vectors).sum(1))
    return write_cache(
        tmp_path_factory.mktemp("data") / "chains",
        n_atoms=sizes,
        numbers=np.concatenate(numbers),
        positions=np.concatenate(positions),
        values={"E": np.array(energies), "F": np.concatenate(forces)},
        properties={"E": Property("system", (), "eV"), "F": Property("atom", (3,), "eV/Å")},
    )


@pytest.fixture
def rows() -> Callable[[Path], list[dict[str, float]]]:
    """Read ``metrics.csv`` of a run folder."""

    def read(folder: Path) -> list[dict[str, float]]:
        header, *lines = (folder / "metrics.csv").read_text().splitlines()
        return [dict(zip(header.split(","), map(float, line.split(",")), strict=True)) for line in lines]

    return read


@pytest.fixture
def make_recipe(molecules: Cache, tmp_path: Path) -> Callable[..., Recipe]:
    """A small recipe; keyword arguments replace its sections, those of ``trainer`` single settings."""

    def make(**changes: Any) -> Recipe:
        trainer = {"max_epochs": 3, "batch_size": 8, "accelerator": "cpu", **changes.pop("trainer", {})}
        document = {
            "name": "chains",
            "data": {"dataset": str(molecules.folder), "n_train": 40, "n_val": 10, "targets": {"energy": "E"}},
            "references": "fit",
            "model": {
                "representation": {
                    "kind": "schnet",
                    "species": [1, 8],
                    "cutoff": 4.0,
                    "features": 16,
                    "interactions": 2,
                    "gaussians": 10,
                },
                "heads": {"energy": {"kind": "atomwise", "property": "energy", "unit": "eV"}},
            },
            "loss": {"energy": {"kind": "mse"}},
            "optimizer": {"lr": 5e-3},
            "trainer": trainer,
            "out": str(tmp_path / "run"),
        }
        return parse_recipe(document | changes)

    return make
