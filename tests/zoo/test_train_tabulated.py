"""Tabulated filters train the same SchNet, only faster."""

import copy

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

from zoo.models import build
from zoo.train.kernels import compiled_kernels
from zoo.train.tabulated import tabulate
from zoo_runtime.graph import build as build_graph

CPU = torch.device("cpu")
STRUCTURES = {
    "molecules": [molecule("CH3CH2OH"), molecule("H2O")],
    "own images and a molecule": [bulk("Si"), molecule("CH4")],
    "one atom": [molecule("O")],
    "crystal": [bulk("Si") * (2, 1, 1)],
}
for number, structures in enumerate(STRUCTURES.values()):
    for structure in structures:
        structure.rattle(0.05, seed=number)


@pytest.fixture(scope="module", autouse=True)
def _kernels(tmp_path_factory):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        compiled_kernels.cache_clear()
        yield compiled_kernels()
    compiled_kernels.cache_clear()
    torch.set_num_threads(threads)


@pytest.fixture
def pair():
    """Return a function that makes a network in float64 and its tabulated twin in float32."""

    def make(gradients=True, **head):
        torch.manual_seed(0)
        exact = build(
            {
                "representation": {"kind": "schnet", "species": [1, 6, 8, 14], "features": 32, "interactions": 3},
                "heads": {"energy": {"kind": "atomwise"} | head},
            }
        )
        for name, parameter in exact.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.1)
        exact.gradients = gradients
        fast = copy.deepcopy(exact)
        if not tabulate(fast, CPU):
            pytest.skip("there is no C++ compiler here")
        return exact.double(), fast

    return make


def tensors(structures):
    return {name: torch.from_numpy(array) for name, array in build_graph(structures, 5.0).tensors().items()}


def loss(outputs):
    """Return a loss in which every output has a part that is neither small nor of one sign."""
    total = (outputs["energy"] - 1.0).square().sum()
    for name, scale in (("forces", 1.0), ("stress", 1e3)):
        if name in outputs:
            wanted = torch.sin(torch.arange(outputs[name].numel(), dtype=torch.float64)).view_as(outputs[name])
            total = total + (scale * outputs[name] - wanted).square().sum()
    return total


@pytest.mark.parametrize("gradients", [False, True], ids=["energies", "forces"])
@pytest.mark.parametrize("structures", STRUCTURES.values(), ids=STRUCTURES)
def test_outputs_and_gradients_are_those_of_the_network(pair, structures, gradients):
    exact, fast = pair(gradients)
    graph = tensors(structures)
    outputs = [model(graph) for model in (exact, fast)]
    # A quintic spline with three knots for each Gaussian is off by about 1e-5 of the filters.
    for name, tolerance in (("energy", 2e-5), ("forces", 1e-4), ("stress", 1e-5)):
        if name in outputs[0]:
            torch.testing.assert_close(outputs[1][name], outputs[0][name], rtol=1e-5, atol=tolerance)
    for given in outputs:
        loss(given).backward()
    for (name, one), other in zip(exact.named_parameters(), fast.parameters(), strict=True):
        # float32 gives 3e-6, the spline most of the rest; noise of a batch is some 1e-1.
        assert (one.grad - other.grad).norm() <= 1e-4 * one.grad.norm() + 1e-6, name


@pytest.mark.parametrize("head", ["curved", "linear"])
def test_forces_alone_train_the_representation(pair, head):
    models, graph = pair(), tensors(STRUCTURES["molecules"])
    for model in models:
        if head == "linear":  # then the slope of the energy does not depend on the features
            model.heads["energy"].network = torch.nn.Linear(32, 1, dtype=next(model.parameters()).dtype)
            torch.nn.init.constant_(model.heads["energy"].network.weight, 0.1)
        (model(graph)["forces"] - 0.3).square().sum().backward()
    exact, fast = (model.representation for model in models)
    for (name, one), other in zip(exact.named_parameters(), fast.parameters(), strict=True):
        wanted = torch.zeros_like(one) if one.grad is None else one.grad
        assert (wanted - other.grad).norm() <= 1e-4 * wanted.norm() + 1e-6, name


