"""Every exported file computes what the network does, on every shape that breaks careless code."""

import functools
import json
import zipfile
from dataclasses import replace

import numpy as np
import onnx
import pytest
import safetensors
import torch
from ase import Atoms
from ase.build import bulk, molecule

from zoo_export.eager import Eager
from zoo_registry.errors import ExportError
from zoo_runtime.backends import choose
from zoo_runtime.graph import build

MODELS = ["schnet", "wacsf", "wacsf-crossterms", "acsf", "schnet-dipole", "wacsf-dipole", "schnet-all"]
BACKENDS = ["onnx", "torchscript"]


def slab():
    atoms = bulk("Si", cubic=True)
    atoms.pbc = (True, True, False)
    return atoms


def mixed():
    return [molecule("CH3CH2OH"), bulk("Si"), Atoms("H"), bulk("Si", cubic=True), molecule("H2O")]


SHAPES = {
    "molecule": [molecule("CH3CH2OH")],
    "one atom": [Atoms("O")],
    "two atoms beyond the cutoff": [Atoms("CO", [[0, 0, 0], [0, 0, 9.0]])],
    "cell smaller than the cutoff": [bulk("Si")],
    "left-handed cell": [Atoms("Si2", [[0, 0, 0], [1.36, 1.36, 1.4]], cell=bulk("Si").cell.array[[1, 0, 2]], pbc=True)],
    "slab": [slab()],
    "chain": [Atoms("CO", [[0, 0, 0], [1.2, 0.1, 0]], cell=[3, 0, 0], pbc=[True, False, False])],
    "no periodicity but a cell": [Atoms("CO", [[0, 0, 0], [1.2, 0, 0]], cell=[2.0, 2.0, 2.0])],
    "unwrapped positions": [Atoms("Si2", bulk("Si").positions + 17.3, cell=bulk("Si").cell, pbc=True)],
    "batch of very different sizes": mixed(),
    "only single atoms": [Atoms("H"), Atoms("C"), Atoms("O")],
}


@pytest.fixture(scope="module")
def opened(made):
    """Return a backend of a model; each is opened once."""
    return functools.cache(lambda name, backend: choose(replace(made(name).release, trusted=True), backend, "cpu"))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", MODELS)
def test_backend_equals_eager_float64(made, opened, name, backend, shape):
    model, reference = made(name), Eager(made(name).potential)
    graph = build(SHAPES[shape], reference.cutoff, reference.needs_triples)
    expected, got = reference.compute(graph), opened(name, backend).compute(graph)
    assert expected.keys() == got.keys() == model.metadata.outputs.keys()
    atoms = np.bincount(graph.system)
    for key, value in got.items():
        difference = np.abs(value - expected[key]) / (atoms if key == "energy" else 1.0)
        assert difference.max(initial=0.0) < (1e-5 if key == "energy" else 1e-4), key


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["schnet", "wacsf"])
def test_onnx_repeats_bit_by_bit_with_any_number_of_threads(made, name, threads):
    model = made(name)
    graph = build([bulk("Si", cubic=True) * (2, 2, 1), *mixed()], 4.0, model.potential.needs_triples)
    runner = choose(model.release, "onnx", "cpu", threads=threads)
    first = runner.compute(graph)
    for _ in range(10):
        again = runner.compute(graph)
        assert all(np.array_equal(again[key], first[key]) for key in first)


@pytest.mark.parametrize("name", MODELS)
def test_onnx_graph_is_plain_and_whole(made, name):
    proto = onnx.load(made(name).release.file("model.onnx"), load_external_data=False)
    operators = {node.op_type for node in proto.graph.node}
    assert not any(op.startswith("Scatter") for op in operators)
    assert {node.domain for node in proto.graph.node} <= {"", "ai.onnx"}
    assert [opset.version for opset in proto.opset_import if opset.domain in ("", "ai.onnx")] == [20]
    assert all(tensor.data_location != onnx.TensorProto.EXTERNAL for tensor in proto.graph.initializer)


@pytest.mark.parametrize("name", MODELS)
def test_metadata_is_the_same_bytes_in_every_container(made, name):
    release = made(name).release
    document = release.file("zoo.json").read_bytes().decode()
    with safetensors.safe_open(release.file("model.safetensors"), "pt") as weights:
        assert weights.metadata()["zoo.json"] == document
    properties = {p.key: p.value for p in onnx.load(release.file("model.onnx")).metadata_props}
    assert properties["zoo.json"] == document
    with zipfile.ZipFile(release.file("model.pt")) as archive:
        extra = {
            entry.split("extra/")[1]: archive.read(entry).decode() for entry in archive.namelist() if "extra/" in entry
        }
    flat = {"cutoff": "4.0", "species": "1 6 8 14", "energy_unit": "eV", "length_unit": "angstrom"}
    assert extra == {"zoo.json": document, **flat}


@pytest.mark.parametrize("name", ["schnet", "wacsf"])
def test_weights_alone_rebuild_the_network(made, name):
    from safetensors.torch import load_file

    from zoo.models import build as build_network

    model = made(name)
    again = build_network(model.release.metadata.hyperparameters)
    again.load_state_dict(load_file(model.release.file("model.safetensors")))
    graph = build(mixed(), 4.0, again.needs_triples)
    expected = Eager(model.potential).compute(graph)
    for key, value in Eager(again).compute(graph).items():
        np.testing.assert_array_equal(value, expected[key])


@pytest.mark.parametrize("name", ["schnet", "wacsf"])
def test_golden_structures_hold_eager_float64_results(made, name):
    model = made(name)
    document = json.loads(model.release.file("golden.json").read_text())
    assert document["outputs"]["forces"] == "eV/Å"
    for entry in document["structures"]:
        atoms = Atoms(entry["numbers"], entry["positions"], cell=entry["cell"], pbc=entry["pbc"])
        result = Eager(model.potential).compute(build([atoms], 4.0, model.potential.needs_triples))
        assert entry["energy"] == pytest.approx(result["energy"][0], abs=1e-9)
        np.testing.assert_allclose(entry["forces"], result["forces"], atol=1e-9)
        assert (entry["stress"] is None) == (not any(entry["pbc"]))


def test_a_network_whose_derivative_scatters_is_refused():
    from zoo_export.unroll import remove_scatter

    class Picks(torch.nn.Module):
        def forward(self, x, index):
            return torch.zeros_like(x).scatter_add(0, index, x)

    module = torch.fx.experimental.proxy_tensor.make_fx(Picks())(torch.ones(3), torch.tensor([0, 1, 1]))
    with pytest.raises(ExportError, match="scatter"):
        remove_scatter(module)
