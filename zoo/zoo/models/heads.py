"""Prediction blocks: from the features of atoms to properties. https://doi.org/10.1021/acs.jctc.8b00908."""

import torch
from ase.data import atomic_masses
from torch import Tensor, nn

from zoo.models.layers import ACTIVATIONS, ElementalNetwork, mlp, sum_into
from zoo_registry.errors import UsageError, close_matches
from zoo_runtime import keys


class Head(nn.Module):
    """What turns the features of atoms into properties, by means of a ``network``.

    Args:
        features: Width of the atoms' features.
        species: Atomic numbers, sorted.
        hidden: Widths of the hidden layers; default one of half the features.
        activation: ``ssp``, or ``silu`` where the elements share one network.
    """

    elemental = False

    def __init__(self, features: int, species: list[int], hidden: list[int] | None, activation: str = "ssp") -> None:
        super().__init__()
        allowed = ["ssp"] if self.elemental else list(ACTIVATIONS)
        if activation not in allowed:
            raise UsageError(f"activation is {activation!r}{close_matches(activation, allowed)}")
        widths = [features, *(hidden or [features // 2]), 1]
        self.network = ElementalNetwork(len(species), widths) if self.elemental else mlp(widths, activation)

    def latent(self, x: Tensor, elements: Tensor) -> Tensor:
        """Return the bare output of the network: ``[n, F] -> [n, 1]``."""
        return self.network(x)

    @torch.jit.unused
    def outputs(self) -> dict[str, dict[str, object]]:
        """Describe each output: shape, unit, and whether it belongs to a system or an atom."""
        raise NotImplementedError


class Elemental(Head):
    """Gives a head a network of its own for each element."""

    elemental = True

    def latent(self, x: Tensor, elements: Tensor) -> Tensor:
        """Return the output of each atom's own network: ``[n, F] -> [n, 1]``."""
        return self.network(x, elements)


class Atomwise(Head):
    """A property as the sum (extensive) or the mean (intensive) of contributions of the atoms.

    ``P = Σ_i [σ · network(x_i) + reference(Z_i)]``; the sum and the references are float64, since
    energies are small differences of large numbers.

    Args:
        features: Width of the atoms' features.
        species: Atomic numbers, sorted.
        property: Name of the output.
        unit: Its unit.
        aggregation: ``sum`` or ``mean``.
        hidden: Widths of the hidden layers; default one of half the features.
        activation: ``ssp``, or ``silu`` where the elements share one network.
    """

    def __init__(
        self,
        features: int,
        species: list[int],
        property: str = keys.ENERGY,
        unit: str = "eV",
        aggregation: str = "sum",
        hidden: list[int] | None = None,
        activation: str = "ssp",
    ) -> None:
        super().__init__(features, species, hidden, activation)
        if aggregation not in ("sum", "mean"):
            raise UsageError(f"aggregation is {aggregation!r}; allowed: mean, sum.")
        self.property, self.unit, self.mean = property, unit, aggregation == "mean"
        self.scale = nn.Buffer(torch.ones((), dtype=torch.float64))
        self.reference = nn.Buffer(torch.zeros(len(species), dtype=torch.float64))

    @torch.jit.unused
    def outputs(self) -> dict[str, dict[str, object]]:
        """Describe each output: shape, unit, and whether it belongs to a system or an atom."""
        described: dict[str, dict[str, object]] = {self.property: {"shape": ["s"], "unit": self.unit, "per": "system"}}
        if self.property == keys.ENERGY:
            described[keys.ENERGIES] = {"shape": ["n"], "unit": self.unit, "per": "atom"}
        return described

    def forward(self, x: Tensor, elements: Tensor, graph: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the property ``[s]``, and for the energy also each atom's share ``[n]``.

        Args:
            x: ``[n, F]`` features of the atoms.
            elements: ``[n]`` int64 row of each atom's element.
            graph: The tensors of `zoo_runtime.keys`.
        """
        shares = self.latent(x, elements).squeeze(-1).double() * self.scale
        shares = shares + self.reference.index_select(0, elements)
        system, n_systems = graph["system"], graph["cell"].shape[0]
        value = sum_into(shares, system, n_systems)
        if self.mean:
            value = value / sum_into(torch.ones_like(shares), system, n_systems)
        outputs = {self.property: value}
        if self.property == "energy":
            outputs["energies"] = shares
        return outputs


class ElementalAtomwise(Elemental, Atomwise):
    """`Atomwise` with a network of its own for each element."""


class DipoleMoment(Head):
    """Dipole moment of latent charges, ``μ = Σ_i q_i (r_i - r_COM)``, for molecules.

    Args:
        features: Width of the atoms' features.
        species: Atomic numbers, sorted.
        magnitude: Give |μ| beside the vector.
        charge_correction: Spread the excess charge evenly over the atoms, so that the molecule is neutral.
        hidden: Widths of the hidden layers; default one of half the features.
    """

    def __init__(
        self,
        features: int,
        species: list[int],
        magnitude: bool = False,
        charge_correction: bool = False,
        hidden: list[int] | None = None,
    ) -> None:
        super().__init__(features, species, hidden)
        self.magnitude, self.charge_correction = magnitude, charge_correction
        self.masses = nn.Buffer(torch.tensor(atomic_masses[species], dtype=torch.float64), persistent=False)

    @torch.jit.unused
    def outputs(self) -> dict[str, dict[str, object]]:
        """Describe each output: shape, unit, and whether it belongs to a system or an atom."""
        described: dict[str, dict[str, object]] = {
            keys.DIPOLE: {"shape": ["s", 3], "unit": keys.UNITS[keys.DIPOLE], "per": "system"},
            keys.CHARGES: {"shape": ["n"], "unit": keys.UNITS[keys.CHARGES], "per": "atom"},
        }
        if self.magnitude:
            described[keys.DIPOLE_MAGNITUDE] = {
                "shape": ["s"],
                "unit": keys.UNITS[keys.DIPOLE_MAGNITUDE],
                "per": "system",
            }
        return described

    def forward(self, x: Tensor, elements: Tensor, graph: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return ``dipole [s, 3]`` and ``charges [n]``, and ``dipole_magnitude [s]`` where asked for.

        Args:
            x: ``[n, F]`` features of the atoms.
            elements: ``[n]`` int64 row of each atom's element.
            graph: The tensors of `zoo_runtime.keys`.
        """
        system, n_systems = graph["system"], graph["cell"].shape[0]
        charges = self.latent(x, elements).double()  # [n, 1]
        if self.charge_correction:
            number = sum_into(torch.ones_like(charges), system, n_systems)
            excess = sum_into(charges, system, n_systems) / number  # [s, 1]
            charges = charges - excess.index_select(0, system)
        dipole = sum_into(charges * from_center(graph, self.masses.index_select(0, elements)), system, n_systems)
        outputs = {"dipole": dipole, "charges": charges.squeeze(-1)}
        if self.magnitude:
            # The root has no slope at 0; the clamp gives 0 there instead of NaN.
            outputs["dipole_magnitude"] = torch.clamp((dipole * dipole).sum(-1), min=1e-24).sqrt()
        return outputs


class ElementalDipoleMoment(Elemental, DipoleMoment):
    """`DipoleMoment` with a network of its own for each element."""


class ElectronicSpatialExtent(Head):
    """Electronic spatial extent of latent weights, ``⟨R²⟩ = Σ_i q_i |r_i - r_COM|²``, for molecules.

    Args:
        features: Width of the atoms' features.
        species: Atomic numbers, sorted.
        hidden: Widths of the hidden layers; default one of half the features.
    """

    def __init__(self, features: int, species: list[int], hidden: list[int] | None = None) -> None:
        super().__init__(features, species, hidden)
        self.masses = nn.Buffer(torch.tensor(atomic_masses[species], dtype=torch.float64), persistent=False)

    @torch.jit.unused
    def outputs(self) -> dict[str, dict[str, object]]:
        """Describe each output: shape, unit, and whether it belongs to a system or an atom."""
        unit = keys.UNITS[keys.SPATIAL_EXTENT]
        return {keys.SPATIAL_EXTENT: {"shape": ["s"], "unit": unit, "per": "system"}}

    def forward(self, x: Tensor, elements: Tensor, graph: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return ``electronic_spatial_extent [s]``.

        Args:
            x: ``[n, F]`` features of the atoms.
            elements: ``[n]`` int64 row of each atom's element.
            graph: The tensors of `zoo_runtime.keys`.
        """
        away = from_center(graph, self.masses.index_select(0, elements))
        shares = self.latent(x, elements).double().squeeze(-1) * (away * away).sum(-1)
        return {"electronic_spatial_extent": sum_into(shares, graph["system"], graph["cell"].shape[0])}


class ElementalElectronicSpatialExtent(Elemental, ElectronicSpatialExtent):
    """`ElectronicSpatialExtent` with a network of its own for each element."""


def from_center(graph: dict[str, Tensor], masses: Tensor) -> Tensor:
    """Return the positions relative to the centre of mass of each system, ``[n, 3]`` in Å.

    Args:
        graph: The tensors of `zoo_runtime.keys`.
        masses: ``[n]`` of the atoms.
    """
    positions, system, n_systems = graph["positions"], graph["system"], graph["cell"].shape[0]
    weights = masses.unsqueeze(-1)
    center = sum_into(weights * positions, system, n_systems) / sum_into(weights, system, n_systems)
    return positions - center.index_select(0, system)
