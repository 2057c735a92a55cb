"""The commands of the training room: ``zoo train``, ``zoo evaluate`` and ``zoo data``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from zoo.data.cli import data_app
from zoo_registry.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the commands to the ``zoo`` command line; nothing heavy is imported until one of them runs."""
    settings = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command("train", context_settings=settings)(train)
    app.command("evaluate")(evaluate)
    app.command("benchmark-table")(benchmark_table)
    app.add_typer(data_app, name="data")


def _recipes() -> list[str]:
    from zoo.train.recipe import list_recipes

    return list_recipes()


def train(
    context: typer.Context,
    recipe: Annotated[
        str, typer.Option(help="Name of a packaged recipe, or path of a .yaml file.", autocompletion=_recipes)
    ],
    fresh: Annotated[bool, typer.Option(help="Insist on a new run folder.")] = False,
) -> None:
    """Train a model, or continue a run that was stopped: zoo train recipe=schnet-qm9 trainer.max_epochs=100.

    Any key of the recipe can follow. init=MODEL starts from the weights of a release or of another run, ensemble=4
    trains a committee.
    """
    from zoo.train.device import rank
    from zoo.train.recipe import load_recipe
    from zoo.train.run import train as run

    folder = run(load_recipe(recipe, overrides(context.args)), fresh)
    if rank() == 0:
        typer.echo(folder)


def evaluate(
    checkpoint: Annotated[str | None, typer.Option(help="Run folder of zoo train, or a .ckpt file.")] = None,
    model: Annotated[str | None, typer.Option(help="Or name or path of a released model.")] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    batch_size: Annotated[int, typer.Option(help="Systems in a batch, of a checkpoint.")] = 1000,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    backend: Annotated[str, typer.Option(help="What runs a released model.")] = "auto",
    root: Annotated[str | None, typer.Option(help="Folder of the data sets; default as in training.")] = None,
    source: Annotated[str | None, typer.Option(help="Data of a released model, as data.source.")] = None,
    figures: Annotated[bool, typer.Option(help="Draw parity, errors and learning curve as PNG files.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the errors of a trained model on a part of its data set; those of a run folder are kept in it.

    Example: zoo evaluate checkpoint=runs/schnet-qm9
    """
    from zoo.train.errors import format_metrics
    from zoo.train.evaluate import evaluate as run

    if (checkpoint is None) == (model is None):
        raise UsageError("Give either checkpoint=FOLDER or model=NAME.")
    if model is not None:
        from zoo.train.released import evaluate_release

        found = evaluate_release(model, split, backend, device, root, source, figures=figures)
    else:
        found = run(str(checkpoint), split, batch_size, device, root, figures)
    typer.echo(json.dumps(found.metrics) if as_json else "\n".join(format_metrics(found.metrics)))
    for path in found.pictures:
        typer.echo(path, err=True)


def benchmark_table(
    out: Annotated[Path | None, typer.Option(help="Markdown file; its picture goes beside it. Default: print.")] = None,
    releases: Annotated[Path | None, typer.Option(help="Folder of releases; default those of the package.")] = None,
    runs: Annotated[Path | None, typer.Option(help="YAML file with results of runs that are no releases.")] = None,
    add: Annotated[Path | None, typer.Option(help="Evaluated run folder to add to runs= before.")] = None,
) -> None:
    """Write the table of our errors beside published ones: zoo benchmark-table out=docs/results.md."""
    from zoo import results

    if add is not None:
        if runs is None:
            raise UsageError("add=FOLDER needs runs=FILE, the file to add it to.")
        results.add_run(add, runs)
    entries = results.bundled(releases) if releases is not None else results.bundled()
    others = results.read_runs(runs) if runs is not None else []
    text = results.markdown(entries, others)
    if out is None:
        typer.echo(text, nl=False)
        return
    out.write_text(text, encoding="utf-8")
    typer.echo(out)
    if (picture := results.draw([*entries, *others], out.with_suffix(".png"))) is not None:
        typer.echo(picture)


def overrides(words: list[str]) -> dict[str, str]:
    """Read ``key=value``, ``--key=value`` and ``--key value``.

    Raises:
        UsageError: A word that is none of these.
    """
    settings, rest = {}, iter(words)
    for word in rest:
        key, equals, value = word.removeprefix("--").partition("=")
        if not equals and word.startswith("--"):
            value = next(rest, "")
        elif not equals:
            raise UsageError(f"{word!r} is not a setting; write key=value, for example trainer.max_epochs=100.")
        settings[key] = value
    return settings
