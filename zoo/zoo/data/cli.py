"""``zoo data prepare`` and ``zoo data info``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

data_app = typer.Typer(help="Benchmark data sets.", no_args_is_help=True)


def _names() -> list[str]:
    from zoo.data import DATASETS

    return list(DATASETS)


Name = Annotated[
    str,
    typer.Argument(
        metavar="DATASET", help="Name, such as qm9, or path of a file that ASE reads.", autocompletion=_names
    ),
]
Root = Annotated[Path, typer.Option(help="Folder of all data sets.")]


@data_app.command()
def prepare(
    name: Name,
    root: Root = Path("data"),
    source: Annotated[
        str | None, typer.Option(help="Take it from here, such as a downloaded file, instead of its address.")
    ] = None,
) -> None:
    """Download a data set, and make the cache that training reads (of QM9 also its ASE database).

    Example: zoo data prepare qm9
    """
    from zoo.data import dataset
    from zoo.data.cache import build_cache

    path = dataset(name).prepare(root, source)
    cache = build_cache(path)
    typer.echo(f"{path}: {len(cache)} systems, {cache.meta['atoms']} atoms; cache {cache.folder}")


@data_app.command()
def info(
    name: Name,
    root: Root = Path("data"),
    picture: Annotated[
        Path | None, typer.Option(help="Write histograms of a prepared data set into this PNG file.")
    ] = None,
) -> None:
    """Show what a data set is and, where it is prepared, what it holds: counts, elements, ranges.

    Example: zoo data info qm9
    """
    from zoo.data import dataset
    from zoo.data.summary import describe, draw, opened
    from zoo_registry.errors import DataError

    data = dataset(name)
    cache = opened(data.path(root))
    if picture is not None and cache is None:
        raise DataError(f"{name} is not prepared, so there is nothing to draw; zoo data prepare {name}")
    for key, value in describe(data, root, cache).items():
        typer.echo(f"{key}: {value}")
    if picture is not None and cache is not None:
        draw(cache, picture)
        typer.echo(f"picture: {picture}")
