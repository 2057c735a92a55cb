"""The data of a run: prepared once, split once, and what the network must know of it before training."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
from ase.data import chemical_symbols
from torch.utils.data import DataLoader

from zoo.data.cache import Cache
from zoo.data.loader import loader
from zoo.data.split import Split, load_split, use_split
from zoo.data.statistics import domain, least_squares_references, per_atom
from zoo.models import Potential
from zoo.train.device import torch_device, world
from zoo.train.features import FEATURES, can_be_frozen, compute_features
from zoo.train.initial import DESCRIPTOR_SYSTEMS, batches, fitted_heads, initialise, labelled
from zoo.train.module import TrainingModule
from zoo.train.recipe import Data, Recipe
from zoo.train.resident import LARGEST, Resident
from zoo.train.source import describe, open_cache, published_references
from zoo_registry.errors import DataError, UsageError
from zoo_registry.units import convert


class TrainingData(pl.LightningDataModule):
    """Batches of a recipe; on the way, the module's potential is standardised on the training set.

    The first process of all prepares: it makes data, neighbour lists and split and fits what is fitted before training.
    The others then open the same files and are told the rest.

    Args:
        recipe: Which data.
        module: Whose potential to standardise and whose facts to fill.
        known: Facts of the checkpoint from which a run goes on; then nothing is computed anew.
    """

    def __init__(self, recipe: Recipe, module: TrainingModule, known: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.prepare_data_per_node = False
        self.recipe, self.module, self.known = recipe, module, known
        self.pin_memory = torch_device(recipe.trainer.accelerator).type == "cuda"
        self.resident: Resident | None = None

    @property
    def split_file(self) -> Path:
        """Where the split is kept."""
        return self.recipe.folder / "split.npz"

    def prepare_data(self) -> None:
        """Fetch the data set, build what is kept beside it, split it, and set what the potential has from it."""
        data, potential = self.recipe.data, self.module.potential
        self.cache = open_cache(data)
        _check(self.cache, self.recipe, potential)
        self.cache.neighbors(potential.cutoff)
        sizes, official = (data.n_train, data.n_val, data.n_test), self.cache.official(data.split)
        seed, sha256 = self.recipe.split_seed, self.cache.meta["sha256"]
        self.split = use_split(self.split_file, len(self.cache), *sizes, seed, sha256, official)
        if self.known is None:
            self.module.facts |= self._facts() | self._begin()

    def setup(self, stage: str) -> None:
        """Open what was prepared, and take over what the first process found out."""
        self.cache = open_cache(self.recipe.data, prepared=True)
        self.split = load_split(self.split_file)
        if self.known is not None:
            self.module.facts |= self.known | self.module.facts
        elif world() > 1:
            told = (self.module.facts, self.module.potential.state_dict())
            self.module.facts, state = cast(pl.Trainer, self.trainer).strategy.broadcast(told)
            self.module.potential.load_state_dict(state)

    def _begin(self) -> dict[str, Any]:
        """Give the potential its first numbers, from the data or from another network; return what was done."""
        potential, train = self.module.potential, self.split.train
        facts: dict[str, Any] = {"standardisation": {}}
        if self.recipe.init is None:
            potential.fit_descriptors(batches(self.cache, train[:DESCRIPTOR_SYSTEMS], potential))
        else:
            facts = initialise(potential, self.recipe, self.cache, train)
        facts["standardisation"] |= self._standardise(facts["standardisation"])
        return facts

    def _standardise(self, but: Collection[str] = ()) -> dict[str, Any]:
        done = {}
        outputs = self.module.potential.outputs()
        for head, name, target in fitted_heads(self.recipe, outputs):
            if head in but:
                continue
            systems = labelled(self.recipe, name, self.cache, self.split.train)
            if self.recipe.model.heads[head].get("aggregation") == "mean":
                references = {}
                values = self.cache.values(target)[systems]
                mean, stddev = float(values.mean()), float(values.std())
            else:
                references = self._references(target, systems)
                mean, stddev = per_atom(self.cache, systems, target, references)
            self.module.potential.set_standardisation(head, mean, stddev or 1.0, references)
            done[head] = {
                "mean": mean,
                "stddev": stddev or 1.0,
                "references": {str(z): value for z, value in references.items()},
                "kind": self.recipe.references,
                "unit": outputs[name]["unit"],
            }
        return done

    def _references(self, target: str, systems: np.ndarray) -> dict[int, float]:
        match self.recipe.references:
            case "fit":
                return least_squares_references(self.cache, systems, target)
            case "dataset":
                return published_references(self.recipe.data, target)
        return dict.fromkeys(self.cache.species, 0.0)

    def _facts(self) -> dict[str, Any]:
        targets = self.recipe.data.targets.values()
        covered = domain(self.cache, self.split.train, self.module.potential.cutoff, targets)
        return {
            **describe(self.cache, self.recipe.data),
            "split": {**self.split.sizes, "seed": self.recipe.split_seed, "sha256": self.split.sha256},
            "domain": {**covered, "periodic": bool(self.cache.meta["periodic"])},
        }

    def _graphs(self, indices: np.ndarray, batch_size: int, shuffle: bool, workers: int) -> DataLoader[Any]:
        potential = self.module.potential
        return loader(
            self.cache,
            indices,
            cutoff=potential.cutoff,
            batch_size=batch_size,
            triples=potential.needs_triples,
            properties=self.recipe.properties,
            shuffle=shuffle,
            seed=self.recipe.seed,
            workers=workers,
            pin_memory=self.pin_memory,
        )

    def _loader(self, indices: np.ndarray, batch_size: int, shuffle: bool) -> DataLoader[Any]:
        if self.resident is None:
            self.resident = self._reside()
        if self.resident is None:
            return self._graphs(indices, batch_size, shuffle, self.recipe.trainer.num_workers)
        return self.resident.loader(indices, batch_size, shuffle, self.recipe.seed)

    def _reside(self) -> Resident | None:
        """Keep the data where the network is, if they fit there and are not better read from the mapped files."""
        cache, potential, device = self.cache, self.module.potential, self.module.device
        properties = tuple(self.recipe.properties)
        if can_be_frozen(potential, len(cache.numbers)):
            used = np.concatenate([self.split.train, self.split.val])
            features = compute_features(cache, used, potential, device, self.recipe.trainer.num_workers)
            return Resident(cache, device, properties, extra={FEATURES: features})
        if device.type == "cpu" or potential.needs_triples:
            return None
        edges = len(cache.neighbors(potential.cutoff).neighbor)
        size = 60 * len(cache.numbers) + 7 * edges + sum(cache.values(name).nbytes for name in properties)
        return Resident(cache, device, properties, potential.cutoff) if size < LARGEST else None

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the training batches in an order that seed and epoch decide."""
        return self._loader(self.split.train, self.recipe.trainer.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the validation batches."""
        return self._loader(self.split.val, self.recipe.trainer.eval_batch_size, shuffle=False)


def _check(cache: Cache, recipe: Recipe, potential: Potential) -> None:
    if (least := min(recipe.data.n_train, recipe.data.n_val)) < world():
        raise UsageError(
            f"{world()} processes cannot share {least} systems; raise data.n_val or start fewer processes."
        )
    for name in recipe.properties:
        cache.values(name)  # an unknown name is refused there
    for output, term in recipe.loss.items():
        weights = None if term.weights is None else cache.properties[term.weights]
        per = potential.outputs()[output]["per"]
        if weights is not None and (weights.shape or weights.per not in ("system", per)):
            raise UsageError(
                f"loss.{output}.weights={term.weights} is {list(weights.shape)} per {weights.per}; it must be one "
                f"number for each system{' or atom' if per == 'atom' else ''}."
            )
    unknown = [z for z in cache.species if z not in potential.hyperparameters["representation"]["species"]]
    if unknown:
        names = ", ".join(f"{chemical_symbols[z]} ({z})" for z in unknown)
        raise DataError(f"The data set has {names}, the model has not; add it to model.representation.species.")
    described = potential.outputs()
    for output, target in recipe.data.targets.items():
        is_, wanted = cache.properties[target], described[output]
        shape = wanted["shape"][1:]
        if is_.per != wanted["per"] or list(is_.shape) != shape:
            raise UsageError(
                f"data.targets.{output}={target}: the model's {output} is {shape} per {wanted['per']}, "
                f"{target} is {list(is_.shape)} per {is_.per}; choose another property."
            )
        if convert(1.0, is_.unit or "1", wanted["unit"]) != 1.0:
            raise UsageError(
                f"data.targets.{output}={target}: the model's {output} is in {wanted['unit']}, {target} in {is_.unit}; "
                "set the unit of the head."
            )


def open_data(data: Data, facts: dict[str, Any], split: Path) -> tuple[Cache, Split]:
    """Open the data of a finished run again.

    Args:
        data: Which data.
        facts: What the checkpoint says of them.
        split: The split file.

    Raises:
        DataError: Data or split are missing, or are not what the network was trained with.
    """
    cache, indices = open_cache(data), load_split(split)
    if cache.meta["sha256"] != facts["dataset_sha256"]:
        raise DataError(
            f"{cache.folder} has sha256 {cache.meta['sha256']}, but the network was trained on "
            f"{facts['dataset_sha256']}; name the folder of the data sets with root=..."
        )
    if indices.sha256 != facts["split"]["sha256"]:
        raise DataError(f"{split} is not the split that the network was trained with; restore it.")
    return cache, indices
