"""``zoo publish`` and ``zoo yank``."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from zoo_registry.errors import ReleaseInvalid
from zoo_runtime.commands.options import Hub

CARD = ("license", "library_name", "tags", "datasets", "model-index")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("publish")(publish)
    app.command("yank")(yank)


def publish(
    release: Annotated[Path, typer.Argument(help="Release folder, as zoo export wrote it.")],
    hub: Hub = None,
    sign: Annotated[Path | None, typer.Option(help="Sign it first with this private key (PEM).")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Run its TorchScript too when it is verified.")] = False,
) -> None:
    """Verify a release and put it on a hub, where this version of it then never changes.

    Example: zoo publish releases/my-model/1.0.0 hub=hf://owner/repo
    """
    from zoo_registry.release import open_release
    from zoo_registry.signing import sign as sign_release
    from zoo_registry.store import publish as publish_release
    from zoo_runtime.commands.verify import check_golden

    opened = replace(open_release(release), trusted=trust)
    _check_card(opened.file("README.md"))
    for line in check_golden(opened):
        typer.echo(line, err=True)
    if sign:
        sign_release(release, sign)
    typer.echo(f"{publish_release(release, hub)} is published")


def yank(
    model: Annotated[str, typer.Argument(help="name@version.")],
    reason: Annotated[str, typer.Option(help="What is wrong with it; whoever fetches it is told.")],
    hub: Hub = None,
) -> None:
    """Take a version back: its bytes stay, but only who names the version still gets it, with the reason.

    Example: zoo yank my-model@1.0.0 hub=hf://owner/repo reason="wrong unit"
    """
    from zoo_registry.store import yank as yank_release

    yank_release(model, reason, hub)
    typer.echo(f"{model} is yanked")


def _check_card(path: Path) -> None:
    front = re.match(rb"---\n(.*?\n)---\n", path.read_bytes(), re.DOTALL)
    keys = {line.partition(b":")[0].decode(errors="replace") for line in front[1].splitlines()} if front else set()
    if missing := [key for key in CARD if key not in keys]:
        raise ReleaseInvalid(f"{path} lacks {', '.join(missing)} in its front matter; export the release again.")
