"""From a SchNet of SchNetPack 2.x to a release with the same numbers.

SchNetPack: https://doi.org/10.1063/5.0138367.
"""

from __future__ import annotations

import hashlib
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from ase.data import chemical_symbols
from torch import Tensor

import zoo_registry
from zoo.models import Potential, build
from zoo.train.weights import weights_sha256
from zoo_export.convert_read import Source, read
from zoo_export.describe import ARCHITECTURES, INPUTS
from zoo_export.release import check_free, make_release
from zoo_export.targets import DEFAULT
from zoo_registry.errors import ReleaseInvalid, UsageError
from zoo_registry.metadata import Metadata
from zoo_registry.release import Release
from zoo_registry.units import convert as convert_unit
from zoo_runtime import keys
from zoo_runtime.verification.suite import ENERGY_TOLERANCE, FORCES_TOLERANCE

HEAD = "energy"
ACTIVATIONS = {"shifted_softplus": "ssp", "silu": "silu", "SiLU": "silu"}
HARMLESS = {"CastTo32", "CastTo64", "CastMap"}
"""Postprocessors that change no number: references and sums are float64 here anyway."""
UNITS = {"Ang": "angstrom", "Angs": "angstrom", "Angstrom": "angstrom", "A": "angstrom", "Bohr": "bohr"}
"""Units that have other names in SchNetPack."""


