"""Tabulated filters train the same SchNet, only faster."""

import copy

import pytest
import torch
from ase.build import bulk, molecule

from zoo.models import build
from zoo.train.tabulated import convolution_library, tabulate
from zoo_runtime.graph import build as build_graph

CPU = torch.device("cpu")


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    convolution_library.cache_clear()
    torch.manual_seed(0)
    exact = build(
        {
            "representation": {"kind": "schnet", "species": [1, 6, 8, 14], "features": 32, "interactions": 3},
            "heads": {"energy": {"kind": "atomwise"}},
        }
    )
    exact.gradients = False
    fast = copy.deepcopy(exact)
    if not tabulate(fast, CPU):
        pytest.skip("there is no C++ compiler here")
    yield exact, fast
    convolution_library.cache_clear()


@pytest.mark.parametrize(
    "structures",
    [[molecule("CH3CH2OH"), molecule("H2O")], [bulk("Si"), molecule("CH4")], [molecule("O")], [bulk("Si") * (2, 1, 1)]],
    ids=["molecules", "own images and a molecule", "one atom", "crystal"],
)
def test_energies_and_gradients_are_those_of_the_network(models, structures):
    exact, fast = models
    graph = {name: torch.from_numpy(array) for name, array in build_graph(structures, 5.0).tensors().items()}
    energies = [model(graph)["energy"] for model in models]
    torch.testing.assert_close(energies[1], energies[0], rtol=1e-5, atol=1e-5)
    for energy in energies:
        energy.square().sum().backward()
    for (name, one), other in zip(exact.named_parameters(), fast.parameters(), strict=True):
        size = one.grad.norm().item()
        assert (one.grad - other.grad).norm().item() <= 1e-4 * size + 1e-6, name


def test_weights_keep_their_names(models):
    exact, fast = models
    assert list(fast.state_dict()) == list(exact.state_dict())


def test_networks_with_forces_are_left_alone():
    model = build(
        {
            "representation": {"kind": "schnet", "species": [1], "features": 8, "interactions": 1},
            "heads": {"energy": {"kind": "atomwise"}},
        }
    )
    assert model.gradients
    assert not tabulate(model, CPU)
