from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from zoo.models import Potential, build
from zoo.train.checkpoint import Trained
from zoo.train.recipe import parse_recipe
from zoo.train.weights import weights_sha256
from zoo_export.describe import describe
from zoo_export.release import write
from zoo_registry.metadata import Metadata
from zoo_registry.release import Release, open_release
from zoo_runtime.graph import build as build_graph

SPECIES = [1, 6, 8, 14]
SCHNET = {"kind": "schnet", "features": 16, "interactions": 2, "gaussians": 12}
WACSF = {"kind": "wacsf", "radial": 6, "angular": 3}
ENERGY = {"energy": {"kind": "atomwise"}}
ELEMENTAL = {"energy": {"kind": "elemental_atomwise", "hidden": [12, 8]}}
MODELS = {
    "schnet": (SCHNET, ENERGY),
    "wacsf": (WACSF, ELEMENTAL),
    "wacsf-crossterms": (WACSF | {"zetas": [1, 4], "crossterms": True}, ELEMENTAL),
    "acsf": (WACSF | {"weighted": False, "centered": True}, ELEMENTAL),
    "schnet-dipole": (SCHNET, {"mu": {"kind": "dipole_moment", "magnitude": True, "charge_correction": True}}),
    "wacsf-dipole": (WACSF, {"mu": {"kind": "elemental_dipole_moment", "magnitude": True}}),
    "schnet-tiny": (SCHNET | {"features": 8, "interactions": 1}, ENERGY),
    "schnet-committee": (SCHNET, ENERGY, {"committee": 3}),
    "schnet-all": (
        SCHNET,
        ENERGY
        | {
            "gap": {"kind": "atomwise", "property": "gap", "aggregation": "mean"},
            "mu": {"kind": "dipole_moment"},
            "r2": {"kind": "electronic_spatial_extent"},
        },
    ),
}
FACTS = {
    "dataset": "chains",
    "dataset_sha256": "0" * 64,
    "dataset_facts": {"citation": "doi:10.0/0", "license": "CC0-1.0", "systems": 64, "level_of_theory": "pairs"},
    "split": {"train": 40, "val": 10, "test": 14, "seed": 0, "sha256": "0" * 64},
    "domain": {
        "smallest_system": 2,
        "largest_system": 5,
        "shortest_distance": {"H-O": 0.9},
        "periodic": False,
    },
    "epochs": 3,
    "training_seconds": 1.0,
    "hardware": "CPU",
    "versions": {},
}


@dataclass(frozen=True)
class Made:
    """A network and what was made of it."""

    potential: Potential
    metadata: Metadata
    release: Release


def make_potential(name: str) -> Potential:
    representation, heads, *more = MODELS[name]
    torch.manual_seed(1)
    hyperparameters = {"representation": representation | {"species": SPECIES, "cutoff": 4.0}, "heads": heads}
    potential = build(hyperparameters | dict(*more))
    if "energy" in heads:
        potential.set_standardisation("energy", -2.0, 0.5, {6: -1030.0, 8: -2040.0, 14: -7880.0})
    if "acsf" in name:
        from zoo_export.structures import molecules

        graph = build_graph(list(molecules(SPECIES).values()), potential.cutoff, triples=True)
        potential.fit_descriptors([{key: torch.from_numpy(value) for key, value in graph.tensors().items()}])
    return potential.eval()


def make_trained(potential: Potential, folder: Path) -> Trained:
    heads = potential.hyperparameters["heads"]
    outputs = ["energy"] if "energy" in heads else ["dipole_magnitude"]
    recipe = parse_recipe(
        {
            "name": "schnet-chains",
            "description": "A small network.",
            "data": {"dataset": "chains", "n_train": 40, "n_val": 10, "targets": {name: "E" for name in outputs}},
            "model": {key: value for key, value in potential.hyperparameters.items() if key != "committee"},
            "loss": {name: {"kind": "mse"} for name in outputs},
        }
    )
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    metrics = {"test/energy_mae": {"value": 0.5, "unit": "eV", "n": 14}}
    document = {"weights_sha256": weights_sha256(potential), "metrics": metrics}
    (folder / "evaluation.json").write_text(json.dumps(document))
    return Trained(potential, recipe, FACTS, folder / "checkpoints" / "best.ckpt")


@pytest.fixture(scope="session")
def make_release_of() -> Callable[[str, Path], tuple[Potential, Metadata]]:
    """Return what gives a network and its metadata, and writes nothing of a release."""

    def make(name: str, folder: Path) -> tuple[Potential, Metadata]:
        potential = make_potential(name)
        return potential, describe(make_trained(potential, folder / "run"), name, "1.0.0", "MIT", [])

    return make


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """Return the release of a model; each is exported once, for it takes seconds."""
    done: dict[str, Made] = {}

    def make(name: str) -> Made:
        if name not in done:
            potential, folder = make_potential(name), tmp_path_factory.mktemp(name)
            metadata = describe(make_trained(potential, folder / "run"), name, "1.0.0", "MIT", [])
            (folder / "release").mkdir()
            write(potential, metadata, folder / "release")
            done[name] = Made(potential, metadata, open_release(folder / "release"))
        return done[name]

    return make
