"""A committee: several networks of one architecture, whose mean is the prediction and whose spread its uncertainty.

Query by committee: https://doi.org/10.1145/130385.130417.
"""

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from zoo.models.layers import Representation
from zoo.models.potential import Potential
from zoo_registry.errors import UsageError
from zoo_runtime import keys


class Committee(Potential):
    """Networks that were trained on the same split from different random numbers, used as one potential.

    Every output is the mean over the M members; beside it stand ``energy_spread``, the sample standard deviation of
    the energy, and ``forces_spread`` of each atom, ``sqrt(Σ_k |F_k - mean F|² / (M - 1))``. The mean of the forces is
    minus the derivative of the mean of the energies, so a committee conserves energy as its members do.

    Args:
        members: At least two networks with the same hyperparameters.
        hyperparameters: What `zoo.models.build` needs to make the committee again.

    Attributes:
        members: The networks.
        cutoff: Radius of the neighbour list in Å.
        needs_triples: Whether the graph must hold ``triples``.

    Raises:
        UsageError: Fewer than two members, which have no spread.
    """

    __jit_unused_properties__ = ("gradients", "heads", "potentials", "representation")

    def __init__(self, members: list[Potential], hyperparameters: dict[str, Any]) -> None:
        nn.Module.__init__(self)
        if len(members) < 2:
            raise UsageError(f"A committee of {len(members)} has no spread; give it at least 2 members.")
        self.members = nn.ModuleList(members)
        first = members[0]
        # The members hold both; a committee of its own has no weights.
        self.species = nn.Buffer(first.species.clone(), persistent=False)
        self.rows = nn.Buffer(first.rows.clone(), persistent=False)
        self.cutoff, self.needs_triples = first.cutoff, first.needs_triples
        self.hyperparameters = hyperparameters

    def forward(self, graph: dict[str, Tensor]) -> dict[str, Tensor]:
        """Predict the properties of a batch.

        Args:
            graph: The input tensors of `zoo_runtime.keys`; positions, shifts and cell in float64.

        Returns:
            The output tensors of `zoo_runtime.keys`, in float64.
        """
        collected: dict[str, list[Tensor]] = {}
        for member in self.members:
            predicted: dict[str, Tensor] = member(graph)
            for name, value in predicted.items():
                if name not in collected:
                    collected[name] = []
                collected[name].append(value)
        outputs: dict[str, Tensor] = {}
        for name, values in collected.items():
            stacked = torch.stack(values)  # [M, ...]
            mean = stacked.mean(0)
            outputs[name] = mean
            if name == "energy":
                outputs["energy_spread"] = spread(stacked - mean)
            if name == "forces":
                outputs["forces_spread"] = spread(stacked - mean).square().sum(-1).sqrt()
        return outputs

    @torch.jit.unused
    def outputs(self) -> dict[str, dict[str, Any]]:
        """Describe every output: dtype, shape, unit, per system or atom, and what it is the gradient of."""
        described: dict[str, dict[str, Any]] = self.members[0].outputs()  # type: ignore[operator]
        for name, of, shape in ((keys.ENERGY_SPREAD, keys.ENERGY, "s"), (keys.FORCES_SPREAD, keys.FORCES, "n")):
            if of in described:
                described[name] = described[of] | {"shape": [shape], "gradient_of": None}
        return described

    @torch.jit.unused
    def cast(self, dtype: torch.dtype) -> "Committee":
        """Let the networks compute in ``dtype``; references and sums stay float64."""
        for member in self.potentials:
            member.cast(dtype)
        return self

    @torch.jit.unused
    def set_standardisation(self, head: str, mean: float, stddev: float, references: dict[int, float]) -> None:
        """Do what `Potential.set_standardisation` does for every member."""
        for member in self.potentials:
            member.set_standardisation(head, mean, stddev, references)

    @torch.jit.unused
    def fit_descriptors(self, batches: Iterable[dict[str, Tensor]]) -> None:
        """Do what `Potential.fit_descriptors` does for every member."""
        kept = list(batches)
        for member in self.potentials:
            member.fit_descriptors(kept)

    @property
    def potentials(self) -> list[Potential]:
        """The members."""
        return cast(list[Potential], list(self.members))

    @property
    def gradients(self) -> bool:
        """Whether forces and stress are computed."""
        return self.potentials[0].gradients

    @gradients.setter
    def gradients(self, wanted: bool) -> None:
        for member in self.potentials:
            member.gradients = wanted

    @property
    def representation(self) -> Representation:  # type: ignore[override]
        """That of the first member; those of the others are of the same kind."""
        return self.potentials[0].representation

    @property
    def heads(self) -> nn.ModuleDict:  # type: ignore[override]
        """Those of the first member, by name; the others have the same."""
        return self.potentials[0].heads


def spread(deviations: Tensor) -> Tensor:
    """Return the sample standard deviation over the first axis, ``[M, ...] -> [...]``, of deviations from the mean."""
    return (deviations.square().sum(0) / (deviations.shape[0] - 1)).sqrt()
