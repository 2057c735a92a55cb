"""``zoo lock``, ``zoo bundle``, ``zoo import`` and ``zoo cache``: the same models here, there and later."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo_registry.errors import ModelError
from zoo_runtime.commands.options import Hub

Models = Annotated[list[str], typer.Argument(help="name, name@version or hf://owner/repo[@version].")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("lock")(lock)
    app.command("bundle")(bundle)
    app.command("import")(import_bundle)
    app.command("cache")(cache)


def lock(
    models: Models,
    hub: Hub = None,
    output: Annotated[Path, typer.Option(help="The lock file; zoo pull --locked reads it.")] = Path("zoo.lock"),
) -> None:
    """Write down exactly which models an environment uses: version, commit and sha256 of every file.

    Example: zoo lock schnet-qm9 hf://owner/repo
    """
    from zoo_registry.lock import describe, write_lock
    from zoo_registry.store import hub_of, origin, resolve

    lines = []
    for model in models:
        release = resolve(model, hub)
        try:
            place, revision = origin(model, release, hub)
        except ModelError as error:
            typer.echo(f"zoo: {model}: its commit is not written down: {error}", err=True)
            place, revision = hub_of(model, release, hub), None
        lines.append(describe(release, place, revision))
        typer.echo(f"{release}  manifest sha256 {lines[-1].manifest}")
    write_lock(output, lines)


def bundle(
    models: Models,
    hub: Hub = None,
    output: Annotated[Path, typer.Option(help="The file to write.")] = Path("zoo-bundle.tar"),
) -> None:
    """Write models into one file, to be carried to a machine without network: zoo import FILE.

    Example: zoo bundle schnet-qm9 output=models.tar
    """
    from zoo_registry.archive import namespace_of, write_archive
    from zoo_registry.store import cache_folder, resolve

    releases = [resolve(model, hub) for model in models]
    write_archive(output, [(namespace_of(release, cache_folder()), release) for release in releases])
    typer.echo(output)


def import_bundle(
    file: Annotated[Path, typer.Argument(help="What zoo bundle wrote.", exists=True, dir_okay=False)],
) -> None:
    """Put the models of a bundle into the cache, each verified as if it came from a hub.

    Example: zoo import models.tar
    """
    from zoo_registry.archive import read_archive
    from zoo_registry.store import cache_folder

    for release in read_archive(file, cache_folder()):
        typer.echo(release.path)


def cache(
    prune: Annotated[bool, typer.Option("--prune", help="Remove all versions but the newest of each model.")] = False,
) -> None:
    """Show what is in the cache and how large it is.

    Example: zoo cache prune=true
    """
    from zoo_registry.cache import contents
    from zoo_registry.cache import prune as prune_cache
    from zoo_registry.store import cache_folder

    listed = prune_cache() if prune else contents()
    for release in listed:
        typer.echo(f"{release.size:>15,} bytes  {release.label}")
    total = sum(release.size for release in listed)
    typer.echo(f"{total:>15,} bytes  {'removed from' if prune else 'in'} {cache_folder()}")
