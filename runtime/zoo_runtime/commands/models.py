"""``zoo list``, ``zoo search``, ``zoo info`` and ``zoo pull``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo_registry.errors import UsageError, ZooError
from zoo_runtime.commands.options import Hub, Name

if TYPE_CHECKING:
    from zoo_registry.install import Progress
    from zoo_registry.listing import Entry
    from zoo_registry.release import Release


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("list")(list_models)
    app.command("search")(search)
    app.command("info")(info)
    app.command("pull")(pull)


def list_models(
    hub: Hub = None,
    remote: Annotated[bool, typer.Option("--remote", help="Only what the hub has.")] = False,
) -> None:
    """List the models of this machine and of a hub, with their test errors.

    Example: zoo list hub=hf://owner/repo
    """
    from zoo_registry.listing import list_releases

    entries = list_releases(hub, remote)
    if not entries:
        typer.echo("No models here; name a hub with hub=LOCATION or $ZOO_HUB.", err=True)
        return
    _print_entries(entries)


def search(
    element: Annotated[str, typer.Option(help="Elements that it must know, for example Si,O.")] = "",
    property: Annotated[str, typer.Option(help="What it must predict, for example forces,stress.")] = "",
    architecture: Annotated[str, typer.Option(help="For example schnet.")] = "",
    hub: Hub = None,
) -> None:
    """Find models by element, property and architecture, here and on a hub: zoo search element=Si property=forces."""
    from ase.data import atomic_numbers

    from zoo_registry.listing import list_releases

    symbols, properties = _words(element), _words(property)
    if unknown := [symbol for symbol in symbols if symbol not in atomic_numbers]:
        raise UsageError(f"element={element}: {unknown[0]!r} is no element; write symbols such as Si,O.")
    wanted = {atomic_numbers[symbol] for symbol in symbols}
    found = [
        entry
        for entry in list_releases(hub)
        if (data := entry.metadata)
        and wanted <= set(data.species)
        and set(properties) <= data.outputs.keys()
        and architecture in ("", data.architecture)
    ]
    if not found:
        typer.echo("No model fits; look on another hub with hub=LOCATION.", err=True)
        raise typer.Exit(1)
    _print_entries(found)


def info(
    model: Name,
    hub: Hub = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print zoo.json as it is.")] = False,
    card: Annotated[bool, typer.Option("--card", help="Show the model card.")] = False,
) -> None:
    """Show what a model is, what it was trained on, how good it is and what would run it here.

    Example: zoo info schnet-qm9
    """
    from zoo_registry.release import METADATA
    from zoo_registry.store import resolve

    release = resolve(model, hub)
    if card:
        _print_card(release.file("README.md").read_text(encoding="utf-8", errors="replace"))
    elif as_json:
        typer.echo(release.file(METADATA).read_text(encoding="utf-8"), nl=False)
    else:
        for title, text in _facts(release):
            for line in _printable(text).splitlines() or ["-"]:
                typer.echo(f"{title:<18}{line}")
                title = ""


def pull(
    model: Annotated[str, typer.Argument(help="name, name@version or hf://owner/repo[@version].")] = "",
    hub: Hub = None,
    locked: Annotated[bool, typer.Option("--locked", help="Exactly what the lock file says.")] = False,
    lock: Annotated[Path, typer.Option(help="The lock file.")] = Path("zoo.lock"),
) -> None:
    """Fetch a model from a hub into the cache, verified, and print where it is.

    Example: zoo pull hf://owner/repo@1.0.0
    """
    from zoo_registry.lock import read_lock
    from zoo_registry.store import pull as pull_release
    from zoo_registry.store import pull_locked

    if locked == bool(model):
        raise UsageError("zoo pull takes MODEL, or --locked and no MODEL.")
    if not locked:
        with progress_bar(model) as progress:
            release = pull_release(model, hub, progress=progress)
        typer.echo(release.path)
        return
    for line in read_lock(lock):
        with progress_bar(f"{line.name}@{line.version}") as progress:
            release = pull_locked(line, hub, progress)
        typer.echo(release.path)


@contextmanager
def progress_bar(title: str) -> Iterator[Progress | None]:
    """Show how far a copy is, on a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print_entries(entries: list[Entry]) -> None:
    from zoo_runtime.table import print_rows

    rows = [[e.name, e.version, e.where, _error(e), e.description] for e in entries]
    print_rows(
        ["name", "version", "where", "test error", "description"], [[_printable(cell) for cell in row] for row in rows]
    )


def _print_card(text: str) -> None:
    """Show a card without its front matter; laid out on a terminal, whose control characters are taken out."""
    body = _printable(re.sub(r"\A---\n.*?\n---\n+", "", text, flags=re.DOTALL))
    if not sys.stdout.isatty():
        typer.echo(body, nl=False)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(body, hyperlinks=False))


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable() or character == "\n")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _facts(release: Release) -> list[tuple[str, str]]:
    from ase.data import chemical_symbols

    data = release.metadata
    kind = "molecules and periodic systems" if data.periodic else "molecules"
    return [
        ("model", f"{release}: {data.description}"),
        ("architecture", data.architecture),
        ("elements", " ".join(chemical_symbols[z] for z in data.species)),
        (
            "trained on",
            f"{data.training.get('dataset', '?')}: {kind}, charge {data.charge}, multiplicity {data.spin_multiplicity}",
        ),
        ("level of theory", data.level_of_theory),
        ("predicts", "\n".join(f"{name} ({facts['unit']})" for name, facts in data.outputs.items())),
        ("test errors", "\n".join(_metric(name, metric) for name, metric in data.metrics.items())),
        ("cutoff", f"{data.cutoff:g} Å; an atom sees {data.interaction_range:g} Å far"),
        ("precision", data.dtype),
        ("licence", f"{data.license} (weights), {data.training.get('dataset_facts', {}).get('license', '?')} (data)"),
        ("made by", _provenance(release)),
        ("references", "\n".join(doi for dois in data.references.values() for doi in dois)),
        ("runs here on", _backend(release)),
        ("folder", str(release.path)),
        ("files", "\n".join(f"{p.stat().st_size:>12,} bytes  {p.name}" for p in sorted(release.path.iterdir()))),
    ]


def _backend(release: Release) -> str:
    from zoo_runtime.backends import BACKENDS, choose

    try:
        chosen = choose(release)
    except ZooError as error:
        return str(error)
    return f"{chosen.name} ({chosen.description}): the first that can, of {', '.join(BACKENDS)}"


def _provenance(release: Release) -> str:
    facts = release.metadata.provenance
    versions = [f"{name} {facts[name]}" for name in ("torch", "python") if name in facts]
    made = [f"atomzoo {facts.get('package_version', '?')}", *versions, f"commit {facts.get('git_commit') or '?'}"]
    return ", ".join(made)


def _metric(name: str, metric: dict) -> str:
    number = f" (n = {metric['n']:,})" if "n" in metric else ""
    return f"{name} {metric['value']:.4g} {metric['unit']}{number}"


def _error(entry: Entry) -> str:
    metrics = entry.metrics
    crystals = entry.metadata is not None and entry.metadata.periodic
    preferred = ("test/energy_per_atom_mae",) * crystals + ("test/energy_mae", "test/U0_mae")
    first = next((name for name in (*preferred, *metrics) if name in metrics), None)
    return _metric(first.removeprefix("test/"), metrics[first]) if first else "-"
