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

from zoo.models.schnet import Interaction, SchNet
from zoo.train.kernels import Kernels


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
    """The weights of an interaction, named as in ``v = B₃ ssp(B₂ Σ_j (B₁ x_j) ∘ W + b₂) + b₃``."""

    b1: Tensor
    b2: Tensor
    b2_bias: Tensor
    b3: Tensor
    b3_bias: Tensor
    filters: nn.Sequential

    @staticmethod
    def of(module: nn.Module) -> Layer:
        """Pick the weights out of the module."""
        inward, outward = cast(Interaction, module).in_features, cast(Interaction, module).out_network
        second, third = cast(nn.Linear, outward[0]), cast(nn.Linear, outward[2])
        filters = cast(nn.Sequential, module.filter_network)
        return Layer(inward.weight, second.weight, second.bias, third.weight, third.bias, filters)


class Passes:
    """The passes over one batch, in this order.

    A tensor ``[T, 2, n, F]`` holds a value and its rate of change in each of T interactions; where its name begins with
    d, the derivatives of the loss with respect to these two.

    Args:
        schnet: The network.
        grid: Where to tabulate.
        elements: ``[n]`` int64 row of each atom's element.
        pairs: The pairs of atoms.
        kernels: The compiled loops.
    """

    def __init__(self, schnet: SchNet, grid: Grid, elements: Tensor, pairs: Pairs, kernels: Kernels) -> None:
        self.schnet, self.grid, self.elements, self.pairs, self.kernels = schnet, grid, elements, pairs, kernels
        self.layers = [Layer.of(module) for module in schnet.interactions]
        self.shape = len(elements), schnet.features
        self.size = len(pairs.i), schnet.features
        self.edges = pairs.i, pairs.j, pairs.row, pairs.weights
        self.rates: Tensor | None = None

    def forward(self) -> Tensor:
        """Return the features ``[n, F]``."""
        self._tabulate()
        self.x, self.y, self.s, self.h = self._empty(), self._empty(), self._empty(), self._empty()
        self.slope = torch.empty(len(self.layers), *self.shape)
        x = torch.index_select(self.schnet.embedding.weight, 0, self.elements)
        for k, layer in enumerate(self.layers):
            self.x[k, 0] = x
            torch.mm(x, layer.b1.t(), out=self.y[k, 0])
            self.kernels.convolve(*self.size, *self.edges, self.table[k], self.y[k, 0], self.s[k, 0].zero_())
            torch.mm(self.s[k, 0], layer.b2.t(), out=self.h[k, 0])
            self.kernels.activate(*self.shape, layer.b2_bias, self.h[k, 0], self.slope[k])
            x = torch.addmm(x, self.h[k, 0], layer.b3.t()).add_(layer.b3_bias)
        return x

    def reverse(self, dx: Tensor) -> Tensor:
        """Return g = ∂E/∂d ``[p]`` from ∂E/∂x ``[n, F]``."""
        self.dx, self.dy, self.dz = self._empty(), self._empty(), self._empty()
        self.ds = torch.empty(len(self.layers), *self.shape)
        g = torch.zeros(self.size[0])
        for k, layer in reversed(list(enumerate(self.layers))):
            self.dx[k, 1] = dx
            torch.mm(dx, layer.b3, out=self.dz[k, 1]).mul_(self.slope[k])
            torch.mm(self.dz[k, 1], layer.b2, out=self.ds[k])
            self.kernels.convolve_distance(*self.size, *self.edges, self.table[k], self.y[k, 0], self.ds[k], g)
            self.kernels.convolve(*self.size, *self.edges, self.table[k], self.ds[k], self.dy[k, 1].zero_())
            dx = torch.addmm(dx, self.dy[k, 1], layer.b1)
        return g

    def tangent(self, rates: Tensor) -> Tensor:
        """Return the rates ``[n, F]`` of the features from those of the distances, ``[p]``."""
        self.rates, self.zdot = rates, torch.empty(len(self.layers), *self.shape)
        x = torch.zeros(self.shape)
        for k, layer in enumerate(self.layers):
            self.x[k, 1] = x
            torch.mm(x, layer.b1.t(), out=self.y[k, 1])
            self.kernels.convolve_tangent(
                *self.size, *self.edges, self.table[k], rates, self.y[k, 0], self.y[k, 1], self.s[k, 1].zero_()
            )
            torch.mm(self.s[k, 1], layer.b2.t(), out=self.zdot[k])
            torch.mul(self.zdot[k], self.slope[k], out=self.h[k, 1])
            x = torch.addmm(x, self.h[k, 1], layer.b3.t())
        return x

    def gradients(self, dx: Tensor) -> list[Tensor]:
        """Return ∂L/∂θ of every parameter in the network's order.

        Args:
            dx: ``[n, F]`` ∂L/∂x, without what comes through the rates.
        """
        if self.rates is None:
            self.dx, self.dy, self.dz = self._empty(), self._empty(), self._empty()
        streams, (n, width) = (1 if self.rates is None else 2), self.shape
        dtable = torch.zeros_like(self.table)
        gradients: dict[Tensor, Tensor] = {}

        def product(left: Tensor, right: Tensor) -> Tensor:
            return left[:streams].view(streams * n, width).t() @ right[:streams].view(streams * n, width)

        for k, layer in reversed(list(enumerate(self.layers))):
            self.dx[k, 0] = dx
            dh, dz, dy = torch.mm(dx, layer.b3), self.dz[k, 0], self.dy[k, 0].zero_()
            if self.rates is None:
                torch.mul(dh, self.slope[k], out=dz)
                ds = torch.mm(dz, layer.b2)
                self.kernels.convolve(*self.size, *self.edges, self.table[k], ds, dy)
                self.kernels.convolve_table(*self.size, *self.edges, self.y[k, 0], ds, dtable[k])
            else:
                self.kernels.bend(n * width, self.slope[k], dh, self.dz[k, 1], self.zdot[k], dz)
                ds = torch.mm(dz, layer.b2)
                self.kernels.convolve_tangent(*self.size, *self.edges, self.table[k], self.rates, self.ds[k], ds, dy)
                self.kernels.convolve_tangent_table(
                    *self.size, *self.edges, self.rates, self.y[k, 0], self.y[k, 1], ds, self.ds[k], dtable[k]
                )
            gradients[layer.b3], gradients[layer.b3_bias] = product(self.dx[k], self.h[k]), dx.sum(0)
            gradients[layer.b2], gradients[layer.b2_bias] = product(self.dz[k], self.s[k]), dz.sum(0)
            gradients[layer.b1] = product(self.dy[k], self.x[k])
            dx = torch.addmm(dx, dy, layer.b1)
        embedding = self.schnet.embedding.weight
        gradients[embedding] = torch.zeros_like(embedding).index_add_(0, self.elements, dx)
        self._table_gradients(dtable, gradients)
        return [gradients[parameter] for parameter in self.schnet.parameters()]

    def _tabulate(self) -> None:
        """Evaluate the filter networks of all interactions at the knots."""
        networks, knots = [list(layer.filters.parameters()) for layer in self.layers], len(self.grid.basis)
        first, bias, second, offset = zip(*networks, strict=True)
        hidden = torch.mm(self.grid.basis, torch.cat(first).t())  # [K, T F]
        self.filter_slope = torch.empty_like(hidden)
        self.kernels.activate(knots, hidden.shape[1], torch.cat(bias), hidden, self.filter_slope)
        self.filter_hidden = hidden.view(knots, len(networks), -1).transpose(0, 1)  # [T, K, F]
        self.filter_second = torch.stack(second)  # [T, F, F]
        values = torch.baddbmm(torch.stack(offset).unsqueeze(1), self.filter_hidden, self.filter_second.mT)
        self.table = torch.matmul(self.grid.prefilter, values)  # [T, K, F]

    def _table_gradients(self, dtable: Tensor, gradients: dict[Tensor, Tensor]) -> None:
        dvalues = torch.matmul(self.grid.prefilter, dtable)  # [T, K, F]
        dsecond = torch.bmm(dvalues.mT, self.filter_hidden)
        dhidden = torch.bmm(dvalues, self.filter_second).transpose(0, 1).reshape_as(self.filter_slope)
        dhidden *= self.filter_slope
        dfirst = torch.mm(dhidden.t(), self.grid.basis)
        width = self.shape[1]
        for k, layer in enumerate(self.layers):
            rows = slice(k * width, (k + 1) * width)
            own = dfirst[rows], dhidden[:, rows].sum(0), dsecond[k], dvalues[k].sum(0)
            gradients.update(zip(layer.filters.parameters(), own, strict=True))

    def _empty(self) -> Tensor:
        return torch.empty(len(self.layers), 2, *self.shape)