def convert(
    model: str | Path,
    name: str,
    config: str | Path | None = None,
    species: tuple[str, ...] = (),
    energy_unit: str | None = None,
    length_unit: str | None = None,
    periodic: bool = False,
    level_of_theory: str = "",
    out: str | Path = "releases",
    version: str = "1.0.0",
    targets: tuple[str, ...] = DEFAULT,
    license: str = "LicenseRef-unknown",
    authors: tuple[str, ...] = (),
    force: bool = False,
) -> Release:
    """Turn a model of SchNetPack into a release.

    Args:
        model: See `zoo_export.convert_read.read`.
        name: Name of the release.
        config: SchNetPack's ``config.yaml``.
        species: Symbols of the elements it was trained on; default those that have an atomic reference.
        energy_unit: Of its energies; default what the configuration says.
        length_unit: Of its distances; default what the configuration says, else Å.
        periodic: Whether it was trained on periodic systems.
        level_of_theory: Of its training data.
        out: The release goes to ``<out>/<name>/<version>``.
        version: Its version.
        targets: Which formats.
        license: SPDX identifier for the weights.
        authors: Who made it.
        force: Write it although a check failed.

    Raises:
        ModelNotFound: No such file.
        ReleaseInvalid: The file cannot be read.
        UsageError: Something in the model has no counterpart here, or must be told.
        ExportError: The release fails a check.
    """
    check_free(out, name, version, targets)
    path = Path(model)
    source = read(path, Path(config) if config else None)
    try:
        potential = network(source, _numbers(species), energy_unit, length_unit)
    except (KeyError, IndexError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ReleaseInvalid(
            f"{path}: tensors are missing, or are not those of its configuration ({reason})."
        ) from error
    file = path / "best_model" if path.is_dir() else path
    facts = {
        "converted_from": f"SchNetPack {source.version}",
        "source_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    described = _metadata(potential, name, version, license, list(authors), level_of_theory, periodic, facts)
    return make_release(potential, described, out, targets, force)


def network(
    source: Source, species: list[int], energy_unit: str | None = None, length_unit: str | None = None
) -> Potential:
    """Return the network with the weights of a SchNet of SchNetPack, which gives the same numbers in eV and Å.

    Args:
        source: The model as plain data.
        species: Atomic numbers that it knows; empty for those with an atomic reference.
        energy_unit: Of its energies; None for what the configuration says.
        length_unit: Of its distances; None for what the configuration says, else Å.

    Raises:
        UsageError: Something in it has no counterpart here, or must be told.
    """
    head = _supported(source)
    scale, mean, references = _offsets(source, str(head["output_key"]))
    species = species or sorted(references)
    if not species:
        raise UsageError("the file does not say which elements the model was trained on; add species=H,C,... as it is.")
    energy_unit = energy_unit or source.units.get("energy")
    if not energy_unit:
        raise UsageError("the file does not say in which unit its energies are; add energy_unit=eV, or kcal/mol, ...")
    energy = convert_unit(1.0, UNITS.get(energy_unit, energy_unit), "eV")
    length_unit = length_unit or source.units.get("length") or "angstrom"
    length = convert_unit(1.0, UNITS.get(length_unit, length_unit), "angstrom")
    weights = _renamed(source.tensors, species)
    weights["representation.centers"] = weights["representation.centers"] * length
    weights["representation.gamma"] = _gamma(source.tensors) / length**2
    layers = sorted(name for name in weights if name.startswith(f"heads.{HEAD}.network.") and name.endswith(".weight"))
    cutoff = float(source.tensors["representation.cutoff_fn.cutoff"])
    potential = build(
        {
            "representation": {
                "kind": "schnet",
                "species": species,
                "cutoff": cutoff * length if length != 1.0 else cutoff,
                "features": weights["representation.embedding.weight"].shape[1],
                "interactions": 1 + max(int(n.split(".")[2]) for n in weights if ".interactions." in n),
                "gaussians": len(weights["representation.centers"]),
            },
            "heads": {
                HEAD: {
                    "kind": "atomwise",
                    "hidden": [len(weights[name]) for name in layers[:-1]],
                    "activation": ACTIVATIONS[source.activations["head"]],
                }
            },
        }
    )
    block = potential.state_dict()
    block |= weights
    missing = [name for name in block if name not in weights and not name.startswith(f"heads.{HEAD}.")]
    if missing != ["species"]:
        raise ReleaseInvalid(f"the file lacks {', '.join(name for name in missing if name != 'species')}.")
    potential.load_state_dict({name: value.to(potential.state_dict()[name].dtype) for name, value in block.items()})
    shifted = {z: energy * references.get(z, 0.0) for z in species}
    potential.set_standardisation(HEAD, energy * mean, energy * scale, shifted)
    return potential.eval().requires_grad_(False)


def _supported(source: Source) -> dict[str, Any]:
    """Return the settings of the one energy head, or say what has no counterpart here."""
    for part, allowed in (
        ("representation", "SchNet"),
        ("radial_basis", "GaussianRBF"),
        ("cutoff_fn", "CosineCutoff"),
        ("embedding", "Embedding"),
    ):
        if source.kinds[part] != allowed:
            _refuse(f"its {part} is {source.kinds[part]}; {allowed} can be converted")
    if source.activations["representation"] != "shifted_softplus":
        _refuse(f"its SchNet has the activation {source.activations['representation']}, not shifted_softplus")
    if any(".electronic_embeddings." in name for name in source.tensors):
        _refuse("it embeds charge or spin")
    if foreign := [kind for kind in source.inputs if kind not in ("PairwiseDistances", "Strain")]:
        _refuse(f"it has the input module {foreign[0]}")
    heads = [settings for kind, settings in source.outputs if kind == "Atomwise"]
    if foreign := [kind for kind, _ in source.outputs if kind not in ("Atomwise", "Forces")]:
        _refuse(f"it has the output module {foreign[0]}")
    if len(heads) != 1 or heads[0].get("aggregation_mode") != "sum" or heads[0].get("n_out", 1) != 1:
        _refuse("it needs exactly one Atomwise module with one output that is a sum, the energy")
    if source.activations["head"] not in ACTIVATIONS:
        _refuse(f"its Atomwise has the activation {source.activations['head']}; allowed: {', '.join(ACTIVATIONS)}")
    return heads[0]


def _offsets(source: Source, key: str) -> tuple[float, float, dict[int, float]]:
    """Return scale, mean and references that the postprocessors make, in the order in which they come, in float64."""
    scale, mean, references = 1.0, 0.0, dict[int, float]()
    for index, (kind, settings) in enumerate(source.postprocessors):
        prefix = f"postprocessors.{index}."
        if kind in HARMLESS:
            continue
        target = settings.get("_property", settings.get("property", settings.get("input_key")))
        if kind == "AddOffsets" and target == key and settings.get("is_extensive", True):
            if settings.get("add_mean"):
                mean += float(source.tensors[prefix + "mean"].double())
            if settings.get("add_atomrefs"):
                table = source.tensors[prefix + "atomref"].double().flatten().tolist()
                references = {z: references.get(z, 0.0) + value for z, value in enumerate(table) if value}
        elif kind == "ScaleProperty" and target == key and (settings.get("output_key") or key) == key:
            factor = float(source.tensors[prefix + "scale"].double())
            scale, mean = factor * scale, factor * mean
            references = {z: factor * value for z, value in references.items()}
        else:
            _refuse(f"it has the postprocessor {kind} for {target}, which is not an extensive offset of {key}")
    return scale, mean, references


def _renamed(tensors: dict[str, Tensor], species: list[int]) -> dict[str, Tensor]:
    """Return the weights under our names; of the embedding the rows of the elements."""
    weights: dict[str, Tensor] = {}
    embedding = tensors.get("representation.embedding.weight", torch.empty(0, 0))
    if species[-1] >= len(embedding):
        raise UsageError(
            f"the model has {len(embedding)} elements at most, {chemical_symbols[species[-1]]} is not there."
        )
    weights["representation.embedding.weight"] = embedding[species]
    try:
        weights["representation.centers"] = tensors["representation.radial_basis.offsets"]
    except KeyError:
        raise ReleaseInvalid("the file has no representation.radial_basis.offsets; it is damaged.") from None
    for name, value in tensors.items():
        words = name.split(".")
        if words[:2] == ["representation", "interactions"]:
            layer, block, *rest = words[2:]
            ours = {"in2f": "in_features", "filter_network": "filter_network", "f2out": "out_network"}.get(block)
            if ours is None:
                _refuse(f"its interactions have {block}")
            inside = rest[-1] if block == "in2f" else f"{2 * int(rest[0])}.{rest[-1]}"
            weights[f"representation.interactions.{layer}.{ours}.{inside}"] = value
        elif words[0] == "output_modules" and words[2] == "outnet":
            weights[f"heads.{HEAD}.network.{2 * int(words[3])}.{words[-1]}"] = value
    features = embedding.shape[1]
    if weights["representation.interactions.0.in_features.weight"].shape != (features, features):
        _refuse("it has another number of filters than of features")
    return weights


def _gamma(tensors: dict[str, Tensor]) -> Tensor:
    widths = tensors["representation.radial_basis.widths"].double()
    if (widths - widths[0]).abs().max() > 1e-6 * widths[0]:
        _refuse("its Gaussians have different widths")
    return 0.5 / widths[0] ** 2


def _refuse(reason: str) -> None:
    raise UsageError(f"the model cannot be converted: {reason}.")


def _numbers(symbols: tuple[str, ...]) -> list[int]:
    unknown = [symbol for symbol in symbols if symbol not in chemical_symbols[1:]]
    if unknown:
        raise UsageError(f"species={','.join(symbols)}: {unknown[0]!r} is not an element; write for example H,C,N,O,F.")
    return sorted({chemical_symbols.index(symbol) for symbol in symbols})


def _metadata(
    potential: Potential,
    name: str,
    version: str,
    license: str,
    authors: list[str],
    level_of_theory: str,
    periodic: bool,
    facts: dict[str, Any],
) -> Metadata:
    species = potential.species.tolist()
    values = potential.heads[HEAD].get_buffer("reference").tolist()
    return Metadata(
        name=name,
        version=version,
        architecture="schnet",
        description=f"SchNet converted from {facts['converted_from']}",
        license=license,
        authors=authors,
        references={"architecture": [ARCHITECTURES["schnet"]], "implementation": ["https://doi.org/10.1063/5.0138367"]},
        species=species,
        inputs={key: value for key, value in INPUTS.items() if key != keys.TRIPLES},
        outputs=potential.outputs(),
        cutoff=potential.cutoff,
        interaction_range=potential.representation.interaction_range,
        neighbors={"full": True, "strict": True, "triples": False},
        periodic=periodic,
        dtype="float32",
        energy_reference={
            "kind": "converted",
            "unit": "eV",
            "values": {str(z): value for z, value in zip(species, values, strict=True)},
        },
        level_of_theory=level_of_theory,
        tolerance={"energy": ENERGY_TOLERANCE, "forces": FORCES_TOLERANCE},
        provenance={
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "package": "atomzoo",
            "package_version": zoo_registry.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "weights_sha256": weights_sha256(potential),
        }
        | facts,
        hyperparameters=potential.hyperparameters,
    )
