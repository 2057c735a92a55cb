"""The commands of the training room: ``zoo train``, ``zoo evaluate`` and ``zoo data``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from zoo.data.cli import data_app
from zoo_registry.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the commands to the ``zoo`` command line; nothing heavy is imported until one of them runs."""
    settings = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command("train", context_settings=settings)(train)
    app.command("evaluate")(evaluate)
    app.add_typer(data_app, name="data")


def train(
    context: typer.Context,
    recipe: Annotated[str, typer.Option(help="Name of a packaged recipe, or path of a .yaml file.")],
    fresh: Annotated[bool, typer.Option(help="Insist on a new run folder.")] = False,
) -> None:
    """Train a model, or continue a run that was stopped: zoo train recipe=schnet-qm9 trainer.max_epochs=100."""
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
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the errors of a trained model on a part of its data set; those of a run folder are kept in it."""
    from zoo.train.evaluate import evaluate as run
    from zoo.train.evaluate import format_metrics

    if (checkpoint is None) == (model is None):
        raise UsageError("Give either checkpoint=FOLDER or model=NAME.")
    if model is not None:
        from zoo.train.released import evaluate_release

        metrics = evaluate_release(model, split, backend, device, root).metrics
    else:
        metrics = run(str(checkpoint), split, batch_size, device, root).metrics
    typer.echo(json.dumps(metrics) if as_json else "\n".join(format_metrics(metrics)))


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