@pytest.mark.parametrize("structures", STRUCTURES.values(), ids=STRUCTURES)
def test_forces_and_stress_are_derivatives_of_the_tabulated_energy(pair, structures):
    _, fast = pair()
    graph = tensors(structures)
    outputs = fast(graph)
    random, step = np.random.default_rng(0), 3e-3
    direction = torch.from_numpy(random.normal(size=(len(graph["positions"]), 3)))

    def energy(shift):
        return fast(graph | {"positions": graph["positions"] + shift * direction})["energy"].sum().item()

    # Of fourth order, so that a step is large enough for energies in float32.
    slope = (8 * (energy(step) - energy(-step)) - (energy(2 * step) - energy(-2 * step))) / (12 * step)
    assert -(outputs["forces"] * direction).sum().item() == pytest.approx(slope, rel=1e-3, abs=2e-3)

    strain = random.normal(size=(3, 3))
    strain = torch.from_numpy(strain + strain.T) / 4

    def stretched(size):
        deformed = torch.eye(3, dtype=torch.float64) + size * strain
        return fast(graph | {name: graph[name] @ deformed for name in ("positions", "shifts", "cell")})["energy"]

    slope = (8 * (stretched(step) - stretched(-step)) - (stretched(2 * step) - stretched(-2 * step))) / (12 * step)
    volume = torch.linalg.det(graph["cell"]).abs()
    work = (outputs["stress"] * strain).sum((1, 2)) * volume
    torch.testing.assert_close(work[volume > 0], slope[volume > 0], rtol=1e-3, atol=2e-3)


def test_training_on_forces_goes_the_way_of_the_network(pair):
    exact, fast = pair()
    exact.cast(torch.float32)
    graph = tensors(STRUCTURES["molecules"] + STRUCTURES["own images and a molecule"])
    ways = []
    for model in (exact, fast):
        optimizer, losses = torch.optim.AdamW(model.parameters(), lr=1e-3), []
        for _ in range(20):
            optimizer.zero_grad()
            value = loss(model(graph))
            value.backward()
            optimizer.step()
            losses.append(value.item())
        ways.append(losses)
    assert ways[0][-1] < 0.9 * ways[0][0]
    assert ways[1] == pytest.approx(ways[0], rel=1e-3)


def test_weights_can_be_frozen(pair):
    _, fast = pair()
    fast.representation.requires_grad_(False)
    loss(fast(tensors(STRUCTURES["molecules"]))).backward()
    assert all(parameter.grad is None for parameter in fast.representation.parameters())
    assert all(parameter.grad.norm() > 0 for parameter in fast.heads.parameters())


def test_outputs_without_training_are_the_same(pair):
    _, fast = pair()
    graph = tensors(STRUCTURES["crystal"])
    trained = fast(graph)
    evaluated = fast.eval()(graph)
    assert not evaluated["forces"].requires_grad
    assert all(torch.equal(trained[name], evaluated[name]) for name in trained)


def test_weights_keep_their_names(pair):
    exact, fast = pair()
    assert list(fast.state_dict()) == list(exact.state_dict())


def test_only_float32_on_a_cpu(pair):
    exact, fast = pair()
    assert not tabulate(exact, CPU)
    assert not tabulate(fast, torch.device("cuda"))


def test_a_step_is_bitwise_repeatable(pair):
    graph, steps = tensors(STRUCTURES["molecules"]), []
    for _ in range(2):
        _, fast = pair()
        loss(fast(graph)).backward()
        steps.append([parameter.grad for parameter in fast.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*steps, strict=True))


def test_a_weight_that_is_no_number_is_not_hidden(pair):
    _, fast = pair()
    with torch.no_grad():
        fast.representation.interactions[0].in_features.weight[0, 0] = float("nan")
    assert not torch.isfinite(fast(tensors(STRUCTURES["crystal"]))["energy"]).any()


def test_without_a_folder_for_the_kernels_training_is_plain(pair, monkeypatch, tmp_path, capsys):
    exact, _ = pair()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr("zoo.train.tabulated.compiled_kernels", compiled_kernels.__wrapped__)
    assert not tabulate(exact.float(), CPU)
    assert "ZOO_CACHE" in capsys.readouterr().err
