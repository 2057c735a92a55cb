"""Batches for training: whole batches are gathered at once, in an order that only seed and epoch decide."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from zoo.data.cache import Cache
from zoo_registry.errors import UsageError


class BatchDataset(Dataset[dict[str, torch.Tensor]]):
    """Turns an array of indices into one batch."""

    def __init__(self, cache: Cache, cutoff: float, triples: bool, properties: tuple[str, ...]):
        self.cache, self.cutoff, self.triples, self.properties = cache, cutoff, triples, properties

    def __getitem__(self, indices: Any) -> dict[str, torch.Tensor]:
        return self.cache.batch(indices, self.cutoff, self.triples, self.properties)

    def __len__(self) -> int:
        return len(self.cache)


class BatchSampler(Sampler[np.ndarray]):
    """Yields one array of indices per batch.

    Every process of a distributed run gets a disjoint share. With ``shuffle`` the shares are equally long,
    because training in step would hang otherwise: the fewer than ``world_size`` systems at the end of the
    permutation are left out, other ones in each epoch. Without, every system is in exactly one share and the
    shares differ by at most one system. The last batch of a share may be smaller; it is never dropped.
    """

    def __init__(self, indices: np.ndarray, batch_size: int, shuffle: bool, seed: int):
        self.indices, self.batch_size, self.shuffle, self.seed = indices, batch_size, shuffle, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass; Lightning calls this before each epoch."""
        self.epoch = epoch

    def share(self) -> np.ndarray:
        """Return the indices of this process in the order of this epoch."""
        rank, world = _process()
        if not self.shuffle:
            return self.indices[rank::world]
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.indices)
        return order[rank : len(order) - len(order) % world : world]

    def __iter__(self) -> Iterator[np.ndarray]:
        share = self.share()
        for start in range(0, len(share), self.batch_size):
            yield share[start : start + self.batch_size]

    def __len__(self) -> int:
        rank, world = _process()
        count = len(self.indices) // world if self.shuffle else len(range(rank, len(self.indices), world))
        return -(-count // self.batch_size)


def _process() -> tuple[int, int]:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def loader(
    cache: Cache,
    indices: np.ndarray,
    *,
    cutoff: float,
    batch_size: int,
    triples: bool = False,
    properties: Iterable[str] = (),
    shuffle: bool = False,
    seed: int = 0,
    workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader[dict[str, torch.Tensor]]:
    """Return a DataLoader over batches as :meth:`Cache.batch` makes them.

    The order is the same for the same (seed, epoch), whatever the number of workers: call
    ``loader.sampler.set_epoch(epoch)`` before an epoch. Lightning does so itself; its Trainer needs
    ``use_distributed_sampler=False``, because the sampler shares out the data already.

    Args:
        cache: The data set.
        indices: ``[m]`` the systems to use.
        cutoff: Radius of the neighbour list in Å; the lists are built here where they are missing.
        batch_size: Systems per batch and process.
        triples: Whether the network needs triples.
        properties: Properties to add to each batch.
        shuffle: A new order in each epoch.
        seed: Seed of the order.
        workers: Worker processes; 0 gathers in this process.
        pin_memory: Put batches into page-locked memory for faster copies to a GPU.

    Raises:
        UsageError: A batch size below 1.
        DataError: An unknown property or an index outside the cache.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, got {batch_size}.")
    properties, indices = tuple(properties), np.asarray(indices, dtype=np.int64)
    cache.neighbors(cutoff)
    for name in properties:
        cache.values(name)
    return DataLoader(
        BatchDataset(cache, cutoff, triples, properties),
        sampler=BatchSampler(indices, batch_size, shuffle, seed),
        batch_size=None,
        num_workers=workers,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
    )
