"""The features of all atoms, computed once for a representation that has nothing to learn."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor

from zoo.data.cache import Cache
from zoo.data.loader import BatchSampler, loader
from zoo.data.progress import track
from zoo.models import Potential
from zoo.models.potential import edge_vectors
from zoo.train.device import world
from zoo_runtime import keys

FEATURES = "features"
LARGEST = 8e9  # bytes of memory


def can_be_frozen(potential: Potential, n_atoms: int) -> bool:
    """Return whether the features of so many atoms never change in training and fit into memory.

    Forces need the derivatives of the representation, so with them it cannot be left out.
    """
    representation = potential.representation
    size = n_atoms * int(representation.features) * 4
    return not potential.gradients and not list(representation.parameters()) and size <= LARGEST


def predict(potential: Potential, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the outputs of a potential, from the features where the batch has them."""
    if FEATURES not in batch:
        return potential(batch)
    elements = potential.rows.index_select(0, batch[keys.NUMBERS])
    outputs: dict[str, Tensor] = {}
    for head in potential.heads.values():
        outputs.update(head(batch[FEATURES], elements, batch))
    return outputs


def compute_features(
    cache: Cache, indices: np.ndarray, potential: Potential, device: torch.device, workers: int = 0
) -> Tensor:
    """Return the features ``[n, F]`` of all atoms of a cache; those of other systems than asked for are 0.

    Where several processes train together, each computes its share, and all of them get the whole.

    Args:
        cache: The data set.
        indices: ``[m]`` the systems.
        potential: Whose representation to evaluate, already standardised, on ``device``.
        device: Where to compute and to keep the result.
        workers: Worker processes that gather the systems.
    """
    triples, cutoff = potential.needs_triples, potential.cutoff
    width, dtype = int(potential.representation.features), next(potential.parameters()).dtype
    features = torch.zeros(len(cache.numbers), width, dtype=dtype, device=device)
    batches = loader(cache, np.sort(indices), cutoff=cutoff, batch_size=200, triples=triples, workers=workers)
    share = cast(BatchSampler, batches.sampler).share()
    rows = torch.from_numpy(np.flatnonzero(np.isin(np.repeat(np.arange(len(cache)), cache.n_atoms), share)))
    done = 0
    with torch.no_grad():
        for batch in track(batches, "Symmetry functions", len(batches)):
            graph = {name: tensor.to(device) for name, tensor in batch.items()}
            elements = potential.rows.index_select(0, graph[keys.NUMBERS])
            x = potential.representation(elements, edge_vectors(graph), graph)
            features[rows[done : done + len(x)].to(device)] = x
            done += len(x)
    if world() > 1:
        torch.distributed.all_reduce(features)
    return features
