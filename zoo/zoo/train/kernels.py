"""The compiled inner loops of `zoo.train.passes`."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
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
    """Compile ``convolution.cpp`` for this machine, once; None without a working C++ compiler and cache folder."""
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        return None
    folder = cache_folder() / "compiled"
    key = hashlib.sha256("\n".join([SOURCE.read_text(), compiler, *FLAGS, _processor()]).encode()).hexdigest()[:16]
    path = folder / f"convolution-{key}.so"
    try:
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                built = Path(scratch) / path.name
                done = subprocess.run([compiler, *FLAGS, str(SOURCE), "-o", str(built)], capture_output=True)
                if done.returncode != 0:
                    return None
                os.replace(built, path)
        return Kernels(path)
    except OSError:  # a folder that cannot be written, or from which nothing may run
        return None


def _processor() -> str:
    """Return what the system says of the first core, but for its clock, which changes by the moment."""
    facts = Path("/proc/cpuinfo")
    first = facts.read_text().partition("\n\n")[0] if facts.exists() else platform.processor()
    return "\n".join(line for line in first.splitlines() if "mhz" not in line.lower())
