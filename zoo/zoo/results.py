"""The table of our results beside published ones, as Markdown and as a picture."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from zoo_registry.errors import DataError, UsageError
from zoo_registry.files import replacing
from zoo_registry.release import open_release
from zoo_registry.store import BUNDLED
from zoo_registry.units import convert
from zoo_registry.versions import newest, versions_in

HEAD = """# Results

Errors of our models on data that they were not trained on, beside published ones. `zoo benchmark-table` writes this
page from the metadata of the bundled releases, from `docs/runs.yaml` (runs that are no releases, if there are any) and
from `zoo/zoo/published.yaml`, where every published number has its source. `zoo evaluate model=NAME` measures ours
again from the released file.

Published errors were measured on other random splits, often with larger networks and far longer training; each list
says what differs. A dash stands for what was not measured or not published.

![Errors of our models (orange) and published ones (blue)](results.png)
"""


@dataclass(frozen=True)
class Entry:
    """Errors of one network.

    Attributes:
        method: Its name.
        training: Data set, targets, split and so on, as ``training`` in the metadata of a release.
        metrics: ``"test/energy_mae"`` to ``{value, unit, n}``.
        note: What it is.
    """

    method: str
    training: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, Any]]
    note: str


def bundled(folder: Path = BUNDLED) -> list[Entry]:
    """Return the newest version of every release of a folder, sorted by name."""
    entries = []
    for name, versions in sorted(versions_in(folder).items()):
        metadata = open_release(folder / name / newest(versions)).metadata
        note = _describe(metadata.hyperparameters, metadata.training)
        entries.append(Entry(f"{metadata.name} {metadata.version}", metadata.training, metadata.metrics, note))
    return entries


def _describe(hyperparameters: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    network, split = hyperparameters["representation"], training["split"]
    kind = network["kind"]
    if kind == "schnet":
        kind = f"{network['features']} features, {network['interactions']} interactions"
    members = f"committee of {hyperparameters['committee']}, " if "committee" in hyperparameters else ""
    return (
        f"{members}{kind}, {network['cutoff']:g} Å; {split['train']:,} for training, {split['val']:,} for validation; "
        f"{training['epochs']} epochs in {training['training_seconds'] / 60:.0f} min on {training['hardware']}"
    )


def run_entry(folder: str | Path) -> dict[str, Any]:
    """Describe an evaluated run folder that is no release, as one item of the file that `read_runs` reads.

    Raises:
        ModelError: No run there.
        UsageError: It was not evaluated.
    """
    from zoo.train.checkpoint import load_checkpoint
    from zoo.train.weights import weights_sha256

    trained = load_checkpoint(folder)
    path = trained.folder / "evaluation.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if found.get("weights_sha256") != weights_sha256(trained.potential):
        raise UsageError(f"{folder} has no errors yet; run: zoo evaluate checkpoint={folder}")
    facts = trained.facts
    kept = {name: facts[name] for name in ("dataset", "split", "epochs", "training_seconds", "hardware")}
    return {
        "name": trained.recipe.name,
        "training": kept | {"recipe": {"data": {"targets": dict(trained.recipe.data.targets)}}},
        "metrics": found["metrics"],
        "note": _describe(trained.potential.hyperparameters, facts),
    }


def read_runs(path: Path) -> list[Entry]:
    """Read the results of runs that are no releases.

    Raises:
        DataError: Not such a file.
    """
    try:
        items = yaml.safe_load(path.read_text(encoding="utf-8")) or []
        return [Entry(item["name"], item["training"], item["metrics"], item["note"]) for item in items]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} is not a list of runs with name, training, metrics and note ({reason}).") from None


def add_run(folder: str | Path, path: Path) -> None:
    """Add an evaluated run to the file of runs, in place of one of the same name."""
    if path.exists():
        read_runs(path)  # refuses what is not such a file
    items = yaml.safe_load(path.read_text(encoding="utf-8")) or [] if path.exists() else []
    entry = run_entry(folder)
    items = [item for item in items if item["name"] != entry["name"]] + [entry]
    items.sort(key=lambda item: str(item["name"]))
    with replacing(path) as part:
        part.write_text(yaml.safe_dump(items, sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")


def published() -> list[dict[str, Any]]:
    """Return the published numbers; see ``published.yaml``."""
    text = resources.files("zoo").joinpath("published.yaml").read_text(encoding="utf-8")
    tables: list[dict[str, Any]] = yaml.safe_load(text)
    return tables


def measured(entry: Entry, columns: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return the errors of a network that belong into a table, in the units of its columns."""
    found = {}
    for label, column in columns.items():
        if entry.training["dataset"] != column["dataset"]:
            continue
        for output, target in entry.training["recipe"]["data"]["targets"].items():
            suffix = "_per_atom" if column.get("per_atom") else ""
            metric = entry.metrics.get(f"test/{output}{suffix}_mae")
            if target == column["target"] and metric is not None:
                found[label] = float(convert(metric["value"], metric["unit"], column["unit"]))
    return found


