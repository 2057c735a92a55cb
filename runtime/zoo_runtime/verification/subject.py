"""What is verified, and how far two sets of results are apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from zoo_registry.metadata import Metadata
from zoo_runtime import keys
from zoo_runtime.graph import Graph, build

if TYPE_CHECKING:
    from ase import Atoms

Results = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Subject:
    """A backend, and what ``zoo.json`` says of the model that it runs.

    Attributes:
        backend: Has ``name`` and ``compute``, as `zoo_runtime.backends.Backend`.
        metadata: The model's.
        dtype: ``float32`` or ``float64``, of the network.
    """

    backend: Any
    metadata: Metadata
    dtype: str

    def __str__(self) -> str:
        return f"{self.backend.name} {self.dtype}"

    @property
    def single(self) -> bool:
        """Whether the network computes in float32."""
        return self.dtype == "float32"

    @property
    def has_energy(self) -> bool:
        """Whether it gives an energy and its derivatives."""
        return keys.FORCES in self.metadata.outputs

    def graph(self, *structures: Atoms) -> Graph:
        """Return one batch of structures."""
        return build(structures, self.metadata.cutoff, self.metadata.neighbors.get("triples", False))

    def run(self, *structures: Atoms) -> Results:
        """Compute the outputs that are stated, for one batch of structures."""
        computed = self.backend.compute(self.graph(*structures))
        return {name: computed[name] for name in self.metadata.outputs if name in computed}


def deviations(metadata: Metadata, graph: Graph, got: Results, expected: Results) -> dict[str, float]:
    """Return the largest difference in every output that is expected; that of the energy is per atom.

    Args:
        metadata: The model's.
        graph: The batch.
        got: Its results.
        expected: What they should be.
    """
    atoms = np.bincount(graph.system, minlength=graph.n_systems)
    found = {}
    for name in (name for name in metadata.outputs if name in expected):
        if name not in got:
            found[name] = np.inf
            continue
        value, right = np.asarray(got[name], dtype=np.float64), np.asarray(expected[name], dtype=np.float64)
        if value.shape != right.shape:
            found[name] = np.inf
            continue
        difference = np.abs(value - right) / (atoms if name == keys.ENERGY else 1.0)
        found[name] = float(difference.max(initial=0.0))
    return found


def worst(*found: dict[str, float]) -> dict[str, float]:
    """Return the largest of each entry."""
    # np.max keeps a NaN where Python's max may lose it.
    return {
        name: float(np.max([one.get(name, 0.0) for one in found]))
        for name in dict.fromkeys(k for f in found for k in f)
    }


def unit(metadata: Metadata, output: str) -> str:
    """Return the unit of an output's deviation."""
    return metadata.outputs[output]["unit"] + ("/atom" if output == keys.ENERGY else "")
