"""The numbered guarantees of docs/security.md that need a model to run; the others are in tests/registry."""

from __future__ import annotations

import ast
import json
import re
import resource
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from ase.build import molecule
from ase.data import chemical_symbols

from zoo_registry.errors import ModelError, ReleaseInvalid, StructureError
from zoo_registry.manifest import write_manifest
from zoo_registry.release import open_release
from zoo_registry.store import BUNDLED
from zoo_runtime import cli, load
from zoo_runtime.backends import BACKENDS, CODE, BackendUnavailable

HOUSE = Path(__file__).parents[2]
BUNDLE = next((BUNDLED / "schnet-qm9").iterdir())
WATER = molecule("H2O")


def native() -> bool:
    from zoo_runtime.backends import native

    return native.available() is None


needs_native = pytest.mark.skipif(not native(), reason="the native engine was not built")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of a bundled release: nobody vouches for it."""
    return Path(shutil.copytree(BUNDLE, tmp_path / "copy"))


@pytest.mark.parametrize("number", [*range(1, 15), *range(20, 27)])
def test_every_guarantee_has_a_test_and_stands_in_the_documentation(number: int) -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in (HOUSE / "tests").rglob("test_*.py"))
    assert f"def test_guarantee_{number:02}_" in tests
    assert re.search(rf"^{number}\. ", (HOUSE / "docs" / "security.md").read_text(encoding="utf-8"), re.MULTILINE)


def python(script: str, *arguments: object) -> str:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


NO_PICKLE = """
import sys
from ase.build import molecule
from zoo_runtime import load
events = []
sys.addaudithook(lambda event, args: events.append(event) if event == "pickle.find_class" else None)
load(sys.argv[1], backend=sys.argv[2], device="cpu").predict(molecule("H2O"))
print(events)
"""


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name not in CODE])
def test_guarantee_09_no_pickle_is_opened_on_the_way_to_a_prediction(backend: str) -> None:
    if backend == "native" and not native():
        pytest.skip("the native engine was not built")
    assert python(NO_PICKLE, "schnet-qm9", backend) == "[]\n"


class Bomb:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path("exploded"),)


def test_guarantee_09_a_pickle_in_place_of_torchscript_does_not_run_even_when_trusted(
    copy, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save(Bomb(), copy / "model.pt")
    write_manifest(copy)
    with pytest.raises(ReleaseInvalid, match="torch cannot load"):
        load(copy, backend="torchscript", trust=True)
    assert not Path("exploded").exists()


def test_guarantee_09_every_torch_load_says_weights_only() -> None:
    calls = [
        node
        for root in ("registry", "runtime", "zoo", "export")
        for path in (HOUSE / root).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "pickle.load", "pickle.loads")
    ]
    assert calls
    for call in calls:
        assert "weights_only=True" in ast.unparse(call)


def test_guarantee_10_torchscript_runs_only_from_a_trusted_release(copy: Path, capsys) -> None:
    assert load("schnet-qm9", backend="torchscript").backend.name == "torchscript"
    with pytest.raises(
        BackendUnavailable, match="is a program, and is run only from a release that is bundled, signed"
    ):
        load(copy, backend="torchscript")
    assert load(copy, backend="torchscript", trust=True).backend.name == "torchscript"
    assert cli.run(["predict", f"model={copy}", "backend=torchscript", str(HOUSE / "examples/ethanol.xyz")]) == 3
    words = ["predict", f"model={copy}", "backend=torchscript", "--trust", str(HOUSE / "examples/ethanol.xyz")]
    assert cli.run(words) == 0
    assert "TorchScript" in capsys.readouterr().out


def test_guarantee_10_auto_never_runs_code_that_is_not_trusted(copy: Path) -> None:
    for file in ("model.onnx", "model.safetensors"):
        (copy / file).unlink()
    write_manifest(copy)
    with pytest.raises(BackendUnavailable, match="is a program"):
        load(copy)


@pytest.mark.parametrize("kind", ["custom operator", "external data"])
def test_guarantee_10_onnx_with_custom_operators_or_data_elsewhere_is_refused(copy, tmp_path, kind) -> None:
    proto = onnx.load(copy / "model.onnx")
    if kind == "custom operator":
        proto.opset_import.add(domain="evil", version=1)
        proto.graph.node[0].domain = "evil"
    else:
        (tmp_path / "outside").write_bytes(b"\0" * 10_000_000)
        tensor = max(proto.graph.initializer, key=lambda t: t.ByteSize())
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../outside")
    (copy / "model.onnx").write_bytes(proto.SerializeToString())
    write_manifest(copy)
    with pytest.raises(ReleaseInvalid, match=r"model\.onnx of schnet-qm9@[0-9.]+ cannot be loaded"):
        load(copy, backend="onnx")


def test_guarantee_11_what_is_code_comes_last_in_the_order_of_preference() -> None:
    assert tuple(BACKENDS)[-len(CODE) :] == CODE


def lie(path: Path, change: str) -> None:
    content = bytearray(path.read_bytes())
    size = int.from_bytes(content[:8], "little")
    if change == "endless header":
        content[:8] = (1 << 60).to_bytes(8, "little")
    elif change == "offsets beyond the file":
        header = json.loads(content[8 : 8 + size])
        name = next(name for name in header if name != "__metadata__")
        header[name]["data_offsets"] = [0, 1 << 50]
        text = json.dumps(header).encode()
        content[: 8 + size] = len(text).to_bytes(8, "little") + text
    elif change == "not a number":
        content[-4:] = np.array([np.nan], np.float32).tobytes()
    else:
        del content[-100:]
    path.write_bytes(content)


@needs_native
@pytest.mark.parametrize("change", ["endless header", "offsets beyond the file", "not a number", "truncated"])
def test_guarantee_11_weights_that_lie_are_refused_before_they_are_used(copy: Path, change: str) -> None:
    lie(copy / "model.safetensors", change)
    write_manifest(copy)
    with pytest.raises(ModelError, match=r"model\.safetensors") as caught:
        load(copy, backend="native")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_guarantee_20_a_gpu_that_is_missing_is_an_error_and_the_report_names_what_ran(capsys) -> None:
    file = str(HOUSE / "examples/ethanol.xyz")
    assert cli.run(["predict", "model=schnet-qm9", "device=cuda", file]) == 3
    assert "cannot run with device=cuda" in capsys.readouterr().err
    assert cli.run(["predict", "model=schnet-qm9", "backend=onnx", file]) == 0
    assert re.search(r"backend: onnxruntime [\d.]+, CPU", capsys.readouterr().out)


def test_guarantee_21_results_keep_their_order_and_one_bad_structure_loses_no_other() -> None:
    model = load("schnet-qm9", backend="onnx")
    good = [molecule(name) for name in ("CH3CH2OH", "H2O", "C6H6", "CH4")]
    results = model.predict([*good[:2], molecule("SiH4"), *good[2:]], errors="return")
    assert isinstance(results.pop(2), StructureError)
    for atoms, result in zip(good, results, strict=True):
        assert result.energy == pytest.approx(model.predict(atoms).energy, abs=1e-5 * len(atoms))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("backend", ["native", "onnx"])
def test_guarantee_22_the_same_structure_gives_the_same_bits(backend: str, threads: int) -> None:
    if backend == "native" and not native():
        pytest.skip("the native engine was not built")
    model = load("schnet-qm9", backend=backend, threads=threads)
    first = model.predict(molecule("C6H6"))
    for _ in range(20):
        again = model.predict(molecule("C6H6"))
        assert again.energy == first.energy
        np.testing.assert_array_equal(again.forces, first.forces)


@pytest.mark.parametrize("backend", ["native", "onnx"])
def test_guarantee_23_memory_stays_flat_and_threads_get_what_one_thread_gets(backend: str) -> None:
    if backend == "native" and not native():
        pytest.skip("the native engine was not built")
    model = load("schnet-qm9", backend=backend, threads=1)
    molecules = [molecule(name) for name in ("H2O", "CH4", "CH3OH", "C2H6")]
    expected = [model.predict(atoms).energy for atoms in molecules]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda k: model.predict(molecules[k % 4]).energy, range(80)))
    assert got == expected * 20
    for _ in range(500):
        model.predict(WATER)
    before = resident()
    for _ in range(3000):
        model.predict(WATER)
    assert resident() - before < 4 << 20


def resident() -> int:
    """Return the bytes of memory that this process holds now."""
    status = Path("/proc/self/statm")
    if not status.exists():
        pytest.skip("the system does not tell")
    return int(status.read_text().split()[1]) * resource.getpagesize()


LIGHT = """
import sys
from ase.build import molecule
from zoo_runtime import load
load("schnet-qm9", backend="onnx").predict(molecule("H2O"))
heavy = {"torch", "onnx", "pytorch_lightning", "pydantic", "torch_geometric", "zoo", "zoo_export", "model_signing"}
print(sorted(heavy & set(sys.modules)))
"""


def test_guarantee_24_a_prediction_loads_no_training_code() -> None:
    assert python(LIGHT) == "[]\n"


@pytest.mark.parametrize("folder", sorted(path.parent for path in BUNDLED.glob("*/*/zoo.json")), ids=str)
def test_guarantee_26_the_card_and_info_tell_what_a_user_must_know(folder: Path, capsys) -> None:
    data = open_release(folder).metadata
    card = (folder / "README.md").read_text(encoding="utf-8")
    errors = {key: error for key, error in data.metrics.items() if key.endswith("_mae")}
    assert errors
    for word in (
        data.license.lower(),
        data.training["dataset"],
        "licence of the data",
        data.level_of_theory,
        f"Elements: {', '.join(chemical_symbols[z] for z in data.species)}",
        "Shortest distances",
        *(f"{key} | {error['value']:.4g} | {error['unit']}" for key, error in errors.items()),
        f"seed {data.training['split']['seed']}",
        "doi",
    ):
        assert word in card
    assert cli.run(["info", str(folder)]) == 0
    shown = capsys.readouterr().out
    for word in (data.provenance["git_commit"], data.provenance["torch"], data.provenance["package_version"]):
        assert word in shown
