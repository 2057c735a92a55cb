"""Fine-tuning: the weights of another network as a start, and atomic references that fit the new data.

A network gives each atom ``σ · network(x_i) + reference(Z_i)``. Another level of theory shifts all energies by
thousands of eV, which is the part of the references, and bends the surface a little, which is the part of training. So
the references are fitted anew, by least squares of what the old network leaves over on the composition, and σ is
multiplied by the slope of the new labels on the old interaction energies, at equal composition. Elements that the new
data lack keep their references. Forces and barriers therefore begin as those of the old network, times the slope.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from ase.data import chemical_symbols
from safetensors.torch import load_file
from torch import Tensor, nn

from zoo.data.cache import Cache
from zoo.data.statistics import composition
from zoo.models import HEADS, REPRESENTATIONS, Potential, build
from zoo.models.committee import Committee
from zoo.models.heads import Atomwise
from zoo.models.layers import ElementalDense
from zoo.train.checkpoint import load_checkpoint
from zoo.train.recipe import Recipe
from zoo.train.weights import weights_sha256
from zoo_registry.errors import DataError, ReleaseInvalid, UsageError
from zoo_registry.release import METADATA
from zoo_registry.store import resolve

# Enough for a mean, a spread or a slope; all of a large set would take minutes.
DESCRIPTOR_SYSTEMS = 5000
SPARE = 10  # systems more than unknowns, before a slope is believed
SLOPES = (0.5, 2.0)


def initialise(potential: Potential, recipe: Recipe, cache: Cache, train: np.ndarray) -> dict[str, Any]:
    """Start from the weights that a recipe names in ``init``.

    Args:
        potential: The new network, changed in place.
        recipe: Its recipe.
        cache: The new data.
        train: ``[m]`` the training systems.

    Returns:
        ``init``, where the weights are from, and ``standardisation``, as facts of the run.

    Raises:
        ModelError: There is no such model, or it cannot be read.
        UsageError: It is of another shape.
    """
    source, facts = load_initial(str(recipe.init), recipe.seed)
    for line in transfer(source, potential):
        print(f"init={recipe.init}: {line}", file=sys.stderr)
    done = {}
    for head, name, target in fitted_heads(recipe, potential.outputs()):
        if head in source.heads:
            systems = labelled(recipe, name, cache, train)
            done[head] = refit(potential, head, name, target, cache, systems)
            done[head]["unit"] = cache.properties[target].unit
    return {"init": facts, "standardisation": done}


def load_initial(init: str, seed: int) -> tuple[Potential, dict[str, Any]]:
    """Return a network to start from, and what it is.

    Args:
        init: Name or path of a release, run folder, or checkpoint.
        seed: Of a committee of M it is member ``seed % M``, so that a committee can start from another one.

    Raises:
        ModelError: There is no such model, or it cannot be read.
    """
    path, facts = Path(init), dict[str, Any]()
    if path.exists() and not (path / METADATA).is_file():
        trained = load_checkpoint(path)
        potential = trained.potential
        facts = {"name": trained.recipe.name, "version": None, "weights_sha256": weights_sha256(potential)}
    else:
        release = resolve(init)
        metadata = release.metadata
        potential = build(metadata.hyperparameters)
        try:
            potential.load_state_dict(load_file(release.file("model.safetensors")))
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ReleaseInvalid(f"{release} has weights that do not fit its metadata: {reason:.200}") from None
        facts = {"name": metadata.name, "version": metadata.version, "weights_sha256": weights_sha256(potential)}
    if isinstance(potential, Committee):
        member = seed % len(potential.members)
        facts["member"], potential = member, potential.potentials[member]
    return potential, facts


def transfer(source: Potential, potential: Potential) -> list[str]:
    """Copy all weights that two networks share; what belongs to an element goes to the row of that element.

    Args:
        source: The trained network.
        potential: The new one. Elements that the trained one did not know keep their random rows, and so do heads.

    Returns:
        What the user should know, line by line.

    Raises:
        UsageError: The representations, or heads of the same name, have other settings.
    """
    old, new = source.hyperparameters, potential.hyperparameters
    _check_same("representation", old["representation"], new["representation"], but="species")
    told = []
    for head in new["heads"]:
        if head in old["heads"]:
            _check_same(f"heads.{head}", old["heads"][head], new["heads"][head])
        else:
            told.append(f"the head {head} is new and starts from random numbers")
    told += [f"its head {head} is not used" for head in old["heads"] if head not in new["heads"]]
    before, after = source.species.tolist(), potential.species.tolist()
    if added := [chemical_symbols[z] for z in after if z not in before]:
        told.append(f"it does not know {', '.join(added)}, whose weights start from random numbers")
    if dropped := [chemical_symbols[z] for z in before if z not in after]:
        told.append(f"its {', '.join(dropped)} is left out, as model.representation.species has it")
    shared = [z for z in after if z in before]
    if not shared:
        raise UsageError(f"init knows {before} and the recipe {after}: no element in common; leave out init.")
    if before != after and not old["representation"].get("weighted", True):
        raise UsageError(
            f"init has symmetry functions for each of its elements {before}, which the recipe's {after} are not; set "
            "model.representation.species to those of init."
        )
    here, there = torch.tensor([after.index(z) for z in shared]), torch.tensor([before.index(z) for z in shared])
    learned, by_element, constants = source.state_dict(), _by_element(potential), _constants(potential)
    with torch.no_grad():
        for name, tensor in potential.state_dict().items():
            if name not in learned or name in constants:
                continue
            if name in by_element:
                tensor[here] = learned[name][there].to(tensor.dtype)
            else:
                tensor.copy_(learned[name])
    return told


def _by_element(potential: Potential) -> set[str]:
    """Return the names of the tensors that have a row for each element."""
    kinds = (nn.Embedding, ElementalDense)
    networks = {
        f"{module}.{name}"
        for module, part in potential.named_modules()
        if isinstance(part, kinds)
        for name, _ in part.named_parameters(recurse=False)
    }
    return networks | {name for name, _ in potential.named_buffers() if name.endswith(".reference")}


def _constants(potential: Potential) -> set[str]:
    """Return the names of the tensors that follow from the hyperparameters, and not from data."""
    fitted = (".mean", ".stddev", ".scale", ".reference")
    return {name for name, _ in potential.named_buffers() if not name.endswith(fitted)}


def _check_same(where: str, old: dict[str, Any], new: dict[str, Any], but: str = "") -> None:
    kind = (REPRESENTATIONS | HEADS).get(str(old["kind"]))
    defaults = {name: word.default for name, word in inspect.signature(kind).parameters.items()} if kind else {}
    for key in dict.fromkeys([*old, *new]):
        had, has = (settings.get(key, defaults.get(key)) for settings in (old, new))
        had, has = (list(value) if isinstance(value, tuple) else value for value in (had, has))
        if key != but and had != has:
            raise UsageError(f"model.{where}.{key}={has}, but init has {had}; set it to that, or leave out init.")


def refit(potential: Potential, head: str, name: str, target: str, cache: Cache, train: np.ndarray) -> dict[str, Any]:
    """Fit the references and the scale of a head to new data, such that its first predictions are sensible.

    Args:
        potential: The network with the old weights, changed in place.
        head: Name of the head.
        name: Its output.
        target: The property that it shall give.
        cache: The new data.
        train: ``[m]`` the training systems with labels; at most 5,000 of them are used.

    Returns:
        What was set: ``stddev``, ``references`` by atomic number, and ``slope``, by which the scale was multiplied.
    """
    systems = train[:DESCRIPTOR_SYSTEMS]
    block = cast(Atomwise, potential.heads[head])
    species = potential.species.tolist()
    counts = composition(cache, systems).astype(np.float64)  # [m, elements of the data]
    if block.mean:
        counts /= counts.sum(1, keepdims=True)
    columns = [species.index(z) for z in cache.species]
    old = block.get_buffer("reference").numpy().copy()
    interaction = predict_systems(potential, name, cache, systems) - counts @ old[columns]
    left = cache.values(target)[systems] - counts @ old[columns] - interaction
    slope = 1.0
    across = interaction - counts @ np.linalg.lstsq(counts, interaction, rcond=None)[0]
    varies = across @ across > 1e-12 * (interaction @ interaction)
    if varies and len(systems) >= np.linalg.matrix_rank(counts) + SPARE:
        slope += float(across @ left / (across @ across))
        slope = slope if SLOPES[0] <= slope <= SLOPES[1] else 1.0
    shift = np.linalg.lstsq(counts, left - (slope - 1.0) * interaction, rcond=None)[0]  # the smallest that fits
    old[columns] += shift
    scale = float(block.get_buffer("scale")) * slope
    references = dict(zip(species, old.tolist(), strict=True))
    potential.set_standardisation(head, 0.0, scale, references)
    return {
        "mean": 0.0,
        "stddev": scale,
        "references": {str(z): value for z, value in references.items()},
        "kind": "init",
        "slope": slope,
    }


def fitted_heads(recipe: Recipe, outputs: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """Yield head, output and target of all heads with a scale and references that a recipe trains."""
    for head, settings in recipe.model.heads.items():
        name = settings.get("property", "energy")
        target = recipe.data.targets.get(name)
        if "atomwise" in settings["kind"] and target is not None and outputs[name]["per"] == "system":
            yield head, name, target


def labelled(recipe: Recipe, output: str, cache: Cache, systems: np.ndarray) -> np.ndarray:
    """Return those systems whose label of an output has a weight in the loss, or all where there are no weights.

    Raises:
        DataError: None of them.
    """
    name = recipe.loss[output].weights
    if name is None:
        return systems
    found = systems[cache.values(name)[systems] > 0]
    if not len(found):
        raise DataError(f"{name} is 0 for all {len(systems)} training systems; leave out loss.{output}.")
    return found


def batches(cache: Cache, systems: np.ndarray, potential: Potential) -> Iterator[dict[str, Tensor]]:
    """Yield the graphs of some systems, 100 at a time."""
    for part in np.array_split(systems, -(-len(systems) // 100)):
        yield cache.batch(part, potential.cutoff, potential.needs_triples)


def predict_systems(potential: Potential, name: str, cache: Cache, systems: np.ndarray) -> np.ndarray:
    """Return an output of some systems, ``[m]``, on the CPU and without gradients."""
    gradients, potential.gradients = potential.gradients, False
    with torch.no_grad():
        found = [potential(graph)[name].numpy() for graph in batches(cache, systems, potential)]
    potential.gradients = gradients
    return np.concatenate(found)
