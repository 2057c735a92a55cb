"""The float64 network as a backend: the reference that every exported file must reproduce."""

from __future__ import annotations

import copy

import numpy as np
import torch

from zoo.models import Potential
from zoo_runtime.graph import Graph


class Eager:
    """Computes with the network itself, in float64, through autograd.

    Args:
        potential: The network; a copy is used.
    """

    name = "eager"

    def __init__(self, potential: Potential) -> None:
        self.potential = copy.deepcopy(potential).cast(torch.float64).eval().requires_grad_(False)
        self.cutoff, self.needs_triples = potential.cutoff, potential.needs_triples
        self.outputs = potential.outputs()
        self.units = {name: facts["unit"] for name, facts in self.outputs.items()}

    def compute(self, graph: Graph) -> dict[str, np.ndarray]:
        """Return the outputs for a batch, by the names of `zoo_runtime.keys`."""
        tensors = {name: torch.from_numpy(array) for name, array in graph.tensors().items()}
        return {name: value.detach().numpy() for name, value in self.potential(tensors).items()}
