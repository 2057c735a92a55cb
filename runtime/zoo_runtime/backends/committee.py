"""A committee in the native engine, which knows single networks: mean and spread are formed here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from zoo_runtime import keys

if TYPE_CHECKING:
    from zoo_runtime.backends.native import NativeModel
    from zoo_runtime.graph import Graph


class NativeCommittee:
    """Several networks in the engine that act as one.

    Args:
        members: At least two, of one architecture.
    """

    name = "native"

    def __init__(self, members: Sequence[NativeModel]) -> None:
        self.members = members
        self.metadata = members[0].metadata
        self.description = f"{members[0].description}, committee of {len(members)}"

    def compute(self, graph: Graph) -> dict[str, npt.NDArray]:
        """Predict a batch; see `zoo_runtime.backends.Backend`."""
        return combined([member.compute(graph) for member in self.members])

    def compute_structure(
        self,
        numbers: npt.ArrayLike,
        positions: npt.ArrayLike,
        cell: npt.ArrayLike,
        pbc: npt.ArrayLike,
        skin: float = 0.0,
    ) -> dict[str, npt.NDArray]:
        """Predict one structure with the engine's own neighbour lists; see `NativeModel.compute_structure`."""
        return combined([one.compute_structure(numbers, positions, cell, pbc, skin) for one in self.members])


def combined(results: Sequence[dict[str, npt.NDArray]]) -> dict[str, npt.NDArray]:
    """Return the mean of every output, and the spread of energy and forces.

    Args:
        results: What each member gives.

    Returns:
        The same names, and `zoo_runtime.keys.ENERGY_SPREAD` [s] in eV, the sample standard deviation, and
        `zoo_runtime.keys.FORCES_SPREAD` [n] in eV/Å, ``sqrt(Σ_k |F_k - mean F|² / (M - 1))``.
    """
    outputs: dict[str, npt.NDArray] = {}
    for name in results[0]:
        values = np.stack([result[name] for result in results])  # [M, ...]
        # Not by the mean for what is the same for all members and may be infinite: the shortest distances.
        outputs[name] = values.mean(axis=0) if name != "shortest" else values[0]
        if name in keys.SPREADS:
            squares = ((values - outputs[name]) ** 2).sum(axis=0) / (len(values) - 1)
            outputs[keys.SPREADS[name]] = np.sqrt(squares if name == keys.ENERGY else squares.sum(axis=-1))
    return outputs
