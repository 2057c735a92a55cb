"""The model card: ``README.md`` with the front matter of Hugging Face, generated from metadata and report."""

from __future__ import annotations

from typing import Any

import yaml
from ase.data import chemical_symbols

from zoo_export.checks import Check
from zoo_registry.metadata import Metadata
from zoo_registry.units import convert
from zoo_runtime import keys


def card(metadata: Metadata, checks: list[Check]) -> str:
    """Return the card's text.

    Args:
        metadata: The metadata of the release.
        checks: What the verification found.
    """
    parts = [
        _front_matter(metadata),
        f"# {metadata.name} {metadata.version}\n\n{metadata.description}.",
        _use(metadata),
        _errors(metadata),
        _training(metadata),
        _limits(metadata),
        _verification(checks),
        _references(metadata),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(metadata: Metadata) -> str:
    dataset = metadata.training["dataset"]
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
        f"zoo predict model={metadata.name}@{metadata.version} molecule.xyz\n"
        "```\n\n"
        "Positions are in Å. It gives "
        + ", ".join(f"{name} [{facts['unit']}]" for name, facts in metadata.outputs.items())
        + "."
    )


def _errors(metadata: Metadata) -> str:
    rows = [
        [name, f"{metric['value']:.4g}", metric["unit"], _in_kcal(metric), f"{metric['n']:,}"]
        for name, metric in metadata.metrics.items()
    ]
    return "## Errors\n\n" + _table(["split/quantity", "value", "unit", "in kcal/mol", "samples"], rows)


def _in_kcal(metric: dict[str, Any]) -> str:
    return f"{convert(metric['value'], 'eV', 'kcal/mol'):.3f}" if metric["unit"] == "eV" else ""


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
        ["licence of the data", source.get("license", "unknown")],
        ["level of theory", metadata.level_of_theory],
        [
            "split",
            f"{split['train']:,} training, {split['val']:,} validation, {split['test']:,} test; seed {split['seed']}, "
            f"sha256 of the indices {split['sha256'][:16]}…",
        ],
        ["targets", ", ".join(f"{output} = {name}" for output, name in recipe["data"]["targets"].items())],
        ["epochs", f"{training['epochs']} of {recipe['trainer']['max_epochs']} planned"],
        ["training time", f"{training['training_seconds'] / 60:.0f} min on {training['hardware']}"],
        ["made again by", f"`{training['command']}`"],
    ]
    return "## Training\n\n" + _table(["", ""], rows)


def _limits(metadata: Metadata) -> str:
    elements = ", ".join(chemical_symbols[z] for z in metadata.species)
    domain = metadata.domain
    lines = [
        f"- Elements: {elements}; any other is refused.",
        f"- Charge {metadata.charge}, spin multiplicity {metadata.spin_multiplicity}; any other is refused.",
        f"- Trained on systems of {domain['smallest_system']} to {domain['largest_system']} atoms; "
        "larger ones are an extrapolation.",
        "- Shortest distances in the training set (Å): "
        + ", ".join(f"{pair} {distance:.2f}" for pair, distance in domain["shortest_distance"].items())
        + ".",
    ]
    lines.append(
        "- Backends were compared near the training data; far outside of it, in dense crystals for example, the "
        "rounding of float32 is amplified to 1e-4 eV/atom and more. `dtype=float64` avoids that."
    )
    if not metadata.periodic:
        lines.append("- Trained on molecules without periodic boundaries; periodic systems are an extrapolation.")
    trained_on = metadata.training["recipe"]["data"]["targets"].keys()
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
    return "## Domain and limits\n\n" + "\n".join(lines)


def _verification(checks: list[Check]) -> str:
    rows = [
        [
            check.name,
            "pass" if check.passed else "**FAIL**",
            f"{check.value:.1e}",
            f"{check.tolerance:.0e}",
            check.unit,
        ]
        for check in checks
    ]
    return "## Verification\n\n" + _table(["check", "result", "largest deviation", "tolerance", "unit"], rows)


def _references(metadata: Metadata) -> str:
    lines = [f"- {kind}: {', '.join(links)}" for kind, links in metadata.references.items() if links]
    return "## References\n\n" + "\n".join(lines)


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
