"""``zoo export``, ``zoo convert`` and ``zoo matrix``."""

from __future__ import annotations

from typing import Annotated

import typer

from zoo_registry.errors import ReleaseInvalid, UsageError

Target = Annotated[
    str, typer.Option(help="Formats, by commas: safetensors, onnx, torchscript, onnx-float64, pt2, pt2-float64.")
]
Out = Annotated[str, typer.Option(help="Releases go to OUT/NAME/VERSION.")]
Version = Annotated[str, typer.Option(help="Its version; a version never changes.")]
License = Annotated[str, typer.Option(help="SPDX identifier for the weights.")]
Authors = Annotated[str, typer.Option(help="Names, separated by commas.")]
Force = Annotated[bool, typer.Option("--force", help="Write it although a check failed; the card says so.")]
TARGETS = "safetensors,onnx,torchscript"


def register(app: typer.Typer) -> None:
    """Add the commands to the ``zoo`` command line."""
    for command in (export, convert, matrix):
        app.command()(command)


def export(
    checkpoint: Annotated[str, typer.Option(help="Run folder of zoo train, or a .ckpt file in it.")],
    target: Target = TARGETS,
    out: Out = "releases",
    name: Annotated[str | None, typer.Option(help="Name of the release; default: that of the recipe.")] = None,
    version: Version = "1.0.0",
    license: License = "MIT",
    authors: Authors = "",
    force: Force = False,
    tabulate: Annotated[float, typer.Option(help="Error bound of SchNet's filters in ONNX; 0: the networks.")] = 5e-6,
) -> None:
    """Turn a trained network into a release: every file is proved equal to it before it is written.

    Example: zoo export checkpoint=runs/schnet-qm9 authors="Ada Lovelace"
    """
    from zoo_export.release import export as write_release

    if tabulate < 0:
        raise UsageError(f"tabulate={tabulate} must be 0 or above; 5e-6 is what float32 allows.")
    words = _words(target), license, _words(authors)
    typer.echo(write_release(checkpoint, out, name, version, *words, force, tabulate).path)


def convert(
    model: Annotated[str, typer.Argument(help="best_model of SchNetPack 2.x, its run folder, or a state dictionary.")],
    name: Annotated[str, typer.Option(help="Name of the release, for example schnet-mydata.")],
    config: Annotated[str | None, typer.Option(help="SchNetPack's config.yaml; default: beside the model.")] = None,
    species: Annotated[str, typer.Option(help="Elements it knows, H,C,...; default: with atomic references.")] = "",
    energy_unit: Annotated[str | None, typer.Option(help="Of its energies; default: as config.yaml says.")] = None,
    length_unit: Annotated[str | None, typer.Option(help="Of its distances; default: config.yaml's, or Å.")] = None,
    periodic: Annotated[bool, typer.Option("--periodic", help="It was trained on periodic systems.")] = False,
    level_of_theory: Annotated[str, typer.Option(help="Of the data it was trained on.")] = "",
    target: Target = TARGETS,
    out: Out = "releases",
    version: Version = "1.0.0",
    license: License = "LicenseRef-unknown",
    authors: Authors = "",
    force: Force = False,
) -> None:
    """Turn a SchNet of SchNetPack 2.x into a release with the same numbers. No code of the file is run.

    Example: zoo convert best_model name=schnet-mydata
    """
    from zoo_export.convert import convert as write_release

    release = write_release(
        model,
        name,
        config=config,
        species=_words(species),
        energy_unit=energy_unit,
        length_unit=length_unit,
        periodic=periodic,
        level_of_theory=level_of_theory,
        out=out,
        version=version,
        targets=_words(target),
        license=license,
        authors=_words(authors),
        force=force,
    )
    typer.echo(release.path)


def matrix(
    model: Annotated[str, typer.Argument(help="Name or folder of a release with energy and forces.")],
    backend: Annotated[str, typer.Option(help="Backends, by commas; aoti compiles for minutes.")] = (
        "native,onnx,torchscript"
    ),
    trust: Annotated[bool, typer.Option("--trust", help="Run the code in this release (TorchScript) too.")] = False,
    small: Annotated[bool, typer.Option("--small", help="Leave out the shape of 20,000 atoms.")] = False,
) -> None:
    """Compare every backend in every precision with the float64 network, on shapes that break careless code.

    Example: zoo matrix schnet-qm9 small=true
    """
    from dataclasses import replace

    from zoo_export.matrix import FLOAT32, FLOAT64
    from zoo_export.matrix import matrix as compute
    from zoo_registry.store import resolve
    from zoo_runtime import keys
    from zoo_runtime.table import print_rows

    release = resolve(model, None)
    if keys.FORCES not in release.metadata.outputs:
        raise UsageError(f"{release} has no energy and forces to compare; give another model.")
    release = replace(release, trusted=release.trusted or trust)
    rows = list(compute(release, list(_words(backend)), with_large=not small))
    print_rows(["|dE|/atom |dF|", *(cell.column for cell in rows[0])], [[r[0].shape, *map(str, r)] for r in rows])
    worst = [
        f"{max(c.energy for c in column):.1e} {max(c.forces for c in column):.1e}" for column in zip(*rows, strict=True)
    ]
    typer.echo("largest: " + "; ".join(f"{c.column} {w}" for c, w in zip(rows[0], worst, strict=True)))
    typer.echo(
        f"eV/atom and eV/Å, from the float64 network of {release}; accepted: float32 and tables "
        f"{FLOAT32[0]:g} {FLOAT32[1]:g}, float64 {FLOAT64[0]:g} {FLOAT64[1]:g}"
    )
    if failed := [cell for row in rows for cell in row if not cell.passed]:
        found = ", ".join(f"{c.column} on {c.shape}" for c in failed)
        raise ReleaseInvalid(f"{release}: {found} deviate more than is accepted; report it.")


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
