import numpy as np
import pytest
import torch
from ase import Atoms

from zoo.data.cache import Cache, write_cache
from zoo.data.loader import loader
from zoo.data.writer import Property
from zoo.train.resident import Resident


@pytest.fixture(scope="module")
def crystals(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """Skewed cells, some periodic in two directions only, and a molecule."""
    rng = np.random.default_rng(1)
    systems = [
        Atoms(
            "H" * n, rng.random((n, 3)) * 4, cell=rng.random((3, 3)) + 4 * np.eye(3), pbc=[n % 4 > 0, n % 4 > 0, n == 2]
        )
        for n in (2, 3, 4, 5)
    ]
    return write_cache(
        tmp_path_factory.mktemp("data") / "crystals",
        n_atoms=np.array([len(s) for s in systems]),
        numbers=np.concatenate([s.numbers for s in systems]),
        positions=np.concatenate([s.positions for s in systems]),
        cell=np.stack([s.cell.array for s in systems]),
        pbc=np.stack([s.pbc for s in systems]),
        values={"E": np.arange(4.0), "F": rng.random((14, 3))},
        properties={"E": Property("system", (), "eV"), "F": Property("atom", (3,), "eV/Å")},
    )


@pytest.mark.parametrize("which", ["molecules", "crystals"])
def test_batches_are_those_of_the_cache(which: str, request: pytest.FixtureRequest) -> None:
    cache: Cache = request.getfixturevalue(which)
    indices = np.array([3, 0, 3, 2])
    resident = Resident(cache, torch.device("cpu"), ("E", "F"), cutoff=3.0)[indices]
    expected = cache.batch(indices, 3.0, properties=("E", "F"))
    assert resident.keys() == expected.keys()
    for name, value in expected.items():
        assert resident[name].dtype == value.dtype, name
        torch.testing.assert_close(resident[name], value, rtol=0, atol=1e-12)
    assert expected["edges"].shape[1] > 0


def test_order_is_that_of_the_loader(molecules: Cache) -> None:
    indices = np.arange(5, 45)
    ours = Resident(molecules, torch.device("cpu"), ("E",)).loader(indices, 8, True, 7)
    theirs = loader(molecules, indices, cutoff=3.0, batch_size=8, properties=("E",), shuffle=True, seed=7)
    for epoch in (0, 1):
        ours.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        theirs.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        assert len(ours) == len(theirs) == 5
        for a, b in zip(ours, theirs, strict=True):
            assert torch.equal(a["E"], b["E"])
