"""The four passes over a SchNet with tabulated filters that training on forces takes, each written out.

With x the features, d the distances of the pairs and θ the weights, the energy needs x(d, θ) and the forces need
g = ∂E/∂d: a `forward` and a `reverse` pass. The loss depends on g through u = ∂L/∂g, and Σ_p u_p g_p is the rate of
change of E when the distances change at the rates u: a `tangent` pass, forward again. The derivative with respect to θ
of both, features and rates, is a second reverse pass, `gradients`, which finds half of its work done by the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.models.schnet import Interaction, SchNet
from zoo.train.kernels import Kernels

ROWS = 32
"""Atoms are padded to a multiple: oneDNN compiles a program for each size of a matrix, and keeps a thousand of them."""


@dataclass(frozen=True)
class Grid:
    """Where the filters are tabulated.

    Attributes:
        basis: ``[K, G]`` Gaussians of the distances of the knots.
        prefilter: ``[K, K]`` symmetric; turns values at the knots into coefficients of B-splines.
    """

    basis: Tensor
    prefilter: Tensor


@dataclass(frozen=True)
class Pairs:
    """Each pair of atoms once.

    Attributes:
        i: ``[p]`` one atom.
        j: ``[p]`` the other; the same for an atom and its own image.
        row: ``[p]`` first row of the table.
        weights: ``[p, 2, 6]`` of the table's rows in the filter, and in its derivative with respect to the distance.
    """

    i: Tensor
    j: Tensor
    row: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Layer:
    """The weights of an interaction, ``v = B₃ ssp(B₂ Σ_j (B₁ x_j) ∘ W + b₂) + b₃``, ``W = A₂ ssp(A₁ basis + a₁) + a₂``.

    Attributes:
        filters: A₁, a₁, A₂ and a₂.
    """

    b1: Tensor
    b2: Tensor
    b2_bias: Tensor
    b3: Tensor
    b3_bias: Tensor
    filters: list[Tensor]

    @staticmethod
    def of(module: nn.Module) -> Layer:
        """Pick the weights out of the module."""
        interaction = cast(Interaction, module)
        networks = interaction.out_network, interaction.filter_network
        second, third, *filters = (cast(nn.Linear, network[position]) for network in networks for position in (0, 2))
        weights = [weight for layer in filters for weight in (layer.weight, layer.bias)]
        return Layer(interaction.in_features.weight, second.weight, second.bias, third.weight, third.bias, weights)


class Passes:
    """The passes over one batch, in this order.

    ``name[k][0]`` is a value in interaction k and ``name[k][1]`` its rate of change; where the name begins with d, the
    derivatives of the loss with respect to these two. All have rows for a multiple of `ROWS` atoms; the derivatives of
    what stands in excess rows vanish.

    Args:
        schnet: The network.
        grid: Where to tabulate.
        elements: ``[n]`` int64 row of each atom's element.
        pairs: The pairs of atoms.
        kernels: The compiled loops.
    """

    def __init__(self, schnet: SchNet, grid: Grid, elements: Tensor, pairs: Pairs, kernels: Kernels) -> None:
        self.schnet, self.grid, self.pairs, self.kernels = schnet, grid, pairs, kernels
        self.layers = [Layer.of(module) for module in schnet.interactions]
        self.atoms, further = len(elements), -len(elements) % ROWS
        self.elements = functional.pad(elements, (0, further))
        self.shape = self.atoms + further, schnet.features
        self.size = len(pairs.i), schnet.features
        self.edges = pairs.i, pairs.j, pairs.row, pairs.weights
        self.x, self.y, self.s, self.h, self.dx, self.dy, self.dz = (self._slots() for _ in range(7))
        self.slope, self.ds, self.zdot = ([torch.empty(0)] * len(self.layers) for _ in range(3))
        self.rates: Tensor | None = None

    def forward(self) -> Tensor:
        """Return the features ``[n, F]``."""
        self.filters = [Filters(layer.filters, self.grid, self.kernels) for layer in self.layers]
        x = torch.index_select(self.schnet.embedding.weight, 0, self.elements)
        for k, layer in enumerate(self.layers):
            self.x[k][0], self.y[k][0], self.s[k][0] = x, linear(x, layer.b1), torch.zeros(self.shape)
            self.kernels.convolve(*self.size, *self.edges, self.filters[k].table, self.y[k][0], self.s[k][0])
            self.h[k][0], self.slope[k] = linear(self.s[k][0], layer.b2), torch.empty(self.shape)
            self.kernels.activate(*self.shape, layer.b2_bias, self.h[k][0], self.slope[k])
            x = linear(self.h[k][0], layer.b3, layer.b3_bias).add_(x)
        return x[: self.atoms]

    def reverse(self, dx: Tensor) -> Tensor:
        """Return g = ∂E/∂d ``[p]`` from ∂E/∂x ``[n, F]``."""
        dx, g = self._padded(dx), torch.zeros(self.size[0])
        for k, layer in reversed(list(enumerate(self.layers))):
            table, dy = self.filters[k].table, torch.zeros(self.shape)
            self.dx[k][1], self.dy[k][1], self.dz[k][1] = dx, dy, linear(dx, layer.b3.t()).mul_(self.slope[k])
            self.ds[k] = linear(self.dz[k][1], layer.b2.t())
            self.kernels.convolve_distance(*self.size, *self.edges, table, self.y[k][0], self.ds[k], g)
            self.kernels.convolve(*self.size, *self.edges, table, self.ds[k], dy)
            dx = linear(dy, layer.b1.t()).add_(dx)
        return g

    def tangent(self, rates: Tensor) -> Tensor:
        """Return the rates ``[n, F]`` of the features from those of the distances, ``[p]``."""
        self.rates = rates
        x = torch.zeros(self.shape)
        for k, layer in enumerate(self.layers):
            self.x[k][1], self.y[k][1], self.s[k][1] = x, linear(x, layer.b1), torch.zeros(self.shape)
            self.kernels.convolve_tangent(
                *self.size, *self.edges, self.filters[k].table, rates, *self.y[k], self.s[k][1]
            )
            self.zdot[k] = linear(self.s[k][1], layer.b2)
            self.h[k][1] = self.zdot[k] * self.slope[k]
            x = linear(self.h[k][1], layer.b3).add_(x)
        return x[: self.atoms]

    def gradients(self, dx: Tensor) -> dict[Tensor, Tensor]:
        """Return ∂L/∂θ by parameter.

        Args:
            dx: ``[n, F]`` ∂L/∂x, without what comes through the rates.
        """
        dx, gradients = self._padded(dx), dict[Tensor, Tensor]()
        for k, layer in reversed(list(enumerate(self.layers))):
            filters, dtable, dy = self.filters[k], torch.zeros_like(self.filters[k].table), torch.zeros(self.shape)
            dz = linear(dx, layer.b3.t())
            if self.rates is None:
                dz.mul_(self.slope[k])
                ds = linear(dz, layer.b2.t())
                self.kernels.convolve(*self.size, *self.edges, filters.table, ds, dy)
                self.kernels.convolve_table(*self.size, *self.edges, self.y[k][0], ds, dtable)
            else:
                self.kernels.bend(dz.numel(), self.slope[k], self.dz[k][1], self.zdot[k], dz)
                ds = linear(dz, layer.b2.t())
                self.kernels.convolve_tangent(*self.size, *self.edges, filters.table, self.rates, self.ds[k], ds, dy)
                self.kernels.convolve_tangent_table(
                    *self.size, *self.edges, self.rates, *self.y[k], ds, self.ds[k], dtable
                )
            self.dx[k][0], self.dy[k][0], self.dz[k][0] = dx, dy, dz
            gradients[layer.b3], gradients[layer.b3_bias] = self._product(self.dx[k], self.h[k]), dx.sum(0)
            gradients[layer.b2], gradients[layer.b2_bias] = self._product(self.dz[k], self.s[k]), dz.sum(0)
            gradients[layer.b1] = self._product(self.dy[k], self.x[k])
            gradients.update(filters.gradients(dtable))
            dx = linear(dy, layer.b1.t()).add_(dx)
        embedding = self.schnet.embedding.weight
        gradients[embedding] = torch.zeros_like(embedding).index_add_(0, self.elements, dx)
        return gradients

    def _product(self, left: list[Tensor], right: list[Tensor]) -> Tensor:
        """Return the derivative of a weight matrix: the sum of outer products over atoms, and rates if there are."""
        product = linear(left[0].t(), right[0].t())
        return product if self.rates is None else product.add_(linear(left[1].t(), right[1].t()))

    def _padded(self, dx: Tensor) -> Tensor:
        return functional.pad(dx, (0, 0, 0, self.shape[0] - self.atoms))

    def _slots(self) -> list[list[Tensor]]:
        return [[torch.empty(0)] * 2 for _ in self.layers]


class Filters:
    """The filter of an interaction, tabulated: ``table`` ``[K, F]`` are its coefficients.

    Args:
        weights: As in `Layer`.
        grid: Where to tabulate.
        kernels: The compiled loops.
    """

    def __init__(self, weights: list[Tensor], grid: Grid, kernels: Kernels) -> None:
        self.weights, self.grid = weights, grid
        first, bias, second, offset = weights
        self.hidden = linear(grid.basis, first)
        self.slope = torch.empty_like(self.hidden)
        kernels.activate(*self.hidden.shape, bias, self.hidden, self.slope)
        self.table = linear(grid.prefilter, linear(self.hidden, second, offset).t())

    def gradients(self, dtable: Tensor) -> dict[Tensor, Tensor]:
        """Return ∂L/∂θ of each weight from ∂L/∂table ``[K, F]``."""
        dvalues = linear(self.grid.prefilter, dtable.t())  # it is symmetric
        dhidden = linear(dvalues, self.weights[2].t()).mul_(self.slope)
        dfirst, dsecond = linear(dhidden.t(), self.grid.basis.t()), linear(dvalues.t(), self.hidden.t())
        return dict(zip(self.weights, (dfirst, dhidden.sum(0), dsecond, dvalues.sum(0)), strict=True))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``x weightᵀ + bias``.

    With oneDNN, as `torch.compile` does it: on some processors it takes half the time of the library that PyTorch has
    for matrix products.
    """
    if torch.backends.mkldnn.is_available():
        return cast(Tensor, torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], ""))
    return functional.linear(x, weight, bias)
