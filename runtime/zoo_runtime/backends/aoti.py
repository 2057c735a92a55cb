"""AOTInductor: a library that torch compiles for this very machine from ``model.pt2``, once.

The library lies in the cache folder of zoo under a name that says what it was made from: the program, the version of
torch, the device, and the instructions of the processor.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zoo_registry.errors import ReleaseInvalid, StructureError
from zoo_registry.release import METADATA, Release
from zoo_registry.store import cache_folder
from zoo_runtime.backends import BackendUnavailable
from zoo_runtime.backends.onnx import INPUT, feeds
from zoo_runtime.backends.versions import missing, untested
from zoo_runtime.graph import Graph

FILES = {"float32": "model.pt2", "float64": "model-float64.pt2"}


def available() -> str | None:
    """Return None where a library can be compiled and run, else what is missing."""
    return missing() or untested()


def open_backend(release: Release, device: str = "auto", dtype: str = "float32", threads: int | None = None) -> Aoti:
    """Compile the program, unless that was done before; arguments and errors as `zoo_runtime.backends.choose`."""
    import torch

    file = FILES[dtype]
    if device == "cuda" and not torch.cuda.is_available():
        raise BackendUnavailable("this torch finds no CUDA device; see nvidia-smi, or install a CUDA build of torch")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    extra = _extra(release.file(file), str(release))
    if extra.get(METADATA) != release.file(METADATA).read_bytes():
        raise ReleaseInvalid(f"{file} of {release} carries another {METADATA}; export the release again.")
    inputs, outputs = (extra.get(name, b"").decode(errors="replace").split() for name in ("inputs", "outputs"))
    if unknown := [name for name in inputs if not INPUT.fullmatch(name)]:
        raise ReleaseInvalid(f"{file} of {release} asks for {', '.join(unknown)}; install a newer atomzoo.")
    if threads:
        torch.set_num_threads(threads)
    library = compiled(release.file(file), device)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated", FutureWarning)
        run = torch._inductor.aoti_load_package(str(library))
    description = f"torch {torch.__version__} AOTInductor, {device.upper()}, {dtype}"
    return Aoti(run, inputs, outputs, release.metadata.cutoff, device, description)


def compiled(program: Path, device: str) -> Path:
    """Return the library of a program for this machine, and make it first where there is none.

    Args:
        program: A file of torch.export.
        device: ``cpu`` or ``cuda``.

    Raises:
        BackendUnavailable: No compiler, or it failed.
        ReleaseInvalid: The program cannot be read.
    """
    import torch
    from filelock import FileLock

    made_from = [hashlib.sha256(program.read_bytes()).hexdigest(), torch.__version__, device, _machine(device)]
    folder = cache_folder() / "compiled"
    path = folder / f"aoti-{hashlib.sha256(chr(10).join(made_from).encode()).hexdigest()[:16]}.pt2"
    if path.is_file():
        return path
    compiler = os.environ.get("CXX", "g++")
    if not shutil.which(compiler):
        raise BackendUnavailable(f"there is no C++ compiler {compiler!r}; install g++, or name another in CXX")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")), tempfile.TemporaryDirectory(dir=folder) as scratch:
            if not path.is_file():  # another process may have made it meanwhile
                made = Path(scratch) / path.name
                _compile(program, device, made)
                os.replace(made, path)
    except OSError as error:
        raise BackendUnavailable(f"nothing can be written to {folder} ({error}); set ZOO_CACHE") from error
    return path


def _compile(program: Path, device: str, path: Path) -> None:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's remarks on its own parts
        try:
            exported = torch.export.load(program)
        except Exception as error:  # its errors share no base class
            raise ReleaseInvalid(f"torch cannot read {program} ({_text(error)}); fetch the release again.") from error
        if device == "cuda":
            from torch.export.passes import move_to_device_pass

            exported = move_to_device_pass(exported, "cuda")
        try:
            torch._inductor.aoti_compile_and_package(exported, package_path=str(path))
        except Exception as error:  # its errors share no base class
            raise BackendUnavailable(f"torch could not compile {program.name} ({_text(error)})") from error


def _machine(device: str) -> str:
    """Return what the compiler looks at when it chooses instructions."""
    import torch

    if device == "cuda":
        return f"{torch.cuda.get_device_name()} {torch.cuda.get_device_capability()}"
    info = Path("/proc/cpuinfo")
    flags = re.search(r"^(flags|Features)\s*:.*$", info.read_text(), re.M) if info.exists() else None
    return f"{platform.machine()} {flags.group() if flags else platform.processor()}"


def _extra(path: Path, release: str) -> dict[str, bytes]:
    """Return the files beside the program, without torch."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {
                entry.split("/extra/")[1]: archive.read(entry) for entry in archive.namelist() if "/extra/" in entry
            }
    except (zipfile.BadZipFile, OSError) as error:
        raise ReleaseInvalid(f"{path.name} of {release} cannot be read ({error}); fetch it again.") from error


class Aoti:
    """A compiled library.

    Args:
        run: Takes tensors, gives tensors.
        inputs: Names of what it takes.
        outputs: Names of what it gives.
        cutoff: Å, beyond which the edges go that contribute nothing.
        device: ``cpu`` or ``cuda``.
        description: For people.
    """

    name = "aoti"

    def __init__(
        self, run: Any, inputs: list[str], outputs: list[str], cutoff: float, device: str, description: str
    ) -> None:
        self.description = description
        self._run, self._inputs, self._outputs = run, inputs, outputs
        self._cutoff, self._device = cutoff, device

    def compute(self, graph: Graph) -> dict[str, npt.NDArray]:
        """Run the library; see `zoo_runtime.backends.Backend`."""
        import torch

        arrays = feeds(graph, self._inputs, self._cutoff)
        # The library takes the strides of a dense array for granted.
        tensors = [torch.as_tensor(np.ascontiguousarray(arrays[n]), device=self._device) for n in self._inputs]
        try:
            values = self._run(*tensors)
        except RuntimeError as error:  # torch raises it for everything, lack of memory among it
            raise StructureError(f"torch failed on {graph}: {_text(error)}") from error
        return {name: value.cpu().numpy() for name, value in zip(self._outputs, values, strict=True)}


def _text(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
