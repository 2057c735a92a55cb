"""What is exported on request, and what every file carries: float64 graphs, programs for AOTInductor, committees."""

import importlib
import shutil
import zipfile
from dataclasses import replace

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from zoo_export.describe import labels
from zoo_export.eager import Eager
from zoo_export.tabulate import Linear, fitted, tabulate
from zoo_export.targets import DEFAULT, TARGETS
from zoo_export.targets.onnx import trim
from zoo_export.unroll import keep_precision, record
from zoo_registry.errors import ExportError, ReleaseInvalid, UsageError
from zoo_registry.release import Release
from zoo_runtime.backends import BackendUnavailable, aoti, choose
from zoo_runtime.graph import build

STRUCTURES = {
    "very different sizes": [molecule("CH3CH2OH"), bulk("Si"), Atoms("H"), bulk("Si", cubic=True), molecule("H2O")],
    "no edge": [Atoms("O")],
    "beyond the cutoff": [Atoms("CO", [[0, 0, 0], [0, 0, 9.0]])],
}


@pytest.fixture
def exported(make_release_of, tmp_path):
    """Return what makes a release with some targets of a network, without its verification."""

    def make(name, *targets):
        potential, metadata = make_release_of(name, tmp_path)
        (tmp_path / "zoo.json").write_bytes(metadata.to_json())
        for target in targets:
            chosen = TARGETS[target]
            importlib.import_module(chosen.module).write(potential, metadata, tmp_path / chosen.file)
        return potential, Release(tmp_path, metadata, trusted=True)

    return make


def deviations(potential, backend):
    """Return the largest difference of each output from the float64 network on all structures."""
    reference = Eager(potential)
    worst = {}
    for structures in STRUCTURES.values():
        graph = build(structures, reference.cutoff, reference.needs_triples)
        expected, got = reference.compute(graph), backend.compute(graph)
        assert expected.keys() == got.keys() == potential.outputs().keys()
        for key, value in expected.items():
            worst[key] = max(worst.get(key, 0.0), float(np.abs(got[key] - value).max(initial=0.0)))
    return worst


@pytest.mark.parametrize("name", ["schnet-all", "wacsf-crossterms"])
def test_onnx_float64_is_the_float64_network_and_repeats_on_any_number_of_threads(exported, name):
    potential, release = exported(name, "onnx-float64")
    for threads in (1, 2):
        backend = choose(release, "onnx", "cpu", "float64", threads)
        assert "float64" in backend.description
        assert max(deviations(potential, backend).values()) < 1e-11
        graph = build(STRUCTURES["very different sizes"], potential.cutoff, potential.needs_triples)
        first = backend.compute(graph)
        for _ in range(5):
            again = backend.compute(graph)
            assert all(np.array_equal(again[key], first[key]) for key in first)
    with pytest.raises(BackendUnavailable, match=r"no model\.onnx"):
        choose(release, "onnx", "cpu", "float32")


def test_a_number_that_float32_would_round_becomes_a_constant_or_is_refused():
    def trace(f):
        return torch.fx.experimental.proxy_tensor.make_fx(f)(torch.ones(3, dtype=torch.float64))

    x = torch.linspace(0.0, 1.0, 7, dtype=torch.float64)
    module = keep_precision(trace(lambda x: (x * 0.1 + 0.5).clamp(min=0.3)))
    numbers = [a for node in module.graph.nodes for a in node.args if isinstance(a, float)]
    assert numbers == [0.5]
    assert torch.equal(module(x), (x * 0.1 + 0.5).clamp(min=0.3))
    with pytest.raises(ExportError, match="rounded to float32"):
        keep_precision(trace(lambda x: torch.pow(x, 0.1)))


@pytest.mark.parametrize("backend", ["native", "onnx", "torchscript"])
def test_a_committee_is_one_file_with_mean_and_spread(exported, backend):
    target = "safetensors" if backend == "native" else backend
    potential, release = exported("schnet-committee", target)
    if backend == "native" and (reason := importlib.import_module("zoo_runtime.backends.native").available()):
        pytest.skip(reason)
    worst = deviations(potential, choose(release, backend, "cpu"))
    assert {"energy_spread", "forces_spread"} <= worst.keys()
    assert max(worst.values()) < 1e-5


