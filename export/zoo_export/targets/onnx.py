"""ONNX with forces and stress inside the graph, for any number of atoms, edges and systems."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx.helper
import onnx.numpy_helper
import torch

from zoo.models import Potential
from zoo_export.describe import labels
from zoo_export.tabulate import tabulate
from zoo_export.unroll import record
from zoo_registry.errors import ExportError
from zoo_registry.metadata import Metadata

OPSET = 20


def write(potential: Potential, metadata: Metadata, path: Path) -> None:
    """Write the float32 graph, with ``zoo.json`` and the flat words of `labels` in its metadata.

    Args:
        potential: The network.
        metadata: The metadata of the release; its ``tolerance["filters"]`` is the error that tables may have.
        path: ``model.onnx``.

    Raises:
        ExportError: The graph would hold something that ONNX Runtime computes wrongly, or that is not plain ONNX.
    """
    write_graph(tabulate(potential, metadata.tolerance.get("filters", 0.0)), metadata, path)


def write_graph(potential: Potential, metadata: Metadata, path: Path) -> None:
    """Write a network as it is; arguments and errors as `write`."""
    recorded = record(potential)
    with _quiet():
        program = torch.onnx.export(
            recorded.module,
            recorded.arguments,
            input_names=recorded.inputs,
            output_names=recorded.outputs,
            dynamic_shapes=recorded.dynamic,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise ExportError("the ONNX exporter of torch returned nothing; install a torch version that we admit.")
    proto = program.model_proto
    trim(proto.graph)
    for key, value in labels(metadata).items():
        proto.metadata_props.add(key=key, value=value)
    check(proto)
    onnx.save(proto, path)


def trim(graph: onnx.GraphProto) -> None:
    """Leave out the exporter's notes on every node, and matrices that are transposes of others: hosts make those."""
    for node in graph.node:
        node.ClearField("metadata_props")
    graph.ClearField("value_info")
    known: dict[tuple[tuple[int, ...], bytes], str] = {}
    for tensor in [*graph.initializer]:
        values = onnx.numpy_helper.to_array(tensor)
        if values.ndim != 2 or min(values.shape) == 1:
            continue
        if twin := known.get((values.T.shape, values.T.tobytes())):
            graph.initializer.remove(tensor)
            graph.node.insert(0, onnx.helper.make_node("Transpose", [twin], [tensor.name], perm=[1, 0]))
        else:
            known[values.shape, values.tobytes()] = tensor.name


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
