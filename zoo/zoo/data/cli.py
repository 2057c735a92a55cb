"""``zoo data prepare`` and ``zoo data info``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

data_app = typer.Typer(help="Benchmark data sets.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="DATASET", help="Name, such as qm9, or path of an ASE database.")]
Root = Annotated[Path, typer.Option(help="Folder of all data sets.")]


@data_app.command()
def prepare(
    name: Name,
    root: Root = Path("data"),
    source: Annotated[
        str | None, typer.Option(help="Take it from here, such as a downloaded file, instead of its address.")
    ] = None,
) -> None:
    """Download a data set, and make its ASE database and the cache that training reads."""
    from zoo.data import dataset
    from zoo.data.cache import build_cache

    path = dataset(name).prepare(root, source)
    cache = build_cache(path)
    typer.echo(f"{path}: {len(cache)} systems, {cache.meta['atoms']} atoms; cache {cache.folder}")


@data_app.command()
def info(name: Name, root: Root = Path("data")) -> None:
    """Show what a data set is, its properties with units, and whether it is prepared."""
    from zoo.data import dataset

    data = dataset(name)
    path = data.path(root)
    lines = {
        "name": data.name,
        "description": data.description,
        "systems": data.systems,
        "level of theory": data.level_of_theory,
        "citation": data.citation,
        "license": data.license,
        "properties": ", ".join(
            f"{key} [{what.get('unit', '?')}]" for key, what in data.metadata().get("properties", {}).items()
        ),
        "source": data.sources,
        "database": str(path) if path.exists() else f"{path} (not prepared; zoo data prepare {name})",
    }
    for key, value in lines.items():
        if value:
            typer.echo(f"{key}: {value}")
