"""A fast training step of SchNet on a CPU: filters on a grid of distances, and fused convolutions.

The filters depend on the distance alone, so the filter networks are evaluated once a step at the knots of a grid
instead of on every edge, and each pair of atoms interpolates between six of them by quintic B-splines, which have four
continuous derivatives. What is trained is still SchNet itself: the released model evaluates the networks, or a table
of its own.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import torch
from torch import Tensor

from zoo.models import Potential
from zoo.models.layers import gaussian, norm
from zoo.models.potential import edge_vectors, mechanics
from zoo.models.schnet import SchNet
from zoo.train.kernels import Kernels, compiled_kernels
from zoo.train.passes import Grid, Pairs, Passes
from zoo_runtime import keys

INTERVALS = 3  # for each Gaussian
MARGIN = 16  # knots on either side, beyond which the coefficients count as 0: 0.43^16 = 1e-6


def tabulate(potential: Potential, device: torch.device) -> bool:
    """Let a SchNet train with tabulated filters where that can be done: in float32, on a CPU.

    Args:
        potential: The network; its weights and their names stay what they are.
        device: Where it is trained.

    Returns:
        Whether it will.
    """
    schnet = potential.representation
    if not isinstance(schnet, SchNet) or device.type != "cpu" or schnet.embedding.weight.dtype != torch.float32:
        return False
    kernels = compiled_kernels()
    if kernels is None:
        print(
            "Without a working C++ compiler (CXX) and a cache folder that can be written (ZOO_CACHE), "
            "this training is several times slower.",
            file=sys.stderr,
        )
        return False
    potential.forward = Tabulated(potential, schnet, kernels)  # type: ignore[method-assign]
    return True


class Tabulated:
    """The forward pass of a potential with tabulated filters; takes the place of ``potential.forward``.

    Args:
        potential: The network, whose weights are used and trained; float32, on the CPU.
        schnet: Its representation.
        kernels: The compiled loops.
    """

    def __init__(self, potential: Potential, schnet: SchNet, kernels: Kernels) -> None:
        self.potential, self.schnet, self.kernels = potential, schnet, kernels
        self.intervals = INTERVALS * len(schnet.centers)
        self.step = schnet.cutoff / self.intervals
        knots = torch.arange(-MARGIN, self.intervals + MARGIN + 1, dtype=torch.float32) * self.step
        basis = gaussian(knots, schnet.centers, schnet.gamma)
        values = torch.zeros(len(knots), len(knots), dtype=torch.float64)  # of each spline at each knot
        for offset, value in {-2: 1, -1: 26, 0: 66, 1: 26, 2: 1}.items():
            values.diagonal(offset).fill_(value / 120)
        self.grid = Grid(basis, torch.linalg.inv(values).float())

    def __call__(self, graph: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the outputs; argument as of `Potential.forward`."""
        potential = self.potential
        edges, vectors = half_edges(graph)
        distances = norm(vectors)
        elements = potential.rows.index_select(0, graph[keys.NUMBERS])
        passes = Passes(self.schnet, self.grid, elements, self.pairs(edges, distances), self.kernels)
        x = Features.apply(passes, *self.schnet.parameters())
        if not x.requires_grad:
            x.requires_grad_(potential.gradients)
        outputs: dict[str, Tensor] = {}
        for head in potential.heads.values():
            outputs.update(head(x, elements, graph))
        if potential.gradients:
            energy = outputs[keys.ENERGY].sum()
            slope = torch.autograd.grad([energy], [x], create_graph=potential.training)[0]
            rates = Rates.apply(passes, x, slope)
            rates = rates if potential.training else rates.detach()
            directions = vectors / distances.unsqueeze(-1)
            outputs.update(mechanics(rates.double().unsqueeze(-1) * directions, vectors, graph | {keys.EDGES: edges}))
        return outputs

    def pairs(self, edges: Tensor, distances: Tensor) -> Pairs:
        """Return the pairs of atoms with their weights in the table.

        Args:
            edges: ``[2, p]`` each pair once.
            distances: ``[p]`` in Å, float64.
        """
        position = distances / self.step
        row = position.long().clamp(max=self.intervals - 1)
        value, slope = quintic((position - row).unsqueeze(-1) - torch.arange(-2.0, 4.0, dtype=torch.float64))
        wave = math.pi / self.schnet.cutoff
        angle = (distances * wave).clamp(max=math.pi).unsqueeze(-1)
        envelope, fall = 0.5 * (angle.cos() + 1.0), -0.5 * wave * angle.sin()
        weights = torch.stack([value * envelope, value * fall + slope * envelope / self.step], dim=1)
        return Pairs(edges[0], edges[1], row + (MARGIN - 2), weights.float())


def quintic(offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the quintic B-spline and its derivative at offsets from its middle between -3 and 3."""
    value, slope = torch.zeros_like(offsets), torch.zeros_like(offsets)
    t = offsets.abs()
    for edge, factor in ((3.0, 1.0), (2.0, -6.0), (1.0, 15.0)):
        left = (edge - t).clamp(min=0.0)
        fourth = left.square().square_()
        slope.sub_(fourth, alpha=factor / 24)
        value.addcmul_(fourth, left, value=factor / 120)
    return value, slope * offsets.sign()


def half_edges(graph: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return edges ``[2, p]`` and vectors ``[p, 3]`` with each pair of atoms once."""
    edges, shifts = graph[keys.EDGES], graph[keys.SHIFTS]
    # Of an atom's own images only those on one side: the first component that is not zero decides.
    sign = torch.where(shifts[:, 0] != 0, shifts[:, 0], torch.where(shifts[:, 1] != 0, shifts[:, 1], shifts[:, 2]))
    half = ((edges[0] < edges[1]) | ((edges[0] == edges[1]) & (sign > 0))).nonzero().squeeze(1)
    edges = edges[:, half]
    return edges, edge_vectors(graph | {keys.EDGES: edges, keys.SHIFTS: shifts[half]})


class Features(torch.autograd.Function):
    """The features of the atoms as a function of the weights."""

    @staticmethod
    def forward(ctx: Any, passes: Passes, *parameters: Tensor) -> Tensor:
        """Return ``[n, F]``."""
        ctx.passes, ctx.parameters = passes, parameters
        return passes.forward()

    @staticmethod
    def backward(ctx: Any, *dx: Tensor) -> tuple[Tensor | None, ...]:
        """Return the derivatives with respect to the weights, those through `Rates` among them."""
        gradients = ctx.passes.gradients(dx[0].contiguous())
        return None, *[gradients[parameter] for parameter in ctx.parameters]


class Rates(torch.autograd.Function):
    """∂E/∂d of the pairs as a function of the features' slopes ∂E/∂x, and of the weights.

    The features are an argument only so that autograd runs this one's backward before theirs.
    """

    @staticmethod
    def forward(ctx: Any, passes: Passes, x: Tensor, slope: Tensor) -> Tensor:
        """Return ``[p]``."""
        ctx.passes = passes
        return passes.reverse(slope.detach().contiguous())

    @staticmethod
    def backward(ctx: Any, *rates: Tensor) -> tuple[Tensor | None, ...]:
        """Return the derivative with respect to the slopes: the features' rates of change."""
        return None, None, ctx.passes.tangent(rates[0].contiguous())
