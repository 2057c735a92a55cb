"""A representation and its prediction blocks, with forces and stress from the edge vectors."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from zoo.models.heads import Head
from zoo.models.layers import Representation, sum_into
from zoo_runtime import keys


class Potential(nn.Module):
    """What is trained and exported: tensors of a batch of systems in, properties out.

    All geometry enters through the edge vectors r_ij, so g = ∂E/∂r_ij alone gives the forces
    ``F_i = Σ_j g_ij - Σ_j g_ji`` and the stress ``σ = Σ r_ij ⊗ g_ij / V``.

    Args:
        species: Atomic numbers that the model knows, sorted.
        representation: Gives ``[n, F]`` features of the atoms.
        heads: Prediction blocks by name.
        hyperparameters: What `zoo.models.build` needs to make the network again.

    Attributes:
        cutoff: Radius of the neighbour list in Å.
        needs_triples: Whether the graph must hold ``triples``.
        gradients: Whether forces and stress are computed.
    """

    def __init__(
        self,
        species: list[int],
        representation: Representation,
        heads: dict[str, Head],
        hyperparameters: dict[str, Any],
    ) -> None:
        super().__init__()
        self.representation = representation
        self.heads = nn.ModuleDict(heads)
        self.species = nn.Buffer(torch.tensor(species))
        rows = torch.full((max(species) + 1,), -1)
        rows[torch.tensor(species)] = torch.arange(len(species))
        self.rows = nn.Buffer(rows, persistent=False)
        self.gradients = any(keys.ENERGY in head.outputs() for head in heads.values())
        self.cutoff, self.needs_triples = representation.cutoff, representation.needs_triples
        self.hyperparameters = hyperparameters

    def forward(self, graph: dict[str, Tensor]) -> dict[str, Tensor]:
        """Predict the properties of a batch.

        Args:
            graph: The input tensors of `zoo_runtime.keys`; positions, shifts and cell in float64.

        Returns:
            The output tensors of `zoo_runtime.keys`, in float64.
        """
        vectors = edge_vectors(graph)
        if self.gradients:
            vectors = vectors.detach().requires_grad_()
        elements = self.rows.index_select(0, graph["numbers"])
        x = self.representation(elements, vectors, graph)
        outputs: dict[str, Tensor] = {}
        for head in self.heads.values():
            outputs.update(head(x, elements, graph))
        if self.gradients:
            slopes = torch.autograd.grad([outputs["energy"].sum()], [vectors], create_graph=self.training)[0]
            if slopes is None:
                raise RuntimeError("the energy does not depend on the edge vectors")
            outputs.update(mechanics(slopes, vectors, graph))
        return outputs

    @torch.jit.unused
    def outputs(self) -> dict[str, dict[str, Any]]:
        """Describe every output: dtype, shape, unit, per system or atom, and what it is the gradient of."""
        described: dict[str, dict[str, Any]] = {}
        for head in self.heads.values():
            described.update(head.outputs())  # type: ignore[operator]
        if self.gradients:
            described[keys.FORCES] = {"shape": ["n", 3], "per": "atom", "gradient_of": keys.ENERGY}
            described[keys.STRESS] = {"shape": ["s", 3, 3], "per": "system", "gradient_of": keys.ENERGY}
        common = {"dtype": "float64", "gradient_of": None}
        return {name: common | {"unit": keys.UNITS.get(name)} | facts for name, facts in described.items()}

    @torch.jit.unused
    def cast(self, dtype: torch.dtype) -> "Potential":
        """Let the networks compute in ``dtype``; references and sums stay float64."""
        self.representation.to(dtype)
        for head in self.heads.values():
            head.network.to(dtype)
        return self

    @torch.jit.unused
    def set_standardisation(self, head: str, mean: float, stddev: float, references: dict[int, float]) -> None:
        """Set ``reference(Z) = mean + references[Z]`` and ``σ = stddev`` of an atomwise head.

        Args:
            head: Name of the head.
            mean: Mean over the training set of the property per atom, after the references.
            stddev: Its standard deviation.
            references: Value for each atomic number; absent ones count as 0.
        """
        block = self.heads[head]
        values = [mean + references.get(int(z), 0.0) for z in self.species]
        block.get_buffer("reference").copy_(torch.tensor(values, dtype=torch.float64))
        block.get_buffer("scale").fill_(stddev)

    @torch.jit.unused
    def fit_descriptors(self, batches: Iterable[dict[str, Tensor]]) -> None:
        """Standardise the descriptors, where the representation has any, on the atoms of some batches."""
        self.representation.fit(
            (self.rows.index_select(0, graph["numbers"]), edge_vectors(graph), graph) for graph in batches
        )


def edge_vectors(graph: dict[str, Tensor]) -> Tensor:
    """Return r_ij of every edge, ``[e, 3]`` in Å, from the centre to the neighbour."""
    positions, edges = graph["positions"], graph["edges"]
    return positions.index_select(0, edges[1]) + graph["shifts"] - positions.index_select(0, edges[0])


def mechanics(slopes: Tensor, vectors: Tensor, graph: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return forces and stress from the slopes of the energy.

    Args:
        slopes: ``[e, 3]`` ∂E/∂r_ij in eV/Å.
        vectors: ``[e, 3]`` r_ij in Å.
        graph: The input tensors of `zoo_runtime.keys`.

    Returns:
        ``forces [n, 3]`` in eV/Å and ``stress [s, 3, 3]`` in eV/Å³; stress is 0 where the cell has no volume.
    """
    edges, system, cell = graph["edges"], graph["system"], graph["cell"]
    n_atoms = system.shape[0]
    forces = sum_into(slopes, edges[0], n_atoms) - sum_into(slopes, edges[1], n_atoms)
    products = vectors.unsqueeze(2) * slopes.unsqueeze(1)  # [e, 3, 3]
    virials = sum_into(0.5 * (products + products.transpose(1, 2)), edges[0], n_atoms)  # [n, 3, 3]
    virial = sum_into(virials, system, cell.shape[0])  # [s, 3, 3]
    a, b, c = cell[:, 0], cell[:, 1], cell[:, 2]
    normal = torch.stack(
        [
            b[:, 1] * c[:, 2] - b[:, 2] * c[:, 1],
            b[:, 2] * c[:, 0] - b[:, 0] * c[:, 2],
            b[:, 0] * c[:, 1] - b[:, 1] * c[:, 0],
        ],
        dim=1,
    )
    volume = (a * normal).sum(-1).abs().view(-1, 1, 1)
    solid = volume > 0.0
    stress = torch.where(solid, virial / torch.where(solid, volume, torch.ones_like(volume)), torch.zeros_like(virial))
    return {"forces": forces, "stress": stress}