def test_the_engine_opens_a_member_of_a_committee_by_its_number(exported):
    from zoo_runtime.backends import native

    if reason := native.available():
        pytest.skip(reason)
    potential, release = exported("schnet-committee", "safetensors")
    graph = build([molecule("CH3CH2OH")], potential.cutoff)
    file = release.file("model.safetensors")
    for k, member in enumerate(potential.potentials):
        got = native.NativeModel(file, "float64", 1, member=k).compute(graph)
        np.testing.assert_allclose(got["forces"], Eager(member).compute(graph)["forces"], rtol=0, atol=1e-6)
    for k in (-1, len(potential.potentials)):
        with pytest.raises(UsageError, match="committee of 3 networks; set member"):
            native.NativeModel(file, member=k)
    _, single = exported("schnet", "safetensors")
    with pytest.raises(UsageError, match="holds one network"):
        native.NativeModel(single.file("model.safetensors"), member=0)


def test_linear_filters_are_those_of_the_network_within_the_bound_and_vanish_at_the_cutoff(make_release_of, tmp_path):
    potential, metadata = make_release_of("schnet", tmp_path)
    bound = metadata.tolerance["filters"]
    changed = tabulate(potential, bound)
    assert isinstance(changed.representation, Linear)
    assert not isinstance(potential.representation, Linear)
    coarse, fine = (fitted(potential.representation, size)[1] for size in (16, 32))
    assert coarse > 10 * fine > 0.0
    pair = [Atoms("CO", [[0, 0, 0], [0, 0, d]]) for d in (0.7, 1.1, 2.0, 3.0, 3.9, 3.999999)]
    far = Atoms("CO", [[0, 0, 0], [0, 0, 9.0]])
    graph = build([*pair, far], potential.cutoff)
    expected, got = Eager(potential).compute(graph), Eager(changed).compute(graph)
    np.testing.assert_allclose(got["energy"], expected["energy"], rtol=0, atol=1e-4 * np.ptp(expected["energy"]))
    np.testing.assert_allclose(got["forces"], expected["forces"], rtol=0, atol=1e-4 * np.abs(expected["forces"]).max())
    assert got["energy"][-2] == pytest.approx(got["energy"][-1], abs=1e-9)
    assert np.abs(got["forces"][-4:-2]).max() < 1e-4


def test_a_bound_that_cannot_be_kept_or_0_leaves_the_networks(make_release_of, tmp_path):
    potential, _ = make_release_of("schnet", tmp_path)
    for bound in (0.0, 1e-15):
        assert not isinstance(tabulate(potential, bound).representation, Linear)


def test_flat_words_stand_beside_zoo_json_in_onnx(made):
    release = made("schnet").release
    session = onnxruntime.InferenceSession(release.file("model.onnx"), providers=["CPUExecutionProvider"])
    found = session.get_modelmeta().custom_metadata_map
    assert found == labels(release.metadata)
    assert (found["cutoff"], found["species"]) == ("4.0", "1 6 8 14")
    assert (found["energy_unit"], found["length_unit"]) == ("eV", "angstrom")


def test_matrices_that_are_transposes_of_others_are_kept_once_and_nothing_changes():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 5)).astype(np.float32), rng.normal(size=(4, 4)).astype(np.float32)
    matrices = {"a": a, "a_t": a.T.copy(), "a_again": a, "a_t_again": a.T.copy(), "b": b, "symmetric": b + b.T}
    value = onnx.helper.make_tensor_value_info
    nodes = [onnx.helper.make_node("MatMul", ["x", "a"], ["h0"])]
    nodes += [
        onnx.helper.make_node("MatMul", [f"h{k}", name], [f"h{k + 1}"])
        for k, name in enumerate(["a_t", "a_again", "a_t_again"])
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "products",
        [value("x", onnx.TensorProto.FLOAT, ["n", 3])],
        [value("h3", onnx.TensorProto.FLOAT, ["n", 3])],
        [onnx.numpy_helper.from_array(matrix, name) for name, matrix in matrices.items()],
    )

    def compute():
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
        onnx.checker.check_model(model, full_check=True)
        return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": np.eye(3, dtype=np.float32)})[0]

    before = compute()
    trim(graph)
    assert {tensor.name for tensor in graph.initializer} == {"a", "a_again", "b", "symmetric"}
    np.testing.assert_array_equal(compute(), before)


