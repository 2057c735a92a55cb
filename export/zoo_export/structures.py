"""The batch on which a network is recorded."""

from __future__ import annotations

from zoo.models import Potential
from zoo_runtime.graph import Graph, build
from zoo_runtime.verification.shapes import molecules, structures

__all__ = ["example", "molecules", "structures"]


def example(potential: Potential) -> Graph:
    """Return a batch with several systems, atoms and edges, on which the network is recorded."""
    named = structures(potential.species.tolist(), potential.cutoff)
    return build(list(named.values()), potential.cutoff, potential.needs_triples)
