"""``zoo list``, ``zoo info`` and ``zoo pull``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from zoo_registry.errors import ZooError

if TYPE_CHECKING:
    from zoo_registry.release import Release

Hub = Annotated[str | None, typer.Option(help="Folder or file:// URL of a hub; default $ZOO_HUB.")]
Name = Annotated[str, typer.Argument(help="name, name@version, or the path of a release.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("list")(list_models)
    app.command("info")(info)
    app.command("pull")(pull)


def list_models(hub: Hub = None) -> None:
    """List the models of this machine and of a hub, with their test errors."""
    from zoo_registry.store import list_releases
    from zoo_runtime.table import print_rows

    entries = list_releases(hub)
    if not entries:
        typer.echo("No models here; name a hub with hub=FOLDER or $ZOO_HUB.", err=True)
        return
    rows = [[e.name, e.version, e.where, _error(e.metrics), e.description] for e in entries]
    print_rows(["name", "version", "where", "test error", "description"], rows)


def info(
    model: Name,
    hub: Hub = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print zoo.json as it is.")] = False,
) -> None:
    """Show what a model is, what it was trained on, how good it is and what would run it here."""
    from zoo_registry.release import METADATA
    from zoo_registry.store import resolve

    release = resolve(model, hub)
    if as_json:
        typer.echo(release.file(METADATA).read_text(encoding="utf-8"), nl=False)
        return
    for title, text in _facts(release):
        for line in text.splitlines() or ["-"]:
            typer.echo(f"{title:<18}{line}")
            title = ""


def pull(model: Name, hub: Hub = None) -> None:
    """Fetch a model from a hub into the cache, verified, and print where it is."""
    from zoo_registry.store import pull as pull_release

    typer.echo(pull_release(model, hub).path)


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
        ("licence", data.license),
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


def _metric(name: str, metric: dict) -> str:
    number = f" (n = {metric['n']:,})" if "n" in metric else ""
    return f"{name} {metric['value']:.4g} {metric['unit']}{number}"


def _error(metrics: dict[str, dict]) -> str:
    first = next((name for name in ("test/energy_mae", *metrics) if name in metrics), None)
    return _metric(first.removeprefix("test/"), metrics[first]) if first else "-"
