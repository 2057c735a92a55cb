"""``zoo verify``: the files of a release, its signature, and the numbers that it promises."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo_registry.errors import ReleaseInvalid
from zoo_runtime.commands.models import Hub, Name

if TYPE_CHECKING:
    from zoo_registry.release import Release

GOLDEN = "golden.json"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify")(verify)


def verify(
    model: Name,
    hub: Hub = None,
    signature: Annotated[bool, typer.Option("--signature", help="It must be signed by a key that you trust.")] = False,
    key: Annotated[Path | None, typer.Option(help="It must be signed by this public key (PEM).")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Run the code in this release (TorchScript) too.")] = False,
) -> None:
    """Check every file of a release, its golden numbers on each backend here, and its signature if asked."""
    from dataclasses import replace

    from zoo_registry.signing import check_signature, trusted_keys
    from zoo_registry.store import resolve

    release = resolve(model, hub)
    typer.echo(f"{release}: every file has the size and sha256 of its manifest")
    if signature or key:
        typer.echo(f"signature: by {check_signature(release, [key] if key else trusted_keys())}")
    for line in check_golden(replace(release, trusted=release.trusted or trust)):
        typer.echo(line)


def check_golden(release: Release) -> Iterator[str]:
    """Compute the golden structures on every backend that is here and compare.

    Args:
        release: An open release.

    Yields:
        One line a backend: how far it is from the golden numbers at most, or why it was not asked.

    Raises:
        ReleaseInvalid: No golden numbers, no backend that can run them, or one that does not reproduce them.
    """
    from zoo_runtime.backends import BACKENDS, BackendUnavailable, choose

    tolerance = release.metadata.tolerance
    structures = _golden(release)
    if not {"energy", "forces"} <= tolerance.keys():
        raise ReleaseInvalid(f"{release} states no tolerance for energy and forces; export it again.")
    ran = False
    for name in BACKENDS:
        try:
            backend = choose(release, name, device="cpu")
        except BackendUnavailable as error:
            yield f"{name}: not checked: {error}"
            continue
        worst = _deviations(release, backend, structures)
        told = ", ".join(f"{key} {value:.2g} {unit}" for key, (value, unit) in worst.items())
        for key, (value, unit) in worst.items():
            allowed = tolerance.get(key, tolerance["forces"])
            if not value <= allowed:
                raise ReleaseInvalid(
                    f"{release} on {name}: {key} is {value:.3g} {unit} from {GOLDEN}, at most {allowed:g} is promised; "
                    "do not use it here, and report it."
                )
        ran = True
        yield f"{name}: {len(structures)} golden structures reproduced, off by at most {told}"
    if not ran:
        raise ReleaseInvalid(f"{release}: no backend here can run it, so its numbers were not checked.")


def _golden(release: Release) -> list[dict[str, Any]]:
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


def _is_structure(golden: dict[str, Any], outputs: dict[str, dict[str, Any]]) -> bool:
    import numpy as np

    from zoo_registry.metadata import MAX_ATOMIC_NUMBER

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


def _deviations(release: Release, backend: Any, structures: list[dict[str, Any]]) -> dict[str, tuple[float, str]]:
    """Largest difference of every output that a structure has a golden value of; the energy per atom."""
    import numpy as np
    from ase import Atoms

    from zoo_runtime.graph import build

    metadata = release.metadata
    worst: dict[str, tuple[float, str]] = {}
    for golden in structures:
        atoms = Atoms(golden["numbers"], golden["positions"], cell=golden["cell"], pbc=golden["pbc"])
        got = backend.compute(build([atoms], metadata.cutoff, metadata.neighbors.get("triples", False)))
        for key, facts in metadata.outputs.items():
            if golden.get(key) is None:
                continue
            value = got[key] if facts["per"] == "atom" else got[key][0]
            if np.shape(value) != np.shape(golden[key]):
                raise ReleaseInvalid(f"{release}: {key} has shape {np.shape(value)}, golden {np.shape(golden[key])}.")
            size, unit = (len(atoms), facts["unit"] + "/atom") if key == "energy" else (1, facts["unit"])
            difference = float(np.abs(np.asarray(value) - np.asarray(golden[key])).max(initial=0.0)) / size
            # np.fmax would lose a NaN, which must count as a disagreement.
            worst[key] = (float(np.maximum(worst.get(key, (0.0, ""))[0], difference)), unit)
    return worst
