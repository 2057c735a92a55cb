"""Batches that are gathered where the network runs, for data that fit into that memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from zoo.data.cache import Cache
from zoo.data.loader import BatchSampler
from zoo_runtime import keys

LARGEST = 8e9  # bytes of the device's memory


class Resident(Dataset[dict[str, Tensor]]):
    """A data set on a device; makes the same batches as `Cache.batch`, without triples.

    On a GPU nothing here waits for the device: all sizes are known on the CPU.

    Args:
        cache: The data set.
        device: Where to keep it.
        properties: Properties to add to each batch.
        cutoff: Radius of the neighbour lists in Å; None leaves out edges and shifts.
        extra: Further tensors with a row for each atom of the cache, added to each batch.
    """

    def __init__(
        self,
        cache: Cache,
        device: torch.device,
        properties: tuple[str, ...],
        cutoff: float | None = None,
        extra: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.device = device
        self.atom_counts = cache.n_atoms
        self.start, self.counts = self._put(cache.offsets[:-1]), self._put(self.atom_counts)
        self.per_atom = {keys.NUMBERS: self._put(cache.numbers, np.int64), keys.POSITIONS: self._put(cache.positions)}
        self.per_system = {} if cache.cell is None else {keys.CELL: self._put(cache.cell)}
        for name in properties:
            group = self.per_atom if cache.properties[name].per == "atom" else self.per_system
            group[name] = self._put(cache.values(name))
        self.per_atom |= {name: tensor.to(device) for name, tensor in (extra or {}).items()}
        self.edge_counts: np.ndarray | None = None
        if cutoff is not None:
            lists = cache.neighbors(cutoff)
            first = np.asarray(lists.first)
            self.edge_counts = np.diff(first[cache.offsets])
            self.edge_start, self.edges_of = self._put(first[cache.offsets[:-1]]), self._put(self.edge_counts)
            self.degree = self._put(np.diff(first), np.int32)
            self.neighbor = self._put(lists.neighbor, np.int32)
            self.images = None if lists.images is None else self._put(lists.images)

    def _put(self, array: np.ndarray, dtype: type | None = None) -> Tensor:
        return torch.tensor(np.asarray(array, dtype=dtype), device=self.device)

    def __getitem__(self, indices: Any) -> dict[str, Tensor]:
        """Gather systems into one graph; as `Cache.batch`."""
        systems = torch.from_numpy(indices).to(self.device)
        counts = self.counts[systems]
        first = counts.cumsum(0) - counts  # [s] first atom of each system in the batch
        system = self._repeat(counts, int(self.atom_counts[indices].sum()))  # [n]
        rows = torch.arange(len(system), device=self.device)
        atoms = rows + (self.start[systems] - first)[system]
        batch = {name: values[atoms] for name, values in self.per_atom.items()}
        batch |= {name: values[systems] for name, values in self.per_system.items()}
        if keys.CELL not in batch:
            batch[keys.CELL] = torch.zeros(len(indices), 3, 3, dtype=torch.float64, device=self.device)
        batch |= {keys.SYSTEM: system, "n_atoms": counts}
        if self.edge_counts is None:
            return batch
        counts = self.edges_of[systems]
        owner = self._repeat(counts, int(self.edge_counts[indices].sum()))  # [e] system of each edge
        edge = torch.arange(len(owner), device=self.device)
        edge = edge + (self.edge_start[systems] - counts.cumsum(0) + counts)[owner]
        centre = self._repeat(self.degree[atoms], len(owner))
        batch[keys.EDGES] = torch.stack([centre, self.neighbor[edge] + first[owner]])
        batch[keys.SHIFTS] = torch.zeros(len(owner), 3, dtype=torch.float64, device=self.device)
        if self.images is not None:
            images = self.images[edge].double().unsqueeze(1)
            batch[keys.SHIFTS] = (images @ batch[keys.CELL][owner]).squeeze(1)
        return batch

    def loader(self, indices: np.ndarray, batch_size: int, shuffle: bool, seed: int) -> DataLoader[dict[str, Tensor]]:
        """Return a DataLoader in the order of `zoo.data.loader.loader`."""
        return DataLoader(self, sampler=BatchSampler(indices, batch_size, shuffle, seed), batch_size=None)

    def _repeat(self, counts: Tensor, total: int) -> Tensor:
        """Return 0 repeated ``counts[0]`` times, 1 repeated ``counts[1]`` times, and so on."""
        return torch.arange(len(counts), device=self.device).repeat_interleave(counts, output_size=total)
