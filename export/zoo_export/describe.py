"""From a training run to the metadata of a release."""

from __future__ import annotations

import copy
import json
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import zoo_registry
from zoo.models import Potential
from zoo.models.committee import Committee
from zoo.train.checkpoint import Trained
from zoo.train.recipe import Recipe, load_recipe
from zoo.train.weights import weights_sha256
from zoo_registry.errors import UsageError
from zoo_registry.metadata import Metadata
from zoo_runtime import keys
from zoo_runtime.verification.suite import ENERGY_TOLERANCE, EXTENT_TOLERANCE, FORCES_TOLERANCE

INPUTS: dict[str, dict[str, Any]] = {
    keys.NUMBERS: {"dtype": "int64", "shape": ["n"], "unit": None},
    keys.POSITIONS: {"dtype": "float64", "shape": ["n", 3], "unit": "angstrom"},
    keys.EDGES: {"dtype": "int64", "shape": [2, "e"], "unit": None},
    keys.SHIFTS: {"dtype": "float64", "shape": ["e", 3], "unit": "angstrom"},
    keys.SYSTEM: {"dtype": "int64", "shape": ["n"], "unit": None},
    keys.CELL: {"dtype": "float64", "shape": ["s", 3, 3], "unit": "angstrom"},
    keys.TRIPLES: {"dtype": "int64", "shape": [3, "t"], "unit": None},
}
IMPLEMENTATION = "https://doi.org/10.1021/acs.jctc.8b00908"
ARCHITECTURES = {"schnet": "https://doi.org/10.1063/1.5019779", "wacsf": "https://doi.org/10.1063/1.5019667"}


FILTERS_TOLERANCE = 5e-6
"""Largest error of a filter or its slope, relative to the largest: what float32 weights allow, times about two."""


def describe(
    trained: Trained, name: str, version: str, license: str, authors: list[str], tabulate: float = FILTERS_TOLERANCE
) -> Metadata:
    """Gather everything that a host or a reader must know.

    Args:
        trained: The run.
        name: Name of the release.
        version: Its version.
        license: SPDX identifier for the weights.
        authors: Who made it.
        tabulate: Error bound of the filters that take the place of networks, see `zoo_export.tabulate`; 0 for none.

    Raises:
        UsageError: The run has not been evaluated on its test set.
    """
    potential, recipe, facts = trained.potential, trained.recipe, trained.facts
    source = facts["dataset_facts"]
    kind = potential.hyperparameters["representation"]["kind"]
    return Metadata(
        name=name,
        version=version,
        architecture=kind,
        description=recipe.description,
        license=license,
        authors=authors,
        references={
            "model": [],
            "architecture": [ARCHITECTURES[kind]],
            "dataset": [link(source["citation"])] if source.get("citation") else [],
            "implementation": [IMPLEMENTATION],
        },
        species=potential.species.tolist(),
        inputs={key: value for key, value in INPUTS.items() if key != keys.TRIPLES or potential.needs_triples},
        outputs=potential.outputs(),
        cutoff=potential.cutoff,
        interaction_range=potential.representation.interaction_range,
        neighbors={"full": True, "strict": True, "triples": potential.needs_triples},
        periodic=facts["domain"]["periodic"],
        dtype="float32",
        energy_reference=energy_reference(potential, recipe.references),
        level_of_theory=source.get("level_of_theory", ""),
        charge=source.get("charge", 0),
        spin_multiplicity=source.get("spin_multiplicity", 1),
        domain=facts["domain"],
        training={key: value for key, value in facts.items() if key not in ("domain", "versions")}
        | {"recipe": portable(recipe), "command": command(recipe)},
        metrics=read_metrics(trained),
        tolerance={"energy": ENERGY_TOLERANCE, "forces": FORCES_TOLERANCE, "filters": tabulate}
        | ({keys.SPATIAL_EXTENT: EXTENT_TOLERANCE} if keys.SPATIAL_EXTENT in potential.outputs() else {}),
        provenance={
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "package": "atomzoo",
            "package_version": zoo_registry.__version__,
            "git_commit": git_commit(),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "training_versions": facts.get("versions", {}),
            "weights_sha256": weights_sha256(copy.deepcopy(potential).cast(torch.float32)),
        },
        hyperparameters=potential.hyperparameters,
    )


def labels(metadata: Metadata) -> dict[str, str]:
    """Return what goes into a file beside the network: ``zoo.json``, and flat words for hosts that read no JSON."""
    return {
        "zoo.json": metadata.to_json().decode(),
        "cutoff": repr(metadata.cutoff),
        "species": " ".join(map(str, metadata.species)),
        "energy_unit": keys.UNITS[keys.ENERGY],
        "length_unit": metadata.length_unit,
    }


MACHINE = {"accelerator", "compile", "eval_batch_size", "loggers", "max_time", "num_workers", "strategy", "threads"}
"""Settings of the trainer that say where it ran and not what came out."""


def link(citation: str) -> str:
    """Return a citation as a link where it is a bare DOI."""
    return f"https://doi.org/{citation.removeprefix('doi:')}" if citation.startswith("doi:") else citation


def portable(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe without what belongs to the machine on which it ran."""
    return recipe.model_dump(mode="json", exclude={"out": True, "data": {"root", "source"}, "trainer": MACHINE})


def command(recipe: Recipe) -> str:
    """Return the command that trains the same model again."""
    try:
        if portable(load_recipe(recipe.name, {})) == portable(recipe):
            return f"zoo train recipe={recipe.name}"
    except UsageError:
        pass
    return "zoo train recipe=FILE, where FILE holds training.recipe of zoo.json"


def energy_reference(potential: Potential, kind: str) -> dict[str, Any]:
    """Return what is added to each atom's energy after the network, in eV for each atomic number."""
    members = potential.potentials if isinstance(potential, Committee) else [potential]
    for name, head in potential.heads.items():
        if keys.ENERGY in head.outputs():  # type: ignore[operator]
            each = [member.heads[name].get_buffer("reference") for member in members]
            values = torch.stack(each).mean(0).tolist()
            species = potential.species.tolist()
            named = {str(z): value for z, value in zip(species, values, strict=True)}
            return {"kind": kind, "unit": "eV", "values": named}
    return {"kind": "none", "unit": "eV", "values": {}}


def read_metrics(trained: Trained) -> dict[str, dict[str, Any]]:
    """Return the errors that ``zoo evaluate`` measured.

    Raises:
        UsageError: It has not been run on the test set with these weights.
    """
    path = trained.folder / "evaluation.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    metrics: dict[str, dict[str, Any]] = found.get("metrics", {})
    if found.get("weights_sha256") != weights_sha256(trained.potential) or not any(
        name.startswith("test/") for name in metrics
    ):
        raise UsageError(f"{trained.path} has no test errors yet; run: zoo evaluate checkpoint={trained.path}")
    return metrics


def git_commit() -> str | None:
    """Return the commit of the checkout that this code runs from, ``-dirty`` if changed; None where there is none."""
    here = Path(__file__).parent
    try:
        # An installed copy may lie in somebody else's repository.
        git = ["git", "-C", str(here)]
        subprocess.run([*git, "ls-files", "--error-unmatch", __file__], capture_output=True, check=True)
        command = [*git, "describe", "--always", "--abbrev=40", "--match=", "--dirty"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
