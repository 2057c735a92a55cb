"""``zoo verify``: the files of a release, its signature, the numbers that it promises, and the physics it must obey."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo_registry.errors import ReleaseInvalid, UsageError, close_matches
from zoo_runtime.commands.options import Hub, Name

if TYPE_CHECKING:
    from zoo_registry.release import Release


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify")(verify)


def verify(
    model: Name,
    hub: Hub = None,
    backend: Annotated[str, typer.Option(help="Backends, separated by commas; all: those here but aoti.")] = "all",
    quick: Annotated[bool, typer.Option("--quick", help="Files, signature and golden numbers only.")] = False,
    signature: Annotated[bool, typer.Option("--signature", help="It must be signed by a key that you trust.")] = False,
    key: Annotated[Path | None, typer.Option(help="It must be signed by this public key (PEM).")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Run the code in this release (TorchScript) too.")] = False,
    output: Annotated[Path | None, typer.Option(help="Write the report here too, as verification.json.")] = None,
) -> None:
    """Check every file of a release, its signature if asked, its golden numbers, and the physics that it must obey.

    Example: zoo verify schnet-qm9 backend=native
    """
    from dataclasses import replace

    from zoo_registry.signing import check_signature, trusted_keys
    from zoo_registry.store import resolve
    from zoo_runtime.table import print_rows
    from zoo_runtime.verification.report import TITLES
    from zoo_runtime.verification.suite import verify as verify_release

    if output and quick:
        raise UsageError("quick=true makes no report; leave out output= or quick=true.")
    if output and not output.parent.is_dir():
        raise UsageError(f"output={output}: there is no folder {output.parent}; make it, or choose another.")
    names = _backends(backend)
    release = resolve(model, hub)
    typer.echo(f"{release}: every file has the size and sha256 of its manifest")
    if signature or key:
        typer.echo(f"signature: by {check_signature(release, [key] if key else trusted_keys())}")
    release = replace(release, trusted=release.trusted or trust)
    for line in check_golden(release, names):
        typer.echo(line)
    if quick:
        return
    report = verify_release(release, names)
    print_rows(TITLES, report.rows())
    for name, reason in report.left_out.items():
        typer.echo(f"{name}: not checked: {reason}")
    if output:
        report.write(output)
    if report.failed:
        raise ReleaseInvalid(f"{release}: {'; '.join(map(str, report.failed))}. Do not use it here, and report it.")
    typer.echo(f"{release}: all {len(report.checks)} checks passed")


def _backends(words: str) -> list[str]:
    from zoo_runtime.backends import ASKED, BACKENDS

    if words == "all":
        return [name for name in BACKENDS if name not in ASKED]
    names = [word.strip() for word in words.split(",")]
    for name in names:
        if name not in BACKENDS:
            raise UsageError(f"backend={name!r} is unknown{close_matches(name, ['all', *BACKENDS])}")
    return names


def check_golden(release: Release, backends: list[str] | None = None) -> Iterator[str]:
    """Compute the golden structures on every backend that is here and compare.

    Args:
        release: An open release.
        backends: Names of the backends; default all but those that compile for minutes.

    Yields:
        One line a backend: how far it is from the golden numbers at most, or why it was not asked.

    Raises:
        ReleaseInvalid: No golden numbers, no backend that can run them, or one that does not reproduce them.
    """
    from zoo_runtime.backends import BackendUnavailable, choose
    from zoo_runtime.verification.golden import GOLDEN, golden_deviations, read_golden
    from zoo_runtime.verification.subject import Subject, unit

    metadata = release.metadata
    tolerance = metadata.tolerance
    structures = read_golden(release)
    if not {"energy", "forces"} <= tolerance.keys():
        raise ReleaseInvalid(f"{release} states no tolerance for energy and forces; export it again.")
    ran = False
    for name in _backends("all") if backends is None else backends:
        try:
            subject = Subject(choose(release, name, device="cpu"), metadata, metadata.dtype)
        except BackendUnavailable as error:
            yield f"{name}: not checked: {error}"
            continue
        worst = golden_deviations(subject, structures)
        told = ", ".join(f"{key} {value:.2g} {unit(metadata, key)}" for key, value in worst.items())
        for key, value in worst.items():
            allowed = tolerance.get(key, tolerance["forces"])
            if not value <= allowed:
                raise ReleaseInvalid(
                    f"{release} on {name}: {key} is {value:.3g} {unit(metadata, key)} from {GOLDEN}, at most "
                    f"{allowed:g} is promised; do not use it here, and report it."
                )
        ran = True
        yield f"{name}: {len(structures)} golden structures reproduced, off by at most {told}"
    if not ran:
        raise ReleaseInvalid(f"{release}: no backend here can run it, so its numbers were not checked.")
