"""A model that is ready to predict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import numpy.typing as npt

from zoo_registry.errors import StructureError, UsageError, ZooError
from zoo_registry.metadata import Metadata
from zoo_registry.release import Release
from zoo_runtime import keys
from zoo_runtime.backends import Backend, choose
from zoo_runtime.checks import OVERLAP, caveats, check_contacts, check_shortest, check_structure
from zoo_runtime.graph import Graph, batch, single
from zoo_runtime.prediction import Prediction

if TYPE_CHECKING:
    from ase import Atoms

    from zoo_runtime.calculator import ZooCalculator

# Structures are computed together up to here: enough to hide the cost of a call, small enough for caches and memory.
BATCH_EDGES = 4_000
BATCH_STRUCTURES = 200
SKIN = 1.0  # Å by which a backend's own neighbour list reaches beyond the cutoff

Errors = Literal["raise", "return"]


def load(
    model: str | Path,
    backend: str = "auto",
    device: str = "auto",
    dtype: str = "float32",
    hub: str | None = None,
    threads: int | None = None,
    trust: bool = False,
) -> Model:
    """Load a released model.

    Args:
        model: ``name``, ``name@version``, ``hf://owner/repo[@version]`` or the path of a release folder.
        backend: ``auto``, or a name in `zoo_runtime.backends.BACKENDS`.
        device: ``auto``, ``cpu`` or ``cuda``; a GPU that is asked for and missing is an error.
        dtype: ``float32`` or ``float64``, of the network.
        hub: Where to look for a model that is not on this machine: a folder, or a URL such as ``hf://owner/repo``.
        threads: Number of CPU threads; None leaves it to the backend.
        trust: Whether files of the release that are code, such as ``model.pt``, may be run. Bundled releases, and those
            signed by a key that the user trusts, need no word.

    Raises:
        ModelError: The model cannot be had, or cannot run as asked.
        UsageError: A word that is not allowed.
    """
    from zoo_registry.store import resolve

    release = resolve(str(model), hub)
    if trust:
        release = replace(release, trusted=True)
    return Model(release, choose(release, backend, device, dtype, threads))


class Model:
    """A release and the backend that runs it.

    Args:
        release: A verified release.
        backend: What computes; see `zoo_runtime.backends.choose`.

    Attributes:
        metadata: Its ``zoo.json``.
        path: The release folder.
        backend: What computes; has ``name`` and ``description``.
    """

    def __init__(self, release: Release, backend: Backend) -> None:
        self.metadata: Metadata = release.metadata
        self.path: Path = release.path
        self.backend = backend
        self._caveats = caveats(release.metadata)

    def __repr__(self) -> str:
        return f"<{self.metadata.name}@{self.metadata.version} on {self.backend.description}>"

    @overload
    def predict(self, structures: Atoms) -> Prediction: ...

    @overload
    def predict(self, structures: Iterable[Atoms]) -> list[Prediction]: ...

    @overload
    def predict(self, structures: Iterable[Atoms], errors: Literal["return"]) -> list[Prediction | ZooError]: ...

    def predict(self, structures: Any, errors: Errors = "raise") -> Any:
        """Predict one structure or several.

        Args:
            structures: ``ase.Atoms``, or a sequence of them.
            errors: ``raise`` stops at the first structure that fails; ``return`` puts its error in its place.

        Returns:
            A `Prediction`, or a list of them in the order given.

        Raises:
            StructureError: A structure that the model cannot or must not be asked about.
        """
        from ase import Atoms

        if isinstance(structures, Atoms):
            return next(self.predict_many([structures], errors))
        return list(self.predict_many(structures, errors))

    def predict_many(self, structures: Iterable[Atoms | ZooError], errors: Errors = "raise") -> Iterator[Any]:
        """Predict a stream of structures of any length in bounded memory, in batches.

        Args:
            structures: ``ase.Atoms``; an error among them, from reading a file for example, passes through.
            errors: ``raise`` stops at the first structure that fails; ``return`` puts its error in its place.

        Yields:
            A `Prediction` for each structure, or a `ZooError`, in the order given.

        Raises:
            StructureError: A structure that the model cannot or must not be asked about.
        """
        if errors not in ("raise", "return"):
            raise UsageError(f"errors={errors!r} is unknown. Allowed: raise, return")
        for group in _groups(self._prepare(structure) for structure in structures):
            results = iter(self._compute([item for item in group if isinstance(item, _Input)]))
            for item in group:
                result = next(results) if isinstance(item, _Input) else item
                if errors == "raise" and isinstance(result, ZooError):
                    raise result
                yield result

    def follow(self, structure: Atoms) -> Prediction:
        """Predict the next structure of a simulation.

        As `predict`, and faster where the backend keeps a neighbour list of its own while atoms and cell change little.

        Args:
            structure: ``ase.Atoms``.

        Raises:
            StructureError: A structure that the model cannot or must not be asked about.
        """
        compute = getattr(self.backend, "compute_structure", None)
        if compute is None:
            return self.predict(structure)
        warnings = self._caveats + check_structure(structure, self.metadata)
        cell = structure.cell.array
        outputs = compute(structure.numbers, structure.positions, cell, structure.pbc, SKIN)
        shortest = outputs["shortest"]
        if shortest.min(initial=np.inf) < OVERLAP:
            return self.predict(structure)  # whose error names the atoms
        warnings += check_shortest(shortest, self.metadata)
        solid = cell if structure.pbc.any() else np.zeros((3, 3))
        result = self._prediction(outputs, 0, slice(None), solid, warnings)
        if isinstance(result, ZooError):
            raise result
        return result

    def calculator(self) -> ZooCalculator:
        """Return an ASE calculator."""
        from zoo_runtime.calculator import ZooCalculator

        return ZooCalculator(self)

    def _prepare(self, structure: Atoms | ZooError) -> _Input | ZooError:
        from ase import Atoms

        if isinstance(structure, ZooError):
            return structure
        if not isinstance(structure, Atoms):
            return StructureError(f"expected ase.Atoms, got {type(structure).__name__}; read files with ase.io.read.")
        try:
            warnings = self._caveats + check_structure(structure, self.metadata)
            graph = single(structure, self.metadata.cutoff)
            return _Input(graph, warnings + check_contacts(graph, self.metadata))
        except ZooError as error:
            return error

    def _compute(self, inputs: list[_Input]) -> list[Prediction | ZooError]:
        if not inputs:
            return []
        graph = batch([item.graph for item in inputs], self.metadata.neighbors.get("triples", False))
        try:
            outputs = self.backend.compute(graph)
        except StructureError as error:
            if len(inputs) == 1:
                return [error]
            half = len(inputs) // 2  # so that a structure too large for the machine fails alone
            return self._compute(inputs[:half]) + self._compute(inputs[half:])
        ends = np.cumsum([len(item.graph.numbers) for item in inputs])
        return [
            self._prediction(
                outputs, system, slice(end - len(item.graph.numbers), end), item.graph.cell[0], item.warnings
            )
            for system, (item, end) in enumerate(zip(inputs, ends, strict=True))
        ]

    def _prediction(
        self, outputs: dict[str, Any], system: int, atoms: slice, cell: npt.NDArray, warnings: list[str]
    ) -> Prediction | ZooError:
        described = self.metadata.outputs
        values: dict[str, Any] = {}
        for name, facts in described.items():
            value = outputs[name][atoms] if facts["per"] == "atom" else outputs[name][system]
            if not np.isfinite(value).all():
                return StructureError(f"{self.metadata.name} gave a {name} that is not a finite number.")
            values[name] = value if np.ndim(value) else float(value)
        if not np.linalg.det(cell):
            values.pop(keys.STRESS, None)
        first = {name: values.pop(name, None) for name in (keys.ENERGY, keys.ENERGIES, keys.FORCES, keys.STRESS)}
        units = {name: facts["unit"] for name, facts in described.items()}
        return Prediction(**first, properties=values, units=units, warnings=warnings)


@dataclass(frozen=True)
class _Input:
    graph: Graph
    warnings: list[str]


def _groups(items: Iterable[_Input | ZooError]) -> Iterator[list[_Input | ZooError]]:
    """Cut a stream where the edges of a group reach the limit, or the group grows long."""
    group: list[_Input | ZooError] = []
    edges = 0
    for item in items:
        group.append(item)
        edges += item.graph.edges.shape[1] if isinstance(item, _Input) else 0
        if edges >= BATCH_EDGES or len(group) >= BATCH_STRUCTURES:
            yield group
            group, edges = [], 0
    if group:
        yield group