def test_torchscript_computes_its_first_call_as_the_later_ones_and_in_float64(made):
    model = made("schnet")
    graph = build(STRUCTURES["very different sizes"], 4.0)
    backend = choose(replace(model.release, trusted=True), "torchscript", "cpu")
    first = backend.compute(graph)
    for _ in range(4):
        again = backend.compute(graph)
        assert all(np.array_equal(again[key], first[key]) for key in first)
    double = choose(replace(model.release, trusted=True), "torchscript", "cpu", "float64")
    assert max(deviations(model.potential, double).values()) < 1e-11


def test_what_a_release_holds_unless_asked_for_is_small(made):
    files = {TARGETS[name].file for name in DEFAULT}
    assert {path.name for path in made("schnet").release.path.iterdir()} >= files
    assert not files & {target.file for name, target in TARGETS.items() if name not in DEFAULT}


@pytest.fixture
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("ZOO_CACHE", str(folder))
    return folder


@pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler")
def test_aoti_compiles_once_for_any_number_of_atoms_edges_and_systems(exported, cache, monkeypatch):
    potential, release = exported("schnet-tiny", "pt2")
    with zipfile.ZipFile(release.file("model.pt2")) as archive:
        extra = {e.split("/extra/")[1]: archive.read(e) for e in archive.namelist() if "/extra/" in e}
    assert extra["zoo.json"] == release.file("zoo.json").read_bytes()
    assert extra["outputs"].decode().split() == list(potential.outputs())
    backend = choose(release, "aoti", "cpu", threads=2)
    worst = deviations(potential, backend)
    assert max(worst.values()) < 1e-5
    assert [path.suffix for path in (cache / "compiled").iterdir() if path.name.startswith("aoti")].count(".pt2") == 1
    monkeypatch.setattr(aoti, "_compile", lambda *_: pytest.fail("it was compiled twice"))
    graph = build(STRUCTURES["very different sizes"], potential.cutoff)
    again = choose(release, "aoti", "cpu").compute(graph)
    assert all(np.array_equal(value, again[key]) for key, value in backend.compute(graph).items())


def test_aoti_says_in_one_line_what_is_missing(exported, cache, monkeypatch):
    _, release = exported("schnet-tiny", "pt2")
    with pytest.raises(BackendUnavailable, match="is a program"):
        choose(replace(release, trusted=False), "aoti")
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(BackendUnavailable, match=r"no C\+\+ compiler 'no-such-compiler'; install"):
        choose(release, "aoti", "cpu")
    for version in ("2.9.1+cpu", "2.14.0", "3.0.0"):
        monkeypatch.setattr(torch, "__version__", version)
        with pytest.raises(BackendUnavailable, match=r"pip install 'torch>=2\.10,<2\.14'") as failure:
            choose(release, "aoti", "cpu")
        assert "\n" not in str(failure.value)
    monkeypatch.undo()
    release.file("model.pt2").write_bytes(b"<html>not a program</html>")
    with pytest.raises(ReleaseInvalid, match=r"model\.pt2 of .* cannot be read"):
        choose(release, "aoti", "cpu")


def test_auto_never_compiles(exported, cache):
    _, release = exported("schnet-tiny", "pt2")
    with pytest.raises(BackendUnavailable, match=r"native.*onnx.*torchscript") as failure:
        choose(release)
    assert "aoti" not in str(failure.value)


def test_the_recorded_graph_sums_without_scatter_and_names_its_inputs(make_release_of, tmp_path):
    potential, metadata = make_release_of("schnet-tiny", tmp_path)
    recorded = record(tabulate(potential, metadata.tolerance["filters"]))
    operators = {str(node.target) for node in recorded.module.graph.nodes}
    assert not any("scatter" in name or "index_add" in name for name in operators)
    assert recorded.inputs[-2:] == ["edges_0_slots", "edges_1_slots"]
    assert recorded.outputs == list(potential.outputs())
    assert onnx.defs.onnx_opset_version() >= 20
