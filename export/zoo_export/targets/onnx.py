"""ONNX with forces and stress inside the graph, for any number of atoms, edges and systems."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
import torch

from zoo.models import Potential
from zoo_export.structures import example
from zoo_export.unroll import remove_scatter, unroll
from zoo_registry.errors import ExportError
from zoo_registry.metadata import Metadata
from zoo_runtime import keys
from zoo_runtime.backends.onnx import feeds

OPSET = 20

# Axes whose length is part of the meaning and not of the batch.
FIXED_AXES = {keys.POSITIONS: {1}, keys.EDGES: {0}, keys.SHIFTS: {1}, keys.CELL: {1, 2}, keys.TRIPLES: {0}}


def write(potential: Potential, metadata: Metadata, path: Path) -> None:
    """Write the graph, with ``zoo.json`` in its metadata.

    Args:
        potential: The network.
        metadata: The metadata of the release.
        path: ``model.onnx``.

    Raises:
        ExportError: The graph would hold something that ONNX Runtime computes wrongly, or that is not plain ONNX.
    """
    graph = example(potential)
    tensors = {name: torch.from_numpy(array) for name, array in graph.tensors().items()}
    module, outputs = unroll(copy.deepcopy(potential), tensors)
    module = remove_scatter(module).eval()
    names = [node.target for node in module.graph.nodes if node.op == "placeholder"]
    arrays = feeds(graph, names, potential.cutoff)
    arguments = tuple(torch.from_numpy(arrays[name]) for name in names)
    dynamic = tuple(
        {axis: torch.export.Dim.DYNAMIC for axis in range(a.dim()) if axis not in FIXED_AXES.get(name, ())}
        for name, a in zip(names, arguments, strict=True)
    )
    with _quiet():
        program = torch.onnx.export(
            module,
            arguments,
            input_names=names,
            output_names=outputs,
            dynamic_shapes=dynamic,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise ExportError("the ONNX exporter of torch returned nothing; install a torch version that we admit.")
    proto = program.model_proto
    proto.metadata_props.add(key="zoo.json", value=metadata.to_json().decode())
    check(proto)
    onnx.save(proto, path)


def check(proto: onnx.ModelProto) -> None:
    """Refuse a graph that is not plain, self-contained and repeatable.

    Raises:
        ExportError: A custom operator, a scatter, or weights outside the file.
    """
    nodes = [*proto.graph.node, *(node for function in proto.functions for node in function.node)]
    if custom := sorted({f"{node.domain}.{node.op_type}" for node in nodes if node.domain not in ("", "ai.onnx")}):
        raise ExportError(f"the ONNX graph holds custom operators {', '.join(custom)}; no host would have them.")
    if scatter := sorted({node.op_type for node in nodes if node.op_type.startswith("Scatter")}):
        raise ExportError(f"the ONNX graph holds {', '.join(scatter)}, a race with several threads.")
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in proto.graph.initializer):
        raise ExportError("the ONNX graph keeps weights outside its file.")
    onnx.checker.check_model(proto, full_check=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and its remarks on packages that we do not use out of the user's terminal."""
    logger = logging.getLogger("torch.onnx._internal.exporter")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            # torch 2.13 copies its own deprecated tree structures.
            warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated", FutureWarning)
            yield
    finally:
        logger.setLevel(level)