def quoted(row: Mapping[str, Any], columns: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return the errors of a published row in the units of the columns."""
    found = {}
    for label, value in row["values"].items():
        number, unit = str(value).split(maxsplit=1)
        found[label] = float(convert(float(number), unit, columns[label]["unit"]))
    return found


def markdown(entries: Sequence[Entry], runs: Sequence[Entry] = ()) -> str:
    """Return the page.

    Args:
        entries: The releases.
        runs: Runs that are no releases.
    """
    parts = [HEAD]
    for table in published():
        columns = table["columns"]
        ours = [(e, values) for e in (*entries, *runs) if (values := measured(e, columns))]
        rows = [(row, quoted(row, columns)) for row in table["published"]]
        used = [label for label in columns if any(label in values for _, values in ours)]
        parts.append(f"## {table['title']}\n\n{' '.join(table['about'].split())}\n")
        if not used:
            parts.append("Not trained yet.\n")
            continue
        header = ["", *(f"{label} [{columns[label]['unit']}]" for label in used)]
        lines = [header, ["---"] * len(header)]
        lines += [[entry.method, *(_cell(values, label, bold=True) for label in used)] for entry, values in ours]
        lines += [
            [row["method"], *(_cell(values, label) for label in used)]
            for row, values in rows
            if any(label in values for label in used)
        ]
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n")
        notes = [f"- {entry.method}: {entry.note}." for entry, _ in ours]
        notes += [f"- {row['method']}: {row['note']}; {row['source']}" for row, _ in rows]
        parts.append("\n".join(notes) + "\n")
        if "missing" in table:
            parts.append(" ".join(table["missing"].split()) + "\n")
    return "\n".join(parts)


def _cell(values: Mapping[str, float], label: str, bold: bool = False) -> str:
    if label not in values:
        return "–"
    text = f"{values[label]:.3g}"
    return f"**{text}**" if bold else text


def draw(entries: Iterable[Entry], path: Path) -> Path | None:
    """Draw each column of the tables in which ours stand beside published ones: errors of all methods as points.

    Args:
        entries: Releases and runs.
        path: The PNG file.
    """
    from zoo.train.figures import picture

    entries = list(entries)
    drawn: list[tuple[str, list[tuple[str, float, bool]]]] = []
    for table in published():
        columns = table["columns"]
        ours = [(entry.method, measured(entry, columns), True) for entry in entries]
        theirs = [(row["method"], quoted(row, columns), False) for row in table["published"]]
        for label, column in columns.items():
            points = [(name, values[label], mine) for name, values, mine in (*ours, *theirs) if label in values]
            if {mine for _, _, mine in points} == {True, False}:
                drawn.append((f"{table['title']}: {label} [{column['unit']}]", points))
    if not drawn:
        return None
    with picture(path, len(drawn)) as panels:
        for axes, (title, points) in zip(panels, drawn, strict=True):
            points.sort(key=lambda point: -point[1])
            for k, (_, value, mine) in enumerate(points):
                axes.plot([value], [k], "o", color="C1" if mine else "C0")
            axes.set_yticks(range(len(points)), [name for name, _, _ in points], fontsize=6)
            axes.set(xlim=(0, 1.08 * points[0][1]), ylim=(-0.5, len(points) - 0.5))
            axes.set_xlabel(title, fontsize=6, loc="right")
    return path
