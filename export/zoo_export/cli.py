"""``zoo export``."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to the ``zoo`` command line."""

    @app.command()
    def export(
        checkpoint: Annotated[str, typer.Option(help="Run folder of zoo train, or a .ckpt file in it.")],
        target: Annotated[str, typer.Option(help="Formats, separated by commas.")] = "safetensors,onnx,torchscript",
        out: Annotated[str, typer.Option(help="Releases go to OUT/NAME/VERSION.")] = "releases",
        name: Annotated[str | None, typer.Option(help="Name of the release; default: that of the recipe.")] = None,
        version: Annotated[str, typer.Option(help="Its version; a version never changes.")] = "1.0.0",
        license: Annotated[str, typer.Option(help="SPDX identifier for the weights.")] = "MIT",
        authors: Annotated[str, typer.Option(help="Names, separated by commas.")] = "",
    ) -> None:
        """Turn a trained network into a release: every file is proved equal to it before it is written."""
        from zoo_export.release import export as write_release

        people = tuple(author.strip() for author in authors.split(",") if author.strip())
        targets = tuple(part.strip() for part in target.split(","))
        typer.echo(write_release(checkpoint, out, name, version, targets, license, people).path)
