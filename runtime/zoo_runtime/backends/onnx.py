"""ONNX Runtime: runs ``model.onnx`` or ``model-float64.onnx`` without torch.

ONNX Runtime's parallel scatter-add is a race (onnxruntime#18048), so the graph takes, for every index that it sums
over, a table of what goes into each row. It also fails on empty tensors, so two edges beyond the cutoff, and a triple
of them, are always there; no table lists them, and they contribute exactly nothing.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from zoo_registry.errors import ReleaseInvalid, StructureError
from zoo_registry.release import METADATA, Release
from zoo_runtime import keys
from zoo_runtime.backends import BackendUnavailable
from zoo_runtime.graph import Graph, Ints

FILES = {"float32": "model.onnx", "float64": "model-float64.onnx"}
CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
INPUT = re.compile(r"numbers|positions|shifts|system|cell|edges(_[01]_slots)?|triples(_[012]_slots)?")


def available() -> str | None:
    """Return None where ONNX Runtime is installed, else one line on what to do."""
    if importlib.util.find_spec("onnxruntime"):
        return None
    return "onnxruntime is not installed; pip install 'atomzoo[onnx]', or 'atomzoo[gpu]' for CUDA"


def open_backend(release: Release, device: str = "auto", dtype: str = "float32", threads: int | None = None) -> Onnx:
    """Open the graph; arguments and errors as `zoo_runtime.backends.choose`."""
    import onnxruntime

    file = FILES[dtype]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Higher levels take longer to start and gain nothing on these graphs.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.intra_op_num_threads = threads or 0
    # Threads that wait in a busy loop slow down everything else on a machine that is shared.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    cuda = CUDA in onnxruntime.get_available_providers()
    if device == "cuda" and not cuda:
        raise BackendUnavailable("this onnxruntime has no CUDA; pip install 'atomzoo[gpu]' in its place")
    providers = [CUDA, CPU] if cuda and device != "cpu" else [CPU]
    try:
        session = onnxruntime.InferenceSession(str(release.file(file)), options, providers)
    except Exception as error:  # its errors share no base class
        raise ReleaseInvalid(f"{file} of {release} cannot be loaded ({_text(error)}); fetch it again.") from error
    provider = session.get_providers()[0]
    if device == "cuda" and provider != CUDA:
        raise BackendUnavailable("onnxruntime could not start on CUDA; check the driver and the CUDA version")
    if session.get_modelmeta().custom_metadata_map.get(METADATA, "").encode() != release.file(METADATA).read_bytes():
        raise ReleaseInvalid(f"{file} of {release} carries another {METADATA}; export the release again.")
    if unknown := [value.name for value in session.get_inputs() if not INPUT.fullmatch(value.name)]:
        raise ReleaseInvalid(f"{file} of {release} asks for {', '.join(unknown)}; install a newer atomzoo.")
    where = provider.removesuffix("ExecutionProvider")
    return Onnx(session, release.metadata.cutoff, f"onnxruntime {onnxruntime.__version__}, {where}, {dtype}")


class Onnx:
    """A session of ONNX Runtime.

    Args:
        session: ``onnxruntime.InferenceSession``.
        cutoff: Å, beyond which the edges go that contribute nothing.
        description: For people.
    """

    name = "onnx"

    def __init__(self, session: Any, cutoff: float, description: str) -> None:
        self.description = description
        self._session = session
        self._cutoff = cutoff
        self._inputs = [value.name for value in session.get_inputs()]
        self._outputs = [value.name for value in session.get_outputs()]

    def compute(self, graph: Graph) -> dict[str, npt.NDArray]:
        """Run the graph; see `zoo_runtime.backends.Backend`."""
        try:
            values = self._session.run(self._outputs, feeds(graph, self._inputs, self._cutoff))
        except Exception as error:  # its errors share no base class
            raise StructureError(f"onnxruntime failed on {graph}: {_text(error)}") from error
        return dict(zip(self._outputs, values, strict=True))


def feeds(graph: Graph, names: Iterable[str], cutoff: float) -> dict[str, npt.NDArray]:
    """Return the inputs of an exported graph.

    Args:
        graph: A batch.
        names: The inputs that the graph asks for. ``<tensor>_<row>_slots`` is the slot table of that index.
        cutoff: Of the model, in Å.
    """
    n_atoms, n_edges = len(graph.numbers), graph.edges.shape[1]
    listed = graph.tensors()
    tensors = dict(listed)
    tensors[keys.EDGES] = np.pad(graph.edges, ((0, 0), (0, 2)))
    tensors[keys.SHIFTS] = np.concatenate([graph.shifts, 2 * cutoff * np.eye(3)[:2]])
    if graph.triples is not None:
        tensors[keys.TRIPLES] = np.append(graph.triples, [[0], [n_edges], [n_edges + 1]], axis=1)
    for name in names:
        if name.endswith("_slots"):
            tensor, row, _ = name.split("_")
            size = n_atoms if tensor == keys.EDGES or row == "0" else n_edges + 2
            tensors[name] = slot_table(listed[tensor][int(row)], size, tensors[tensor].shape[1])
    return {name: tensors[name] for name in names}


def slot_table(index: Ints, size: int, padding: int) -> Ints:
    """List for each row of a sum which summands go into it.

    Args:
        index: [m], the row to which each summand goes.
        size: Number of rows N of the sum.
        padding: What fills the free slots.

    Returns:
        [N, K] int64, each row ascending; K is the largest number of summands of a row, at least 1.
    """
    order = np.argsort(index, kind="stable")
    counts = np.bincount(index, minlength=size)
    table = np.full((size, max(1, counts.max(initial=0))), padding, dtype=np.int64)
    column = np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts)
    table[index[order], column] = order
    return table


def _text(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
