"""The order of training is decided by seed and epoch alone, and every process gets its own share."""

import numpy as np
import pytest
import torch

from zoo.data.cache import write_cache
from zoo.data.loader import BatchSampler, loader
from zoo.data.writer import Property
from zoo_registry.errors import DataError, UsageError


@pytest.fixture
def cache(tmp_path):
    rng = np.random.default_rng(0)
    n_atoms = rng.integers(1, 6, 50)
    n = n_atoms.sum()
    return write_cache(
        tmp_path / "c",
        n_atoms=n_atoms,
        numbers=rng.choice([1, 6, 8], n),
        positions=rng.uniform(0, 4, (n, 3)),
        values={"id": np.arange(50.0)},
        properties={"id": Property()},
    )


def epoch(data, number):
    data.sampler.set_epoch(number)
    return [batch["id"].long().tolist() for batch in data]


def test_order_depends_on_seed_and_epoch_only(cache):
    def make(seed=0, workers=0):
        return loader(
            cache,
            np.arange(10, 50),
            cutoff=3.0,
            batch_size=7,
            properties=("id",),
            shuffle=True,
            seed=seed,
            workers=workers,
        )

    running, resumed = make(), make()
    orders = [epoch(running, k) for k in range(3)]
    assert orders[0] != orders[1] != orders[2]
    assert epoch(resumed, 2) == orders[2]
    assert epoch(make(workers=2), 1) == orders[1]
    assert epoch(make(seed=1), 0) != orders[0]
    for order in orders:
        assert [len(batch) for batch in order] == [7] * 5 + [5]
        assert sorted(np.concatenate(order)) == list(range(10, 50))


def test_batches_are_those_of_the_cache(cache):
    data = loader(cache, np.arange(50), cutoff=3.0, batch_size=50, triples=True, properties=("id",))
    (batch,) = list(data)
    expected = cache.batch(np.arange(50), 3.0, True, ("id",))
    assert batch.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(batch[name], tensor)


@pytest.fixture
def process(monkeypatch):
    def become(rank, world):
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
        monkeypatch.setattr(torch.distributed, "get_world_size", lambda: world)

    return become


@pytest.mark.parametrize("systems", [8, 9, 31, 32])
def test_training_shares_are_disjoint_and_equally_long(process, systems):
    shares = []
    for rank in range(4):
        process(rank, 4)
        sampler = BatchSampler(np.arange(systems), 3, shuffle=True, seed=5)
        sampler.set_epoch(7)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        shares.append(np.concatenate(batches))
    assert {len(share) for share in shares} == {systems // 4}
    joined = np.concatenate(shares)
    assert len(np.unique(joined)) == len(joined) == systems - systems % 4


@pytest.mark.parametrize("systems", [8, 9, 31])
def test_evaluation_shares_hold_every_system_once(process, systems):
    shares = []
    for rank in range(4):
        process(rank, 4)
        sampler = BatchSampler(np.arange(systems), 3, shuffle=False, seed=0)
        assert len(list(sampler)) == len(sampler)
        shares.append(sampler.share())
    assert sorted(np.concatenate(shares)) == list(range(systems))


def test_wrong_requests(cache):
    with pytest.raises(UsageError, match="batch_size must be at least 1"):
        loader(cache, np.arange(5), cutoff=3.0, batch_size=0)
    with pytest.raises(DataError, match="no property 'U0'"):
        loader(cache, np.arange(5), cutoff=3.0, batch_size=2, properties=("U0",))
