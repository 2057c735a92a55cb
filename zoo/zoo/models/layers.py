"""Building blocks that the networks share. All of them can be scripted, traced and exported."""

import itertools
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def sum_into(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Sum rows that share an index.

    Args:
        values: ``[m, ...]``.
        index: ``[m]`` int64, the row of the result to which each row of ``values`` is added.
        size: Number of rows of the result.

    Returns:
        ``[size, ...]``.
    """
    shape = [size] + list(values.shape[1:])  # noqa: RUF005 (TorchScript has no unpacking)
    return values.new_zeros(shape).index_add(0, index, values)


def check_above(**settings: tuple[float, float]) -> None:
    """Raise ValueError for the first setting, given as ``name=(value, limit)``, that is not above its limit."""
    for name, (value, limit) in settings.items():
        if not value > limit:
            raise ValueError(f"{name} is {value} and must be above {limit}")


def norm(vectors: Tensor) -> Tensor:
    """Length of the last axis: ``[..., 3] -> [...]``; every vector must be longer than zero."""
    return (vectors * vectors).sum(-1).sqrt()


def cosine_cutoff(distances: Tensor, cutoff: float) -> Tensor:
    """Cutoff function of Behler, https://doi.org/10.1063/1.3553717: ``(cos(πd/r_c) + 1)/2``, 0 beyond r_c.

    Args:
        distances: Any shape, in Å.
        cutoff: r_c in Å.
    """
    inside = (distances < cutoff).to(distances.dtype)
    return 0.5 * (torch.cos(distances * (math.pi / cutoff)) + 1.0) * inside


def gaussian(distances: Tensor, centers: Tensor, widths: Tensor) -> Tensor:
    """``exp(-η (d - μ)²)`` for every pair of distance and function: ``[m] -> [m, k]``, in the precision of μ."""
    offsets = (distances.unsqueeze(-1) - centers).to(centers.dtype)
    # Below exp(-50) the values are of no use, but as denormal numbers they slow every later product.
    return torch.exp(torch.clamp(-widths * offsets**2, min=-50.0))


class Representation(nn.Module):
    """What turns the surroundings of every atom into features.

    Attributes:
        features: F, number of features of an atom.
        cutoff: Radius of the neighbour list in Å.
        interaction_range: How far an atom can see, in Å.
        needs_triples: Whether ``graph["triples"]`` is used.
    """

    features: int
    cutoff: float
    interaction_range: float
    needs_triples: bool

    @torch.jit.unused
    def fit(self, batches: Iterable[tuple[Tensor, Tensor, dict[str, Tensor]]]) -> None:
        """Standardise the features on the training set, where the representation does so at all.

        Args:
            batches: Arguments of ``forward`` for each batch.
        """


class ShiftedSoftplus(nn.Module):
    """``ssp(x) = ln(0.5 eˣ + 0.5) = softplus(x) - ln 2``."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply elementwise."""
        # Above the default threshold of 20 softplus is off by 2e-9, which float64 would show.
        return nn.functional.softplus(x, 1.0, 40.0) - math.log(2.0)


class SiLU(nn.Module):
    """``silu(x) = x / (1 + e⁻ˣ)``, https://doi.org/10.48550/arXiv.1606.08415."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply elementwise."""
        return x * torch.sigmoid(x)


ACTIVATIONS: dict[str, type[nn.Module]] = {"ssp": ShiftedSoftplus, "silu": SiLU}


def dense(n_in: int, n_out: int, bias: bool = True) -> nn.Linear:
    """Linear layer with Glorot-uniform weights and zero bias."""
    layer = nn.Linear(n_in, n_out, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def mlp(widths: list[int], activation: str = "ssp") -> nn.Sequential:
    """Dense layers of the given widths with an activation of `ACTIVATIONS` between them."""
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(widths):
        layers += [dense(n_in, n_out), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


class ElementalDense(nn.Module):
    """One dense layer for each element, evaluated for all at once: ``[n, S, n_in] -> [n, S, n_out]``."""

    def __init__(self, n_elements: int, n_in: int, n_out: int) -> None:
        super().__init__()
        bound = math.sqrt(6.0 / (n_in + n_out))
        self.weight = nn.Parameter(torch.empty(n_elements, n_in, n_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(n_elements, n_out))

    def forward(self, x: Tensor) -> Tensor:
        """Apply element s's layer to ``x[:, s]``."""
        return torch.matmul(x.transpose(0, 1), self.weight).transpose(0, 1) + self.bias


class ElementalNetwork(nn.Sequential):
    """One multi-layer network for each element: ``[n, n_in] -> [n, n_out]``."""

    def __init__(self, n_elements: int, widths: list[int]) -> None:
        layers: list[nn.Module] = []
        for n_in, n_out in itertools.pairwise(widths):
            layers += [ElementalDense(n_elements, n_in, n_out), ShiftedSoftplus()]
        super().__init__(*layers[:-1])
        self.n_elements = n_elements

    def forward(self, x: Tensor, elements: Tensor) -> Tensor:  # type: ignore[override]
        """Give each atom the output of its own element's network.

        Args:
            x: ``[n, n_in]`` features of the atoms.
            elements: ``[n]`` int64 row of each atom's element.
        """
        y = x.unsqueeze(1).expand(x.shape[0], self.n_elements, x.shape[1])
        for layer in self:
            y = layer(y)
        # A gate of ones and zeros: picking by index has a scatter in its derivative, which no exported graph may hold.
        gate = elements.unsqueeze(-1) == torch.arange(self.n_elements, device=elements.device)  # [n, S]
        return (y * gate.unsqueeze(-1).to(y.dtype)).sum(1)
