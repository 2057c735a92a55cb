"""A network with its derivatives as one flat graph of plain tensor operations, without any scatter."""

from collections.abc import Callable
from typing import Any

import torch
import torch.fx.experimental._config as fx_config
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from zoo.models import Potential
from zoo_registry.errors import ExportError
from zoo_runtime import keys

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
    return module, outputs


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
