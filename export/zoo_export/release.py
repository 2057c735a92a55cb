"""Writing a release folder: every file checked against the network before the folder appears."""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
from pathlib import Path

import torch

from zoo.models import Potential
from zoo.train.checkpoint import load_checkpoint
from zoo_export import card, figures, golden, speed
from zoo_export.describe import FILTERS_TOLERANCE, describe
from zoo_export.eager import Eager
from zoo_export.structures import structures
from zoo_export.targets import DEFAULT, TARGETS
from zoo_registry.errors import ExportError, UsageError, close_matches
from zoo_registry.manifest import write_manifest
from zoo_registry.metadata import Metadata
from zoo_registry.release import METADATA, Release, open_release
from zoo_registry.versions import parse_name
from zoo_runtime.backends import BackendUnavailable, choose
from zoo_runtime.verification.report import Report
from zoo_runtime.verification.subject import Subject
from zoo_runtime.verification.suite import behaviour, compare, physics


def export(
    checkpoint: str | Path,
    out: str | Path = "releases",
    name: str | None = None,
    version: str = "1.0.0",
    targets: tuple[str, ...] = DEFAULT,
    license: str = "MIT",
    authors: tuple[str, ...] = (),
    force: bool = False,
    tabulate: float = FILTERS_TOLERANCE,
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
        force: Write it although a check failed; report and card say so.
        tabulate: Error bound of the filters that take the place of SchNet's filter networks in ONNX and in programs
            for AOTInductor, relative to the largest filter; 0 keeps the networks.

    Raises:
        UsageError: Unknown target, wrong name, the folder exists, or the run was not evaluated.
        ModelError: No checkpoint there.
        ExportError: The network disobeys physics, or a file does not agree with it; nothing is written.
    """
    trained = load_checkpoint(checkpoint)
    name = name or trained.recipe.name
    check_free(out, name, version, targets)
    metadata = describe(trained, name, version, license, list(authors), tabulate)
    return make_release(trained.potential, metadata, out, targets, force, trained.folder)


def check_free(out: str | Path, name: str, version: str, targets: tuple[str, ...]) -> None:
    """Refuse what cannot be written, before anything is computed.

    Raises:
        UsageError: Unknown target, wrong name, or the folder exists.
    """
    for target in targets:
        if target not in TARGETS:
            raise UsageError(f"unknown target {target!r}{close_matches(target, TARGETS)}")
    parse_name(f"{name}@{version}")
    if (final := Path(out) / name / version).exists():
        raise UsageError(f"{final} exists and a version never changes; give another version= or out=.")


def make_release(
    potential: Potential,
    metadata: Metadata,
    out: str | Path,
    targets: tuple[str, ...],
    force: bool = False,
    run: Path | None = None,
) -> Release:
    """Write the folder ``<out>/<name>/<version>`` of a network, which appears whole or not at all.

    Args:
        potential: The network.
        metadata: Its description.
        out: Where the folder goes.
        targets: Which formats.
        force: Write it although a check failed.
        run: The run folder, whose pictures go onto the card.

    Raises:
        ExportError: A check failed.
    """
    final = Path(out) / metadata.name / metadata.version
    final.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{metadata.version}-", dir=final.parent))
    try:
        write(potential.cast(torch.float32), metadata, folder, targets, force, run)
        folder.chmod(0o755)
        os.rename(folder, final)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return open_release(final)


def write(
    potential: Potential,
    metadata: Metadata,
    folder: Path,
    targets: tuple[str, ...] = DEFAULT,
    force: bool = False,
    run: Path | None = None,
) -> None:
    """Write all files of a release into an empty folder, each checked before the next.

    Args:
        potential: The network, float32.
        metadata: Its description.
        folder: Where to write.
        targets: Which formats beside safetensors.
        force: Go on when a check fails.
        run: The run folder, whose pictures go onto the card.

    Raises:
        ExportError: The network disobeys physics, or a file disagrees with it.
        BackendUnavailable: What runs an exported file is not installed.
    """
    named = structures(metadata.species, metadata.cutoff)
    reference = Subject(Eager(potential), metadata, "float64")
    report = Report(metadata.label, forced=force)
    physics(report, reference, named)
    _refuse(report)
    expected = [reference.run(atoms) for atoms in named.values()]
    (folder / METADATA).write_bytes(metadata.to_json())
    for name, target in TARGETS.items():
        if name not in (*targets, "safetensors"):
            continue
        importlib.import_module(target.module).write(potential, metadata, folder / target.file)
        try:
            runner = choose(Release(folder, metadata, trusted=True), target.backend, "cpu", target.dtype)
        except BackendUnavailable as error:
            if not target.optional:
                raise
            report.left_out[target.backend] = str(error)
            continue
        subject = Subject(runner, metadata, target.dtype)
        compare(report, subject, named, reference, expected)
        behaviour(report, subject, named)
        _refuse(report)
    golden.write(reference.backend, named, folder / golden.FILE)
    report.forced = bool(report.failed)
    report.write(folder / "verification.json")
    if run is not None:
        figures.write(run, metadata, folder)
    text = card.card(metadata, report, figures.section(folder), speed.section(folder, metadata))
    (folder / "README.md").write_text(text, encoding="utf-8")
    for path in folder.iterdir():
        path.chmod(0o644)
    write_manifest(folder)


def _refuse(report: Report) -> None:
    """Raise an error for the checks that failed, unless the release is forced."""
    if report.failed and not report.forced:
        raise ExportError(f"not written: {'; '.join(map(str, report.failed))}. Report it with the run's recipe.")
