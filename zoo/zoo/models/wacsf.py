"""Atom-centred symmetry functions, weighted (wACSF) or one for each element (ACSF).

wACSF: https://doi.org/10.1063/1.5019667. ACSF: https://doi.org/10.1063/1.3553717.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from zoo.models.layers import Representation, check_above, cosine_cutoff, gaussian, norm, sum_into


def grid(cutoff: float, number: int, centered: bool, first: float) -> tuple[Tensor, Tensor]:
    """Return η ``[k]`` in Å⁻² and μ ``[k]`` in Å of a row of Gaussians from ``first`` to ``cutoff - 0.5`` Å.

    Shifted Gaussians stand at the grid points and are as wide as their spacing; centred ones stand at 0
    and are as wide as the grid point is far.
    """
    points = torch.linspace(first, cutoff - 0.5, number, dtype=torch.float64)
    if centered:
        return 0.5 / points**2, torch.zeros_like(points)
    spacing = (cutoff - 0.5 - first) / max(number - 1, 1)
    return torch.full_like(points, 0.5 / spacing**2), points


class WACSF(Representation):
    """Radial and angular symmetry functions of every atom's surroundings, standardised.

    Args:
        species: Atomic numbers, sorted.
        cutoff: r_c in Å.
        radial: Number of radial functions.
        angular: Number of widths of the angular functions; each comes with λ = ±1 and every ζ.
        zetas: Exponents ζ of the angular functions.
        weighted: Weight neighbours by atomic number (wACSF), or keep a function for each element and each
            pair of elements (ACSF).
        centered: Radial grid centred at 0 with growing widths, or shifted Gaussians.
        angular_centered: The same for the angular functions.
        crossterms: Multiply the angular functions by the Gaussian and the cutoff function of r_jk.
    """

    def __init__(
        self,
        species: list[int],
        cutoff: float = 5.0,
        radial: int = 22,
        angular: int = 5,
        zetas: tuple[float, ...] | list[float] = (1.0,),
        weighted: bool = True,
        centered: bool = False,
        angular_centered: bool = True,
        crossterms: bool = False,
    ) -> None:
        super().__init__()
        check_above(cutoff=(cutoff, 1.5), radial=(radial, 1), angular=(angular, 0), zetas=(len(zetas), 0))
        self.cutoff = self.interaction_range = cutoff
        self.crossterms, self.needs_triples = crossterms, True
        eta, mu = grid(cutoff, radial, centered, first=1.0 if centered else 0.5)
        self.radial_eta, self.radial_mu = nn.Buffer(eta.float()), nn.Buffer(mu.float())
        eta, mu = grid(cutoff, angular, angular_centered, first=1.0)
        self.angular_eta, self.angular_mu = nn.Buffer(eta.float()), nn.Buffer(mu.float())
        self.angular_lambda = nn.Buffer(torch.tensor([sign for _ in zetas for sign in (1.0, -1.0)]))
        self.angular_zeta = nn.Buffer(torch.tensor([float(zeta) for zeta in zetas for _ in range(2)]))

        radial_weight, angular_weight = element_weights(species, weighted)
        self.radial_weight, self.angular_weight = nn.Buffer(radial_weight), nn.Buffer(angular_weight)
        self.features = radial * radial_weight.shape[-1] + angular * 2 * len(zetas) * angular_weight.shape[-1]
        self.mean = nn.Buffer(torch.zeros(self.features))
        self.stddev = nn.Buffer(torch.ones(self.features))

    def forward(self, elements: Tensor, vectors: Tensor, graph: dict[str, Tensor]) -> Tensor:
        """Return the standardised symmetry functions of every atom, radial ones first.

        Args:
            elements: ``[n]`` int64 row of each atom's element.
            vectors: ``[e, 3]`` r_ij in Å.
            graph: The tensors of `zoo_runtime.keys`; ``edges`` and ``triples`` are used.

        Returns:
            ``[n, D]``.
        """
        # Where a function hardly varies, its standard deviation magnifies what float32 would round off.
        standardised = (self.descriptors(elements, vectors, graph) - self.mean) / self.stddev
        return standardised.to(self.mean.dtype)

    def descriptors(self, elements: Tensor, vectors: Tensor, graph: dict[str, Tensor]) -> Tensor:
        """Return the symmetry functions before standardisation, in float64; arguments as in `forward`."""
        distances = norm(vectors)  # [e]
        envelope = cosine_cutoff(distances, self.cutoff)  # [e]
        radial = self._radial(elements, distances, envelope, graph["edges"])
        angular = self._angular(elements, vectors, distances, envelope, graph["edges"], graph["triples"])
        return torch.cat([radial, angular], dim=1)

    def _radial(self, elements: Tensor, distances: Tensor, envelope: Tensor, edges: Tensor) -> Tensor:
        """``W_i = Σ_j g(Z_j) exp(-η (r_ij - μ)²) f_ij``: ``[n, C·R]``."""
        weight = self.radial_weight[elements.index_select(0, edges[1])]  # [e, C]
        basis = gaussian(distances, self.radial_mu, self.radial_eta) * envelope.unsqueeze(-1)  # [e, R]
        terms = (weight.unsqueeze(-1) * basis.unsqueeze(1)).flatten(1)  # [e, C·R]
        return sum_into(terms, edges[0], elements.shape[0])

    def _angular(
        self,
        elements: Tensor,
        vectors: Tensor,
        distances: Tensor,
        envelope: Tensor,
        edges: Tensor,
        triples: Tensor,
    ) -> Tensor:
        """``W_i = 2^(1-ζ) Σ_j Σ_k≠j h(Z_j, Z_k) (1 + λ cos θ)^ζ G(r_ij) G(r_ik) f_ij f_ik``: ``[n, C·A]``."""
        ij, ik = triples[1], triples[2]
        v_ij, v_ik = vectors.index_select(0, ij), vectors.index_select(0, ik)  # [t, 3]
        d_ij, d_ik = distances.index_select(0, ij), distances.index_select(0, ik)  # [t]
        f = envelope.index_select(0, ij) * envelope.index_select(0, ik)
        exponent = self._exponent(d_ij) + self._exponent(d_ik)  # [t, K]
        if self.crossterms:
            d_jk = norm(v_ik - v_ij)
            f = f * cosine_cutoff(d_jk, self.cutoff)
            exponent = exponent + self._exponent(d_jk)
        basis = torch.exp(torch.clamp(exponent, min=-50.0)) * f.unsqueeze(-1)  # [t, K]

        cos_theta = (v_ij * v_ik).sum(-1) / (d_ij * d_ik)
        # Rounding may put |cos θ| above 1, and a negative base has no real power.
        base = torch.clamp(1.0 + self.angular_lambda * cos_theta.unsqueeze(-1), min=0.0)  # [t, L]
        # Triples hold each pair of neighbours once, the double sum counts it twice: 2 · 2^(1-ζ).
        theta = torch.pow(base, self.angular_zeta) * torch.pow(2.0, 2.0 - self.angular_zeta)

        neighbour = elements.index_select(0, edges[1])
        weight = self.angular_weight[neighbour.index_select(0, ij), neighbour.index_select(0, ik)]  # [t, C]
        functions = (basis.unsqueeze(-1) * theta.unsqueeze(1)).flatten(1)  # [t, A = K·L]
        terms = (weight.unsqueeze(-1) * functions.unsqueeze(1)).flatten(1)  # [t, C·A]
        return sum_into(terms, triples[0], elements.shape[0])

    def _exponent(self, distances: Tensor) -> Tensor:
        return -self.angular_eta * (distances.unsqueeze(-1) - self.angular_mu) ** 2

    @torch.jit.unused
    def fit(self, batches: Iterable[tuple[Tensor, Tensor, dict[str, Tensor]]]) -> None:
        """Set the mean and standard deviation of every function from the atoms of some batches."""
        number, total, squares = 0, torch.zeros(()), torch.zeros(())
        with torch.no_grad():
            for batch in batches:
                values = self.descriptors(*batch).double()
                number += values.shape[0]
                total, squares = total + values.sum(0), squares + (values**2).sum(0)
        mean = total / number
        variance = torch.clamp(squares / number - mean**2, min=0.0)
        stddev = variance.sqrt()
        # A function that never varies carries no information: leave it near 0, do not divide by noise.
        self.stddev.copy_(torch.where(stddev > 1e-6, stddev, torch.ones_like(stddev)))
        self.mean.copy_(mean)


def element_weights(species: list[int], weighted: bool) -> tuple[Tensor, Tensor]:
    """Return g(Z_j) ``[S, C]`` and h(Z_j, Z_k) ``[S, S, C']`` of weighted or elemental symmetry functions."""
    charges = torch.tensor(species, dtype=torch.float32)
    if weighted:
        return charges.unsqueeze(-1), (charges.unsqueeze(0) * charges.unsqueeze(1)).unsqueeze(-1)
    one = torch.eye(len(species))
    a, b = torch.triu_indices(len(species), len(species))
    ordered = one[:, a].unsqueeze(1) * one[:, b].unsqueeze(0)  # [S, S, C']
    return one, ordered + ordered.transpose(0, 1)
