"""How long a prediction takes, for the card."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from zoo.train.device import describe
from zoo_export.structures import structures
from zoo_registry.metadata import Metadata
from zoo_registry.release import Release
from zoo_runtime.backends import BackendUnavailable, choose
from zoo_runtime.model import Model

if TYPE_CHECKING:
    from ase import Atoms

CALLS = 20
ATOMS = 100  # of a crystal, at least


def section(folder: Path, metadata: Metadata) -> str | None:
    """Measure the native backend of a release folder and return the part of the card that says it; None without it.

    Args:
        folder: The release, as far as it is written.
        metadata: Of the release.
    """
    atoms = typical(metadata)
    release = Release(folder, metadata, trusted=True)
    try:
        model = Model(release, choose(release, "native", "cpu", "float32", 1))
    except BackendUnavailable:
        return None
    model.predict(atoms)
    times = []
    for _ in range(CALLS):
        start = time.thread_time()
        model.predict(atoms)
        times.append(time.thread_time() - start)
    ms, cpu = 1e3 * statistics.median(times), describe(torch.device("cpu"), 1).removeprefix("1 x ")
    return (
        f"## Speed\n\n{ms:.3g} ms for {atoms.get_chemical_formula()} ({len(atoms)} atoms, {1e3 * ms / len(atoms):.2g} "
        "µs/atom): one `Model.predict` with everything that the model gives, checks and neighbour list included; "
        f"native backend, float32, one thread of {cpu}; processor time, median of {CALLS} calls when this card was "
        "written. Batches and the calculator of a simulation are faster."
    )


def typical(metadata: Metadata) -> Atoms:
    """Return a molecule of the elements of a model, or a crystal of some size for one that was trained on crystals."""
    named = structures(metadata.species, metadata.cutoff)
    if not metadata.periodic:
        return max((atoms for atoms in named.values() if not atoms.pbc.any()), key=len)
    cell = next(atoms for atoms in named.values() if atoms.pbc.all())
    copies = 1
    while len(cell) * copies**3 < ATOMS:
        copies += 1
    return cell * (copies, copies, copies)
