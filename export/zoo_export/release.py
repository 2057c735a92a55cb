"""Writing a release folder: every file checked against the network before the folder appears."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import torch

import zoo_registry
from zoo.models import Potential
from zoo.train.checkpoint import load_checkpoint
from zoo_export import card, golden
from zoo_export.agreement import agreement
from zoo_export.checks import Check, physics
from zoo_export.describe import describe
from zoo_export.eager import Eager
from zoo_export.structures import structures
from zoo_export.targets import TARGETS
from zoo_registry.errors import ExportError, UsageError, close_matches
from zoo_registry.manifest import write_manifest
from zoo_registry.metadata import Metadata
from zoo_registry.release import METADATA, Release, open_release
from zoo_registry.versions import parse_name
from zoo_runtime.backends import BackendUnavailable


def export(
    checkpoint: str | Path,
    out: str | Path = "releases",
    name: str | None = None,
    version: str = "1.0.0",
    targets: tuple[str, ...] = tuple(TARGETS),
    license: str = "MIT",
    authors: tuple[str, ...] = (),
) -> Release:
    """Turn a training run into a release.

    Args:
        checkpoint: Run folder, or a ``.ckpt`` file in one.
        out: The release goes to ``<out>/<name>/<version>``.
        name: Name of the release; that of the recipe by default.
        version: Its version.
        targets: Which formats; safetensors, the source of all others, is always among them.
        license: SPDX identifier for the weights.
        authors: Who made it.

    Raises:
        UsageError: Unknown target, wrong name, the folder exists, or the run was not evaluated.
        ModelError: No checkpoint there.
        ExportError: A file does not agree with the network; nothing is written.
    """
    for target in targets:
        if target not in TARGETS:
            raise UsageError(f"unknown target {target!r}{close_matches(target, TARGETS)}")
    trained = load_checkpoint(checkpoint)
    name = name or trained.recipe.name
    parse_name(f"{name}@{version}")
    final = Path(out) / name / version
    if final.exists():
        raise UsageError(f"{final} exists and a version never changes; give another version= or out=.")
    metadata = describe(trained, name, version, license, list(authors))
    final.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{version}-", dir=final.parent))
    try:
        write(trained.potential.cast(torch.float32), metadata, folder, targets)
        folder.chmod(0o755)
        os.rename(folder, final)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return open_release(final)


def write(potential: Potential, metadata: Metadata, folder: Path, targets: tuple[str, ...] = tuple(TARGETS)) -> None:
    """Write all files of a release into an empty folder, each checked before the next.

    Args:
        potential: The network, float32.
        metadata: Its description.
        folder: Where to write.
        targets: Which formats beside safetensors.

    Raises:
        ExportError: The network disobeys physics, or a file disagrees with it.
        BackendUnavailable: What runs an exported file is not installed.
    """
    named = structures(metadata.species, metadata.cutoff)
    reference = Eager(potential)
    checks = physics(reference, named)
    _refuse(checks)
    (folder / METADATA).write_bytes(metadata.to_json())
    for target, (module, file, backend, optional) in TARGETS.items():
        if target not in (*targets, "safetensors"):
            continue
        importlib.import_module(module).write(potential, metadata, folder / file)
        try:
            checks += agreement(reference, Release(folder, metadata, trusted=True), backend, named)
        except BackendUnavailable:
            if not optional:
                raise
        _refuse(checks)
    golden.write(reference, named, folder / "golden.json")
    _write_report(checks, folder / "verification.json")
    (folder / "README.md").write_text(card.card(metadata, checks), encoding="utf-8")
    for path in folder.iterdir():
        path.chmod(0o644)
    write_manifest(folder)


def _refuse(checks: list[Check]) -> None:
    """Raise an error for the first check that failed."""
    for check in checks:
        if not check.passed:
            raise ExportError(
                f"not written: {check.name} deviates by {check.value:.3g} {check.unit}, "
                f"at most {check.tolerance:.1g} is accepted; report it with the run's recipe."
            )


def _write_report(checks: list[Check], path: Path) -> None:
    report = {
        "schema": 1,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "package_version": zoo_registry.__version__,
        "checks": [check.line() for check in checks],
    }
    path.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
