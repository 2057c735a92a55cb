"""``golden.json``: structures with the results of the float64 network, against which every host can check itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo_registry.errors import ReleaseInvalid
from zoo_registry.metadata import MAX_ATOMIC_NUMBER
from zoo_runtime.verification.subject import Subject, deviations, worst

if TYPE_CHECKING:
    from ase import Atoms

    from zoo_registry.release import Release

GOLDEN = "golden.json"


def read_golden(release: Release) -> list[dict[str, Any]]:
    """Return the golden structures.

    Raises:
        ReleaseInvalid: There are none, or they are damaged.
    """
    path = release.file(GOLDEN)
    try:
        structures = json.loads(path.read_bytes())["structures"]
        good = bool(structures) and all(_is_structure(structure, release.metadata.outputs) for structure in structures)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        good = False
    if not good:
        raise ReleaseInvalid(
            f"{path} holds no structures with finite numbers for all that the model promises; export the release again."
        )
    return list(structures)


def golden_deviations(subject: Subject, structures: list[dict[str, Any]]) -> dict[str, float]:
    """Return the largest difference of every output of which a structure has a golden value; the energy per atom.

    Args:
        subject: What computes.
        structures: From `read_golden`.
    """
    found = []
    for golden in structures:
        graph = subject.graph(atoms_of(golden))
        expected = {}
        for name, facts in subject.metadata.outputs.items():
            if golden.get(name) is not None:
                value = np.asarray(golden[name], dtype=float)
                expected[name] = value if facts["per"] == "atom" else value[None]
        found.append(deviations(subject.metadata, graph, subject.backend.compute(graph), expected))
    return worst(*found)


def atoms_of(golden: dict[str, Any]) -> Atoms:
    """Return the structure of an entry."""
    from ase import Atoms

    return Atoms(golden["numbers"], golden["positions"], cell=golden["cell"], pbc=golden["pbc"])


def _is_structure(golden: dict[str, Any], outputs: dict[str, dict[str, Any]]) -> bool:
    numbers = golden["numbers"]
    shapes = {"positions": (len(numbers), 3), "cell": (3, 3), "energy": (), "forces": (len(numbers), 3)}
    promised = {"positions", "cell", *({"energy", "forces"} & outputs.keys())}
    given = {key for key in outputs if golden.get(key) is not None}
    arrays = {key: np.asarray(golden[key], dtype=float) for key in promised | given}
    return (
        bool(numbers)
        and all(type(number) is int and 0 < number <= MAX_ATOMIC_NUMBER for number in numbers)
        and [type(periodic) for periodic in golden["pbc"]] == [bool] * 3
        and all(np.isfinite(array).all() for array in arrays.values())
        and all(array.shape == shapes.get(key, array.shape) for key, array in arrays.items())
    )
