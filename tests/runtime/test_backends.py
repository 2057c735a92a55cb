from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from zoo_registry.errors import ReleaseInvalid, UsageError
from zoo_registry.manifest import write_manifest
from zoo_registry.release import Release
from zoo_runtime.backends import BackendUnavailable, choose
from zoo_runtime.backends.onnx import feeds, slot_table
from zoo_runtime.graph import Graph, build
from zoo_runtime.model import load

MakeRelease = Callable[..., Release]
STRUCTURES = [molecule("CH3CH2OH"), Atoms("H"), bulk("C", cubic=True), molecule("H2O")]


class Springs(torch.nn.Module):
    """E = Σ_i (REFERENCE + ½ Σ_j k (rc² - d_ij²)²): the pair potential of conftest, with its k a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.k = torch.nn.Parameter(torch.tensor([1.0]))

    def forward(self, graph: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        edges = graph["edges"]
        i, j = edges[0], edges[1]
        r = (graph["positions"][j] + graph["shifts"] - graph["positions"][i]).detach().requires_grad_()
        inside = torch.relu(9.0 - (r * r).sum(-1)).to(self.k.dtype)
        pairs = (0.5 * self.k * inside * inside).to(torch.float64)
        n = graph["numbers"].shape[0]
        energies = torch.full([n], -1000.0, dtype=torch.float64, device=r.device).index_add(0, i, pairs)
        systems = graph["cell"].shape[0]
        zeros = torch.zeros([systems], dtype=torch.float64, device=r.device)
        energy = zeros.index_add(0, graph["system"], energies)
        g = torch.autograd.grad([energy.sum()], [r])[0]
        assert g is not None
        nothing = torch.zeros_like(graph["positions"])
        forces = nothing.index_add(0, i, g) - nothing.index_add(0, j, g)
        return {
            "energy": energy.detach(),
            "energies": energies.detach(),
            "forces": forces,
            "stress": torch.zeros_like(graph["cell"]),
        }


@pytest.fixture
def with_torchscript(make_release: MakeRelease) -> Callable[..., Release]:
    def make(document: str | None = None, onnx: bool = True) -> Release:
        release = make_release()
        text = release.file("zoo.json").read_text()
        torch.jit.script(Springs()).save(release.path / "model.pt", _extra_files={"zoo.json": document or text})
        if not onnx:
            release.file("model.onnx").unlink()
        write_manifest(release.path)
        return replace(release, trusted=True)

    return make


@pytest.mark.parametrize("threads", [None, 1, 2])
def test_onnx_computes_the_potential_in_its_file(make_release: MakeRelease, backend: object, threads: int) -> None:
    opened = choose(make_release(), "onnx", threads=threads)
    for structures in ([STRUCTURES[0]], [STRUCTURES[1]], STRUCTURES):  # the second has no edges at all
        graph = build(structures, 3.0)
        expected, got = backend.compute(graph), opened.compute(graph)
        for name in ("energy", "energies", "forces"):
            np.testing.assert_allclose(got[name], expected[name], rtol=0, atol=1e-10)
        np.testing.assert_allclose(got["stress"], expected["stress"], rtol=1e-6, atol=1e-10)  # float32 volume


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-10)])
def test_torchscript_computes_the_potential_in_its_file(
    with_torchscript: Callable[..., Release], backend: object, dtype: str, tolerance: float
) -> None:
    opened = choose(with_torchscript(), "torchscript", device="cpu", dtype=dtype)
    assert dtype in opened.description
    graph = build(STRUCTURES, 3.0)
    expected, got = backend.compute(graph), opened.compute(graph)
    for name in ("energy", "energies", "forces"):
        np.testing.assert_allclose(got[name], expected[name], rtol=0, atol=tolerance)
    assert (np.abs(got["energy"] - expected["energy"]).max() < 1e-10) == (dtype == "float64")


def test_auto_takes_the_first_backend_that_can(with_torchscript: Callable[..., Release]) -> None:
    release = with_torchscript()
    assert choose(release).name == "onnx"
    assert choose(release, dtype="float64").name == "torchscript"
    assert load(release.path, backend="torchscript", trust=True).backend.name == "torchscript"


def test_auto_passes_over_a_format_that_the_release_lacks(with_torchscript: Callable[..., Release]) -> None:
    assert choose(with_torchscript(onnx=False)).name == "torchscript"


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="has CUDA")
@pytest.mark.skipif(torch.cuda.is_available(), reason="has CUDA")
@pytest.mark.parametrize("backend", ["auto", "onnx", "torchscript"])
def test_a_gpu_that_is_asked_for_and_missing_is_an_error(
    with_torchscript: Callable[..., Release], backend: str
) -> None:
    with pytest.raises(BackendUnavailable, match="CUDA") as failure:
        choose(with_torchscript(), backend, device="cuda")
    assert failure.value.exit_code == 3


def test_a_dtype_that_no_file_holds_is_an_error_that_names_the_one_it_holds(make_release: MakeRelease) -> None:
    with pytest.raises(BackendUnavailable, match=r"no model-float64\.onnx.*no model\.pt"):
        choose(make_release(), dtype="float64")


def test_a_missing_library_is_named_with_the_line_that_installs_it(
    make_release: MakeRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendUnavailable, match=r"pip install 'atomzoo\[onnx\]'.*pip install 'torch"):
        choose(make_release())


def test_a_newer_torch_that_no_longer_loads_torchscript_says_which_one_does(
    with_torchscript: Callable[..., Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    release = with_torchscript()

    def gone(*_: object, **__: object) -> None:
        raise RuntimeError("TorchScript was removed")

    monkeypatch.setattr(torch.jit, "load", gone)
    with pytest.raises(ReleaseInvalid, match=r"cannot load model\.pt"):
        choose(release, "torchscript")
    monkeypatch.setattr(torch, "__version__", "3.0.0")
    with pytest.raises(BackendUnavailable, match=r"torch 3\.0\.0 is installed.*pip install 'torch>=2\.10,<2\.14'"):
        choose(release, "torchscript")


@pytest.mark.parametrize(
    "wrong", [{"backend": "onx"}, {"device": "gpu"}, {"dtype": "float16"}, {"threads": 0}], ids=str
)
def test_unknown_words_are_wrong_usage(make_release: MakeRelease, wrong: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=str(next(iter(wrong.values())))):
        choose(make_release(), **wrong)


def test_a_file_of_another_model_is_refused(
    make_release: MakeRelease, with_torchscript: Callable[..., Release]
) -> None:
    with pytest.raises(ReleaseInvalid, match=r"another zoo\.json"):
        choose(make_release(document=b"{}", name="other-model"), "onnx")
    with pytest.raises(ReleaseInvalid, match=r"another zoo\.json"):
        choose(with_torchscript(document="{}"), "torchscript")


@pytest.mark.parametrize(("backend", "file"), [("onnx", "model.onnx"), ("torchscript", "model.pt")])
def test_a_file_that_is_no_model_is_an_error_in_one_line(
    with_torchscript: Callable[..., Release], backend: str, file: str
) -> None:
    release = with_torchscript()
    Path(release.path / file).write_bytes(b"<html>not a model</html>")
    with pytest.raises(ReleaseInvalid, match=file) as failure:
        choose(release, backend)
    assert "\n" not in str(failure.value)


def test_slot_tables_sum_what_a_scatter_would() -> None:
    random = np.random.default_rng(0)
    for rows, length in ((5, 0), (1, 1), (7, 3), (30, 200)):
        index = random.integers(0, rows, length)
        values = random.normal(size=length)
        table = slot_table(index, rows, length)
        assert table.shape[0] == rows
        assert table.shape[1] >= 1
        assert all((np.diff(row[row < length]) > 0).all() for row in table)
        np.testing.assert_allclose(np.append(values, 0.0)[table].sum(axis=1), np.bincount(index, values, rows))


@pytest.mark.parametrize("structures", [[Atoms("H")], [molecule("CH4"), Atoms("H"), bulk("C")]], ids=["one", "many"])
def test_dummies_lie_beyond_the_cutoff_and_in_no_table(structures: list[Atoms]) -> None:
    graph = build(structures, 3.0, triples=True)
    names = ["numbers", "positions", "edges", "shifts", "system", "cell", "triples"]
    tables = ["edges_0_slots", "edges_1_slots", "triples_0_slots", "triples_1_slots", "triples_2_slots"]
    fed = feeds(graph, [*names, *tables], 3.0)
    n, e, t = len(graph.numbers), graph.edges.shape[1], graph.triples.shape[1]
    assert fed["edges"].shape == (2, e + 2)
    assert fed["triples"][:, t:].T.tolist() == [[0, e, e + 1]]
    assert not fed["edges"][:, e:].any()
    assert (fed["edges"][:, :e] == graph.edges).all()
    dummies = Graph(graph.numbers, graph.positions, fed["edges"][:, e:], fed["shifts"][e:], graph.system, graph.cell)
    assert (dummies.distances() > 3.0).all()
    assert np.linalg.matrix_rank(fed["shifts"][e:]) == 2  # so that the angle of the dummy triple is defined
    for name in tables:
        tensor, row, _ = name.split("_")
        count, padding = (e, e + 2) if tensor == "edges" else (t, t + 1)
        rows = n if tensor == "edges" or row == "0" else e + 2
        table = fed[name]
        assert table.shape[0] == rows
        listed = table[table != padding]
        assert sorted(listed.tolist()) == list(range(count))
        assert (graph.tensors()[tensor][int(row)][listed] == np.nonzero(table != padding)[0]).all()
