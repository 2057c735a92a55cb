"""The example programs for libtorch and ONNX Runtime reproduce the golden numbers of the bundled releases."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]
EXAMPLES = HOUSE / "runtime" / "cpp" / "examples"
BUNDLED = sorted((HOUSE / "registry" / "zoo_registry" / "bundled").glob("*/*"))
RELEASES = [path for path in BUNDLED if "energy" in json.loads((path / "zoo.json").read_bytes())["outputs"]]

pytestmark = pytest.mark.skipif(
    shutil.which("cmake") is None or shutil.which("c++") is None, reason="needs CMake and a C++ compiler"
)

Program = Callable[..., subprocess.CompletedProcess[str]]


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)


def build(name: str, checkout: Path) -> Path:
    """Build as docs/hosts.md says, where its own test builds too, so that it is done once."""
    program = checkout / f"build-{name}" / "energies"
    if not program.exists():
        python = f"-DPython_EXECUTABLE={shutil.which('python')}"
        source = Path("runtime", "cpp", "examples", name)
        for words in (("-S", source, "-B", program.parent, python), ("--build", program.parent)):
            done = run("cmake", *words)
            assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return program


@pytest.fixture
def torchscript(checkout: Path) -> Program:
    pytest.importorskip("torch")
    program = build("torchscript", checkout)
    return lambda release: run(program, release)


@pytest.fixture
def onnx(checkout: Path) -> Program:
    wheel = importlib.util.find_spec("onnxruntime")
    libraries = sorted(Path(wheel.origin).parent.glob("capi/libonnxruntime.so.*")) if wheel and wheel.origin else []
    if not libraries:
        pytest.skip("no libonnxruntime.so in an onnxruntime wheel")
    program = build("onnx", checkout)
    return lambda release, *file: run(program, release, libraries[0], *file)


@pytest.fixture(params=["torchscript", "onnx"])
def program(request: pytest.FixtureRequest) -> Program:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.parent.name)
def test_it_reproduces_the_golden_numbers(request: pytest.FixtureRequest, program: Program, release: Path) -> None:
    if request.node.callspec.params["program"] == "torchscript" and not (release / "model.pt").exists():
        pytest.skip("a release without TorchScript")
    done = program(release)
    assert done.returncode == 0, done.stdout + done.stderr
    golden = json.loads((release / "golden.json").read_bytes())["structures"]
    energies = [line.split() for line in done.stdout.splitlines() if line.startswith("  energy")]
    assert [float(words[1]) for words in energies] == pytest.approx([g["energy"] for g in golden], abs=2e-4)
    assert done.stdout.count("force on atom") == sum(len(g["numbers"]) for g in golden)
    assert any(any(g["pbc"]) for g in golden)


def test_numbers_that_disagree_make_it_fail(program: Program, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(RELEASES[0], tmp_path / "changed"))
    document = json.loads((copy / "golden.json").read_bytes())
    document["structures"][-1]["forces"][0][1] += 1e-3  # eV/Å
    (copy / "golden.json").write_text(json.dumps(document))
    done = program(copy)
    assert done.returncode == 1
    assert "1.0e-03 eV/A (1e-04): WRONG" in done.stdout


def test_an_element_that_the_model_does_not_know_is_refused(program: Program, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(RELEASES[0], tmp_path / "changed"))
    document = json.loads((copy / "golden.json").read_bytes())
    document["structures"][0]["numbers"][0] = 26
    (copy / "golden.json").write_text(json.dumps(document))
    done = program(copy)
    assert done.returncode == 1
    assert "does not know the element with Z = 26" in done.stderr


def test_no_release_is_one_line(program: Program, tmp_path: Path) -> None:
    done = program(tmp_path / "nowhere")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


def test_another_file_of_the_release_can_be_named(onnx: Program, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(RELEASES[0], tmp_path / "copy"))
    (copy / "model.onnx").rename(copy / "model-float64.onnx")
    assert onnx(copy, "model-float64.onnx").returncode == 0
    assert "model.onnx" in onnx(copy).stderr


def test_units_of_a_torchscript_file_are_read_and_may_be_missing(torchscript: Program, tmp_path: Path) -> None:
    import torch

    copy = Path(shutil.copytree(RELEASES[0], tmp_path / "copy"))
    document = (copy / "zoo.json").read_text(encoding="utf-8")
    module = torch.jit.load(copy / "model.pt")
    module.save(str(copy / "model.pt"), _extra_files={"zoo.json": document})
    assert torchscript(copy).returncode == 0
    module.save(str(copy / "model.pt"), _extra_files={"zoo.json": document, "energy_unit": "Hartree"})
    done = torchscript(copy)
    assert done.returncode == 1
    assert "the model is in Hartree and angstrom" in done.stderr
