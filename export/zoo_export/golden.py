"""``golden.json``: structures with the eager float64 result, against which every host can check itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ase import Atoms

from zoo_export.eager import Eager
from zoo_runtime import keys
from zoo_runtime.graph import build
from zoo_runtime.verification.golden import GOLDEN as FILE

__all__ = ["FILE", "write"]


def write(reference: Eager, named: dict[str, Atoms], path: Path) -> None:
    """Write inputs and results of some structures.

    Args:
        reference: The float64 network.
        named: The structures.
        path: ``golden.json``.
    """
    document = {"schema": 1, "length_unit": "angstrom", "outputs": reference.units}
    document["structures"] = [_entry(reference, name, atoms) for name, atoms in named.items()]
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")


def _entry(reference: Eager, name: str, atoms: Atoms) -> dict[str, Any]:
    result = reference.compute(build([atoms], reference.cutoff, reference.needs_triples))
    entry: dict[str, Any] = {
        "name": name,
        "numbers": atoms.numbers.tolist(),
        "positions": atoms.positions.tolist(),
        "cell": atoms.cell.array.tolist(),
        "pbc": atoms.pbc.tolist(),
    }
    for key, value in result.items():
        per_system = reference.outputs[key]["per"] == "system"
        entry[key] = (value[0] if per_system else value).tolist()
    if keys.STRESS in entry and not atoms.pbc.any():
        entry[keys.STRESS] = None
    return entry
