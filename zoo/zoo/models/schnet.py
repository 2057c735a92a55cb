"""SchNet: continuous-filter convolutions. https://doi.org/10.1063/1.5019779."""

import torch
from torch import Tensor, nn

from zoo.models.layers import Representation, check_above, cosine_cutoff, dense, gaussian, mlp, norm, sum_into


class Interaction(nn.Module):
    """``v_i = B₃ ssp(B₂ Σ_j (B₁ x_j) ∘ W(d_ij))``; a network makes the filter W from the distance alone."""

    def __init__(self, features: int, gaussians: int) -> None:
        super().__init__()
        self.filter_network = mlp([gaussians, features, features])
        self.in_features = dense(features, features, bias=False)
        self.out_network = mlp([features, features, features])

    def forward(self, x: Tensor, edges: Tensor, basis: Tensor, envelope: Tensor) -> Tensor:
        """Return the update of the features.

        Args:
            x: ``[n, F]`` features of the atoms.
            edges: ``[2, e]`` centres and neighbours.
            basis: ``[e, G]`` Gaussians of the distances.
            envelope: ``[e, 1]`` cutoff function of the distances.
        """
        filters = self.filter_network(basis) * envelope  # [e, F]
        messages = self.in_features(x).index_select(0, edges[1]) * filters  # [e, F]
        return self.out_network(sum_into(messages, edges[0], x.shape[0]))  # [n, F]


class SchNet(Representation):
    """Embedding of the elements, refined by a row of interactions.

    Args:
        species: Atomic numbers, sorted; row s of the embedding belongs to ``species[s]``.
        cutoff: r_c in Å of the cosine cutoff function.
        features: F, width of the atoms' features.
        interactions: T, how many times atoms exchange features.
        gaussians: G, number of Gaussians between 0 and r_c; each is as wide as their spacing.
    """

    def __init__(
        self,
        species: list[int],
        cutoff: float = 5.0,
        features: int = 128,
        interactions: int = 6,
        gaussians: int = 50,
    ) -> None:
        super().__init__()
        check_above(
            cutoff=(cutoff, 0), features=(features, 0), interactions=(interactions, 0), gaussians=(gaussians, 1)
        )
        self.cutoff, self.needs_triples = cutoff, False
        self.features = features
        self.interaction_range = cutoff * interactions
        self.embedding = nn.Embedding(len(species), features)
        self.interactions = nn.ModuleList(Interaction(features, gaussians) for _ in range(interactions))
        centers = torch.linspace(0.0, cutoff, gaussians)
        self.centers = nn.Buffer(centers)
        self.gamma = nn.Buffer(0.5 / (centers[1] - centers[0]) ** 2)

    def forward(self, elements: Tensor, vectors: Tensor, graph: dict[str, Tensor]) -> Tensor:
        """Return the features of the atoms.

        Args:
            elements: ``[n]`` int64 row of each atom's element.
            vectors: ``[e, 3]`` r_ij in Å.
            graph: The tensors of `zoo_runtime.keys`; only ``edges`` is used.

        Returns:
            ``[n, F]``.
        """
        distances = norm(vectors.to(self.embedding.weight.dtype))  # [e]
        basis = gaussian(distances, self.centers, self.gamma)  # [e, G]
        envelope = cosine_cutoff(distances, self.cutoff).unsqueeze(-1)  # [e, 1]
        x = self.embedding(elements)  # [n, F]
        for interaction in self.interactions:
            x = x + interaction(x, graph["edges"], basis, envelope)
        return x
