"""The compiled inner loops of `zoo.train.passes`."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from torch import Tensor

from zoo_registry.store import cache_folder

SOURCE = Path(__file__).with_name("convolution.cpp")
FLAGS = [
    "-O3",
    "-march=native",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fopenmp-simd",
    "-shared",
    "-fPIC",
    "-std=c++17",
]


class Kernels:
    """The functions of ``convolution.cpp``: sizes first, then tensors, contiguous and float32 (indices int64).

    Args:
        path: The compiled library.
    """

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        self.activate = _function(library.zoo_activate, 2)
        self.bend = _function(library.zoo_bend, 1)
        self.convolve = _function(library.zoo_convolve, 2)
        self.convolve_tangent = _function(library.zoo_convolve_tangent, 2)
        self.convolve_distance = _function(library.zoo_convolve_distance, 2)
        self.convolve_table = _function(library.zoo_convolve_table, 2)
        self.convolve_tangent_table = _function(library.zoo_convolve_tangent_table, 2)


def _function(function: Callable[..., None], sizes: int) -> Callable[..., None]:
    integer, pointer = ctypes.c_int64, ctypes.c_void_p
    function.restype = None  # type: ignore[attr-defined]

    def call(*arguments: int | Tensor) -> None:
        function(
            *[integer(size) for size in arguments[:sizes]],  # type: ignore[arg-type]
            *[pointer(tensor.data_ptr()) for tensor in arguments[sizes:]],  # type: ignore[union-attr]
        )

    return call


@cache
def compiled_kernels() -> Kernels | None:
    """Compile ``convolution.cpp`` for this machine, once; None where there is no working C++ compiler."""
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        return None
    folder = cache_folder() / "compiled"
    machine = Path("/proc/cpuinfo").read_text()[:4096] if Path("/proc/cpuinfo").exists() else ""
    key = hashlib.sha256("\n".join([SOURCE.read_text(), compiler, *FLAGS, machine]).encode()).hexdigest()[:16]
    path = folder / f"convolution-{key}.so"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            built = Path(scratch) / path.name
            done = subprocess.run([compiler, *FLAGS, str(SOURCE), "-o", str(built)], capture_output=True)
            if done.returncode != 0:
                return None
            os.replace(built, path)
    return Kernels(path)
