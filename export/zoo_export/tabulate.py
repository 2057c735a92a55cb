"""SchNet whose filters are linear in a row of Gaussians: what its filter networks give, for half of the time.

A filter depends on the distance alone and is as smooth as the Gaussians that went into its network. A finer row of
Gaussians spans all filters of all interactions at once; one matrix for each interaction takes the network's place.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from zoo.models import Potential
from zoo.models.committee import Committee
from zoo.models.layers import Representation, cosine_cutoff, gaussian, norm, sum_into
from zoo.models.schnet import Interaction, SchNet

SIZES = range(32, 257, 16)
"""Numbers of Gaussians that are tried, from small to large."""
OUTSIDE = 3
"""Gaussians beyond either end, so that the ends are spanned as well as the middle."""
WIDTH = 1.2
"""Of a Gaussian, in spacings: wider ones need larger coefficients, narrower ones leave ripples."""


def tabulate(potential: Potential, bound: float) -> Potential:
    """Return a copy of a network with linear filters, where it is a SchNet and the bound can be kept.

    Args:
        potential: The network; nothing is changed in it.
        bound: Largest error of a filter and of its slope, relative to the largest of all; 0 keeps the networks.
    """
    changed = copy.deepcopy(potential)
    for member in changed.potentials if isinstance(changed, Committee) else [changed]:
        if bound > 0 and isinstance(member.representation, SchNet):
            found = (fitted(member.representation, size) for size in SIZES)
            best = next((linear for linear, error in found if error <= bound), None)
            member.representation = best or member.representation
    return changed


def fitted(schnet: SchNet, size: int) -> tuple[Linear, float]:
    """Fit the filters by least squares, values and slopes together.

    Args:
        schnet: The network.
        size: Number of Gaussians.

    Returns:
        The same network with linear filters, and the largest error of a filter or its slope between the points of
        the fit, each relative to the largest.
    """
    exact = copy.deepcopy(schnet).double().requires_grad_(False)
    spacing = schnet.cutoff / (size - 1 - 2 * OUTSIDE)
    centers = torch.linspace(-OUTSIDE * spacing, schnet.cutoff + OUTSIDE * spacing, size, dtype=torch.float64)
    gamma = torch.tensor(0.5 / (WIDTH * spacing) ** 2, dtype=torch.float64)

    def filters(d: Tensor) -> Tensor:
        basis, envelope = gaussian(d, exact.centers, exact.gamma), cosine_cutoff(d, exact.cutoff).unsqueeze(-1)
        return torch.cat([cast(Interaction, one).filter_network(basis) * envelope for one in exact.interactions], 1)

    def row(d: Tensor) -> Tensor:
        return gaussian(d, centers, gamma) * cosine_cutoff(d, exact.cutoff).unsqueeze(-1)

    points = torch.linspace(0.0, schnet.cutoff, 8 * size + 1, dtype=torch.float64)[:-1]
    scales = torch.tensor([1.0, spacing], dtype=torch.float64)
    left, right = (torch.cat(_both(f, points, scales)) for f in (row, filters))
    weights = torch.linalg.lstsq(left, right, driver="gelsd").solution
    between = points + 0.5 * (points[1] - points[0])
    stored = weights.to(schnet.embedding.weight.dtype).double()
    pairs = zip(_both(row, between, scales), _both(filters, between, scales), strict=True)
    error = max(float((a @ stored - b).abs().max() / b.abs().max()) for a, b in pairs)
    return Linear(schnet, centers, gamma, weights), error


def _both(f: Callable[[Tensor], Tensor], d: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
    both = torch.func.jvp(f, (d,), (torch.ones_like(d),))
    return both[0] * scales[0], both[1] * scales[1]


class Linear(Representation):
    """SchNet with a matrix in the place of each filter network.

    Args:
        schnet: Where everything else comes from.
        centers: ``[K]`` Å, of the Gaussians.
        gamma: Their exponent in Å⁻².
        weights: ``[K, T·F]``, the filters of all interactions.
    """

    def __init__(self, schnet: SchNet, centers: Tensor, gamma: Tensor, weights: Tensor) -> None:
        super().__init__()
        self.cutoff, self.needs_triples = schnet.cutoff, False
        self.features, self.interaction_range = schnet.features, schnet.interaction_range
        self.embedding, self.interactions = schnet.embedding, schnet.interactions
        dtype = schnet.embedding.weight.dtype
        self.centers, self.gamma = nn.Buffer(centers.to(dtype)), nn.Buffer(gamma.to(dtype))
        self.weights = nn.ParameterList(
            nn.Parameter(one.contiguous(), requires_grad=False)
            for one in weights.to(dtype).split(schnet.features, dim=1)
        )

    def forward(self, elements: Tensor, vectors: Tensor, graph: dict[str, Tensor]) -> Tensor:
        """Return the features of the atoms; arguments as of `SchNet.forward`."""
        edges = graph["edges"]
        distances = norm(vectors.to(self.embedding.weight.dtype))
        envelope = cosine_cutoff(distances, self.cutoff).unsqueeze(-1)
        basis = gaussian(distances, self.centers, self.gamma) * envelope  # [e, K]
        x = self.embedding(elements)
        for module, weights in zip(self.interactions, self.weights, strict=True):
            interaction = cast(Interaction, module)
            messages = interaction.in_features(x).index_select(0, edges[1]) * (basis @ weights)  # [e, F]
            x = x + interaction.out_network(sum_into(messages, edges[0], x.shape[0]))
        return x
