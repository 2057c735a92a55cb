"""TorchScript: ``model.pt``, on any torch that still loads it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy.typing as npt

from zoo_registry.errors import ReleaseInvalid, StructureError
from zoo_registry.release import METADATA, Release
from zoo_runtime.backends import BackendUnavailable
from zoo_runtime.backends.versions import missing, untested
from zoo_runtime.graph import Graph

FILE = "model.pt"
FILES = {"float32": FILE, "float64": FILE}


def available() -> str | None:
    """Return None where torch is installed, else what to do."""
    return missing()


def open_backend(
    release: Release, device: str = "auto", dtype: str = "float32", threads: int | None = None
) -> TorchScript:
    """Open ``model.pt``; arguments and errors as `zoo_runtime.backends.choose`."""
    import torch

    if dtype != release.metadata.dtype and dtype != "float64":
        raise BackendUnavailable(f"{FILE} holds {release.metadata.dtype}, which runs as float64 too, not as {dtype}")
    if device == "cuda" and not torch.cuda.is_available():
        raise BackendUnavailable("this torch finds no CUDA device; see nvidia-smi, or install a CUDA build of torch")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if threads:
        torch.set_num_threads(threads)
    extra = {METADATA: ""}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`torch.jit.load` is deprecated", DeprecationWarning)
            module = torch.jit.load(release.file(FILE), map_location=device, _extra_files=extra)
    except (RuntimeError, AttributeError, NotImplementedError) as error:
        if reason := untested():  # TorchScript is deprecated, and may be gone
            raise BackendUnavailable(f"{reason} ({_cause(error)})") from error
        raise ReleaseInvalid(f"torch cannot load {FILE} of {release}: {_cause(error)}") from error
    document: Any = extra[METADATA]  # torch replaces the text by bytes
    if document != release.file(METADATA).read_bytes():
        raise ReleaseInvalid(f"{FILE} of {release} carries another {METADATA}; export the release again.")
    for parameter in module.parameters():
        parameter.requires_grad_(False)  # forces need no gradients of the weights
    if dtype == "float64":
        module.double()
    return TorchScript(module, device, f"torch {torch.__version__} TorchScript, {device.upper()}, {dtype}")


class TorchScript:
    """A scripted module.

    Args:
        module: ``torch.jit.ScriptModule`` that takes and gives a dictionary of tensors.
        device: ``cpu`` or ``cuda``, where the module is.
        description: For people.
    """

    name = "torchscript"

    def __init__(self, module: Any, device: str, description: str) -> None:
        self.description = description
        self._module = module
        self._device = device

    def compute(self, graph: Graph) -> dict[str, npt.NDArray]:
        """Run the module; see `zoo_runtime.backends.Backend`."""
        import torch

        tensors = {name: torch.as_tensor(a, device=self._device) for name, a in graph.tensors().items()}
        try:
            # The optimiser takes a hundred times the first calls' own time, and gains nothing that could be measured.
            with torch.jit.optimized_execution(False):
                outputs = self._module(tensors)
        except RuntimeError as error:  # torch raises it for everything, lack of memory among it
            raise StructureError(f"torch failed on {graph}: {_cause(error)}") from error
        return {name: value.detach().cpu().numpy() for name, value in outputs.items()}


def _cause(error: Exception) -> str:
    """Return the last line, where TorchScript puts the cause, after its own traceback."""
    return str(error).strip().rpartition("\n")[2]
