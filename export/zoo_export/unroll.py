"""A network with its derivatives as one flat graph of plain tensor operations, without any scatter."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.fx.experimental._config as fx_config
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from zoo.models import Potential
from zoo_export.structures import example
from zoo_registry.errors import ExportError
from zoo_runtime import keys
from zoo_runtime.backends.onnx import feeds

SLOTS = "{}_{}_slots"


def _softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    return torch.relu(x) + torch.log(1.0 + torch.exp(-torch.abs(x)))


def _softplus_backward(slope: Tensor, x: Tensor, beta: float, threshold: float) -> Tensor:
    return slope * torch.sigmoid(x)


# ONNX Runtime has no Softplus in float64.
DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.softplus.default: _softplus,
    torch.ops.aten.softplus_backward.default: _softplus_backward,
}


# Axes whose length is part of the meaning and not of the batch.
FIXED_AXES = {keys.POSITIONS: {1}, keys.EDGES: {0}, keys.SHIFTS: {1}, keys.CELL: {1, 2}, keys.TRIPLES: {0}}


class Recorded(NamedTuple):
    """A network as one graph, and all that an exporter asks for.

    Attributes:
        module: Takes the inputs in their order, gives the outputs in theirs.
        inputs: Names of `zoo_runtime.keys`, and of slot tables.
        outputs: Names of `zoo_runtime.keys`.
        arguments: Inputs of some batch.
        dynamic: For each input, which axes may have any length.
    """

    module: fx.GraphModule
    inputs: list[str]
    outputs: list[str]
    arguments: tuple[Tensor, ...]
    dynamic: tuple[dict[int, Any], ...]


def record(potential: Potential) -> Recorded:
    """Record energy, forces and stress of a network as one graph without any scatter.

    Args:
        potential: The network; a copy is used.

    Raises:
        ExportError: The graph would hold something that no exporter carries over exactly.
    """
    graph = example(potential)
    tensors = {name: torch.from_numpy(array) for name, array in graph.tensors().items()}
    module, outputs = unroll(copy.deepcopy(potential), tensors)
    module = remove_scatter(module).eval()
    inputs = [node.target for node in module.graph.nodes if node.op == "placeholder"]
    arrays = feeds(graph, inputs, potential.cutoff)
    arguments = tuple(torch.from_numpy(arrays[name]).contiguous() for name in inputs)
    dynamic = tuple(
        {axis: torch.export.Dim.DYNAMIC for axis in range(a.dim()) if axis not in FIXED_AXES.get(name, ())}
        for name, a in zip(inputs, arguments, strict=True)
    )
    return Recorded(module, inputs, outputs, arguments, dynamic)


def unroll(potential: Potential, example: dict[str, Tensor]) -> tuple[fx.GraphModule, list[str]]:
    """Record energy, forces and stress as one graph.

    `torch.export` and the ONNX exporter cannot follow a call of autograd inside the network; recording the
    operations that autograd runs can.

    Args:
        potential: The network; its weights become constants of the graph.
        example: Input tensors of some batch; the graph holds for any other size.

    Returns:
        A module that takes the input tensors in the order of ``example``, and the names of its outputs.
    """
    potential.eval().requires_grad_(False)
    names = list(example)
    outputs: list[str] = []

    def flat(*tensors: Tensor) -> list[Tensor]:
        predicted = potential(dict(zip(names, tensors, strict=True)))
        outputs[:] = predicted
        return list(predicted.values())

    # With duck shapes, two sizes that happen to be equal in the example would be taken for one.
    with fx_config.patch(use_duck_shape=False):  # type: ignore[attr-defined]
        module = make_fx(flat, DECOMPOSITIONS, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*example.values())
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    for node, name in zip(placeholders, names, strict=True):
        node.name = node.target = name
    module.recompile()
    return keep_precision(module), outputs


def remove_scatter(module: fx.GraphModule) -> fx.GraphModule:
    """Replace every scattered sum by a gather and a plain sum.

    ONNX Runtime adds into shared rows from several threads at once, with wrong and varying results. A slot table,
    made by the host, lists for each row of the sum which rows go into it, so that nothing is shared. Each table
    that is needed becomes an input ``<tensor>_<row>_slots [N, K]``, padded with the number of summands.

    Args:
        module: What `unroll` returned; changed in place.

    Raises:
        ExportError: A sum whose index is not a row of an input tensor.
    """
    graph = module.graph
    inputs = {node.target: node for node in graph.nodes if node.op == "placeholder"}
    for node in list(graph.nodes):
        if any(word in str(node.target) for word in ("scatter", "index_put")):
            raise ExportError(
                f"cannot export: the network's derivative holds {node.target}, which ONNX Runtime computes wrongly "
                "with several threads; pick rows with a gate of ones and zeros, or with index_select."
            )
        if node.target is not torch.ops.aten.index_add.default:
            continue
        _, _, index, values = node.args
        with graph.inserting_before(node):
            if index is inputs[keys.SYSTEM]:
                new = graph.call_function(sum_systems, (values, index, inputs[keys.CELL]))
            else:
                new = graph.call_function(sum_slots, (values, _slot_input(graph, inputs, index)))
        node.replace_all_uses_with(new)
        graph.erase_node(node)
    graph.eliminate_dead_code()
    graph.lint()
    module.recompile()
    return module


def keep_precision(module: fx.GraphModule) -> fx.GraphModule:
    """Turn the numbers that meet float64 tensors into float64 constants.

    The ONNX exporter writes a number of Python as float32, which costs half of the digits.

    Args:
        module: A graph of `unroll`; changed in place.

    Raises:
        ExportError: A number that float32 cannot hold stands where no tensor can.
    """
    for node in list(module.graph.nodes):
        numbers = [(k, a) for k, a in enumerate(node.args) if isinstance(a, float) and a != float(np.float32(a))]
        tensors = [a.meta.get("val") for a in node.args if isinstance(a, fx.Node)]
        if not numbers or not any(isinstance(t, Tensor) and t.dtype == torch.float64 for t in tensors):
            continue
        name = str(node.target).removeprefix("aten.").partition(".")[0]
        if name not in ("add", "sub", "mul", "div", "lt", "gt", "le", "ge", "clamp"):
            raise ExportError(f"cannot export: {node.format_node()} would be rounded to float32.")
        node.target = getattr(torch.ops.aten, name).Tensor
        for position, number in numbers:
            constant = f"constant_{node.name}_{position}"
            module.register_buffer(constant, torch.tensor(number, dtype=torch.float64))
            with module.graph.inserting_before(node):
                node.update_arg(position, module.graph.get_attr(constant))
    module.recompile()
    return module


def sum_slots(values: Tensor, slots: Tensor) -> Tensor:
    """Sum rows by a slot table: ``[m, ...], [N, K] -> [N, ...]``; slot m stands for a row of zeros."""
    padded = torch.cat([values, values.new_zeros([1, *values.shape[1:]])])
    return padded.index_select(0, slots.flatten()).reshape([*slots.shape, *values.shape[1:]]).sum(1)


def sum_systems(values: Tensor, system: Tensor, cell: Tensor) -> Tensor:
    """Sum the rows of each system by a product with a matrix of ones and zeros: ``[n, ...] -> [s, ...]``."""
    own = system.unsqueeze(0) == torch.arange(cell.shape[0]).unsqueeze(1)  # [s, n]
    total = own.to(values.dtype) @ values.reshape(values.shape[0], -1)
    return total.reshape([cell.shape[0], *values.shape[1:]])


def _slot_input(graph: fx.Graph, inputs: dict[str, fx.Node], index: fx.Node) -> fx.Node:
    """Return the input that holds the slot table for an index, which must be a row of an input."""
    tensor, axis, row = index.args if index.target is torch.ops.aten.select.int else (None, None, None)
    if not isinstance(tensor, fx.Node) or tensor not in inputs.values() or axis != 0:
        raise ExportError(
            f"cannot export: a sum runs over the index {index.format_node()}, which is not a row of an input; "
            "let the network sum over rows of edges or triples."
        )
    name = SLOTS.format(tensor.target, row)
    if name not in inputs:
        with graph.inserting_after(list(inputs.values())[-1]):
            inputs[name] = graph.placeholder(name)
    return inputs[name]
