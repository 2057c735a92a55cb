"""The model card: ``README.md`` with the front matter of Hugging Face, generated from metadata and report."""

from __future__ import annotations

from typing import Any

import yaml
from ase.data import chemical_symbols

from zoo_registry.metadata import Metadata
from zoo_registry.units import convert
from zoo_runtime import keys
from zoo_runtime.verification.report import TITLES, Report


def card(metadata: Metadata, report: Report, pictures: str | None = None, speed: str | None = None) -> str:
    """Return the card's text.

    Args:
        metadata: The metadata of the release.
        report: What the verification found.
        pictures: The part that shows pictures; see `zoo_export.figures.section`.
        speed: The part on speed; see `zoo_export.speed.section`.
    """
    parts = [
        _front_matter(metadata),
        f"# {metadata.name} {metadata.version}\n\n{metadata.description}.",
        _use(metadata),
        *([_errors(metadata)] if metadata.metrics else []),
        _calibration(metadata),
        pictures,
        *([_training(metadata)] if "recipe" in metadata.training else []),
        _limits(metadata),
        speed,
        _verification(report),
        _references(metadata),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(metadata: Metadata) -> str:
    dataset = metadata.training.get("dataset", "unknown")
    splits = dict.fromkeys(name.split("/")[0] for name in metadata.metrics)
    results = [
        {
            "task": {"type": "interatomic-potential"},
            "dataset": {"name": dataset, "type": dataset, "split": split},
            "metrics": [
                {"type": name.split("/")[1], "value": metric["value"], "name": f"{name} [{metric['unit']}]"}
                for name, metric in metadata.metrics.items()
                if name.split("/")[0] == split
            ],
        }
        for split in splits
    ]
    matter = {
        "license": metadata.license.lower(),
        "library_name": "atomzoo",
        "tags": ["interatomic-potential", "chemistry", metadata.architecture],
        "datasets": [dataset],
        "model-index": [{"name": metadata.name, "results": results}],
    }
    return f"---\n{yaml.safe_dump(matter, sort_keys=False, allow_unicode=True)}---"


def _use(metadata: Metadata) -> str:
    return (
        "```bash\n"
        'pip install "atomzoo[onnx]"\n'
        f"zoo predict model={metadata.label} molecule.xyz\n"
        "```\n\n"
        "Positions are in Å. It gives "
        + ", ".join(f"{name} [{facts['unit']}]" for name, facts in metadata.outputs.items())
        + "."
    )


def _errors(metadata: Metadata) -> str:
    rows = [
        [name, f"{metric['value']:.4g}", metric["unit"], _otherwise(metric), f"{metric['n']:,}"]
        for name, metric in metadata.metrics.items()
        if not _is_calibration(name)
    ]
    return (
        "## Errors\n\n"
        "Mean absolute (mae), root mean square (rmse) and largest (max) differences from the level of theory, on "
        "systems that were not trained on; of vectors those of the components. Samples are systems, of forces "
        "atoms.\n\n"
        + _table(["split/quantity", "value", "unit", "that is", "samples"], rows)
        + f"\n\nMeasured again from the released file by `zoo evaluate model={metadata.label} "
        "backend=native`."
    )


OTHERWISE = {
    "eV": "kcal/mol",
    "eV/atom": "kcal/mol/atom",
    "eV/Å": "kcal/mol/Å",
    "eV/Å³": "GPa",
    "eV/K": "cal/mol/K",
    "e·Å": "D",
    "Å³": "bohr^3",
    "Å²": "bohr^2",
}
"""The units in which others quote such errors."""


def _otherwise(metric: dict[str, Any]) -> str:
    unit = OTHERWISE.get(metric["unit"])
    return f"{convert(metric['value'], metric['unit'], unit):.3f} {unit}" if unit else ""


def _is_calibration(name: str) -> bool:
    return "spread" in name


def _calibration(metadata: Metadata) -> str | None:
    rows = [
        [name, f"{metric['value']:.3g}", metric["unit"] if metric["unit"] != "1" else "", f"{metric['n']:,}"]
        for name, metric in metadata.metrics.items()
        if _is_calibration(name)
    ]
    if not rows:
        return None
    return (
        "## Calibration of the spread\n\n"
        "The spread of the committee, as a sign of its error: its root mean square; the root mean square error divided "
        "by that (1 for a spread of the right size, more where it is too small); the rank correlation of the two (1 "
        "where the spread sorts the errors, 0 where it says nothing of them); and the share of errors below the spread "
        "(for normal errors of a right spread 0.68, of forces, whose lengths are compared, 0.61).\n\n"
        + _table(["split/quantity", "value", "unit", "samples"], rows)
    )


def _training(metadata: Metadata) -> str:
    training = metadata.training
    source = training["dataset_facts"]
    recipe = training["recipe"]
    split = training["split"]
    rows = [
        [
            "data set",
            f"{training['dataset']}, {source['systems']:,} systems, {', '.join(metadata.references['dataset'])}",
        ],
        *([["what they are", source["description"]]] if source.get("description") else []),
        ["licence of the data", source.get("license", "unknown")],
        ["licence of the weights", metadata.license],
        ["level of theory", metadata.level_of_theory],
        [
            "split",
            f"{split['train']:,} training, {split['val']:,} validation, {split['test']:,} test; seed {split['seed']}, "
            f"sha256 of the indices {split['sha256'][:16]}…",
        ],
        ["targets", ", ".join(f"{output} = {name}" for output, name in recipe["data"]["targets"].items())],
        *([["started from", _start(training["init"])]] if "init" in training else []),
        *([["committee", _members(training["members"])]] if "members" in training else []),
        ["network", _network(metadata.hyperparameters)],
        ["epochs", f"{training['epochs']} of {recipe['trainer']['max_epochs']} planned"],
        ["training time", f"{training['training_seconds'] / 60:.0f} min on {training['hardware']}"],
        ["made again by", f"`{training['command']}`"],
    ]
    return "## Training\n\n" + _table(["", ""], rows)


def _network(hyperparameters: dict[str, Any]) -> str:
    heads = ", ".join(head.get("kind", name) for name, head in hyperparameters["heads"].items())
    settings = {k: v for k, v in hyperparameters["representation"].items() if k not in ("kind", "species")}
    written = ", ".join(f"{name} {value}" for name, value in settings.items())
    return f"{hyperparameters['representation']['kind']} ({written}); {heads}"


def _start(init: dict[str, Any]) -> str:
    version = f"@{init['version']}" if init["version"] else ""
    return f"{init['name']}{version}, sha256 of the weights {init['weights_sha256'][:16]}…; references fitted anew"


def _members(members: list[dict[str, Any]]) -> str:
    return f"{len(members)} networks, seeds {', '.join(str(member['seed']) for member in members)}; one split"


def _limits(metadata: Metadata) -> str:
    elements = ", ".join(chemical_symbols[z] for z in metadata.species)
    domain = metadata.domain
    lines = [
        f"- Elements: {elements}; any other is refused.",
        f"- Charge {metadata.charge}, spin multiplicity {metadata.spin_multiplicity}; any other is refused.",
    ]
    if domain:
        lines += [
            f"- Trained on systems of {domain['smallest_system']} to {domain['largest_system']} atoms; "
            "larger ones are an extrapolation.",
            *_ranges(domain),
            "- Shortest distances in the training set (Å): "
            + ", ".join(f"{pair} {distance:.2f}" for pair, distance in domain["shortest_distance"].items())
            + ".",
        ]
    else:
        lines.append("- What it was trained on is not known here, so nothing warns of extrapolations.")
    lines.append(
        "- Backends were compared near the training data; far outside of it, in dense crystals for example, the "
        "rounding of float32 is amplified to 1e-4 eV/atom and more. `dtype=float64` avoids that."
    )
    reach = f"{metadata.interaction_range:g} Å"
    lines.append(
        f"- Atoms further than {reach} apart know nothing of each other: no long-range forces, no dispersion beyond."
    )
    if domain and domain["smallest_system"] == domain["largest_system"]:
        lines.append("- All systems of the training have the same size; other substances than these were never seen.")
    if domain and not metadata.periodic:
        lines.append("- Trained on molecules without periodic boundaries; periodic systems are an extrapolation.")
    trained_on = metadata.training.get("recipe", {}).get("data", {}).get("targets", {keys.FORCES: None})
    if keys.FORCES in metadata.outputs and keys.FORCES not in trained_on:
        measured = metadata.metrics.get("test/forces_rmse")
        lines.append(
            "- **Trained without forces.** Forces and stress are exact derivatives of the energy, but poor: "
            + (
                f"on relaxed test structures, where they should vanish, their components have an RMSE of "
                f"{measured['value']:.2g} {measured['unit']}. Do not use this model for relaxations or dynamics."
                if measured
                else "how far they are from the level of theory was not measured."
            )
        )
    if keys.DIPOLE_MAGNITUDE in trained_on and keys.DIPOLE not in trained_on:
        lines.append(
            "- **Trained on magnitudes of dipoles alone.** The direction of a dipole, and how it changes when atoms "
            "move, were compared with nothing: infrared intensities from it are no better than a guess."
        )
    return "## Domain and limits\n\n" + "\n".join(lines)


def _ranges(domain: dict[str, Any]) -> list[str]:
    ranges = domain.get("range", {}).items()
    return [f"- {name} in training: {r['min']:.6g} to {r['max']:.6g} {r['unit']}." for name, r in ranges]


def _verification(report: Report) -> str:
    lines = [
        f"{len(report.checks)} checks, {len(report.failed)} failed; the first have the names that OpenKIM gives them."
    ]
    if report.failed:
        names = ", ".join(check.name for check in report.failed)
        lines.append(f"**This release was written by force: {names} failed. Do not rely on it.**")
    lines.append(_table(TITLES, [[f"**{cell}**" if cell == "FAIL" else cell for cell in row] for row in report.rows()]))
    lines += [f"Not checked: {name} ({reason})." for name, reason in report.left_out.items()]
    return "## Verification\n\n" + "\n\n".join(lines)


def _references(metadata: Metadata) -> str:
    lines = [f"- {kind}: {', '.join(links)}" for kind, links in metadata.references.items() if links]
    return "## References\n\n" + "\n".join(lines)


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
