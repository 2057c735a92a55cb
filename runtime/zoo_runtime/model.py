"""A model that is ready to predict."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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
from zoo_runtime.checks import (
    OVERLAP,
    Contacts,
    caveats,
    check_contacts,
    check_shortest,
    check_spread,
    check_structure,
    refuse_outside,
)
from zoo_runtime.graph import Graph, batch, single
from zoo_runtime.prediction import Prediction, PredictionWarning

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
    strict: bool = False,
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
        strict: Refuse structures unlike the training data, which otherwise are warned of.

    Raises:
        ModelError: The model cannot be had, or cannot run as asked.
        UsageError: A word that is not allowed.

    Example:
        >>> model = load("schnet-qm9", threads=1)
        >>> print(model.metadata.level_of_theory)
        B3LYP/6-31G(2df,p)
        >>> load("schnet-qm8")
        Traceback (most recent call last):
        zoo_registry.errors.ModelNotFound: ...did you mean 'schnet-qm9'?...
    """
    from zoo_registry.store import resolve

    release = resolve(str(model), hub)
    if trust:
        release = replace(release, trusted=True)
    return Model(release, choose(release, backend, device, dtype, threads), strict)


class Model:
    """A release and the backend that runs it.

    Args:
        release: A verified release.
        backend: What computes; see `zoo_runtime.backends.choose`.
        strict: Whether a `DomainWarning` is an error.

    Attributes:
        metadata: Its ``zoo.json``.
        path: The release folder.
        backend: What computes; has ``name`` and ``description``.
    """

    def __init__(self, release: Release, backend: Backend, strict: bool = False) -> None:
        self.metadata: Metadata = release.metadata
        self.path: Path = release.path
        self.backend = backend
        self.strict = strict
        self._caveats = caveats(release.metadata)
        self._contacts = Contacts(release.metadata)
        self._units = {name: facts["unit"] for name, facts in release.metadata.outputs.items()}

    def __repr__(self) -> str:
        return f"<{self.metadata.label} on {self.backend.description}>"

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

        Example:
            >>> from ase.build import molecule
            >>> model = load("schnet-qm9")
            >>> water, silane = model.predict([molecule("H2O"), molecule("SiH4")], errors="return")
            >>> print(f"{water.energy:.2f} {water.units['energy']}")
            -2079.10 eV
            >>> print(silane)
            schnet-qm9 does not know Si (atom 0); it was trained on H, C, N, O, F only.
        """
        from ase import Atoms

        if isinstance(structures, Atoms):
            _check_word(errors)
            item = self._prepare(structures)
            result = self._compute([item])[0] if isinstance(item, _Input) else item
            if errors == "raise" and isinstance(result, ZooError):
                raise result
            return result
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

        Example:
            >>> from ase.build import molecule
            >>> frames = (molecule(name) for name in ("H2O", "CH4", "NH3"))  # or ase.io.iread(FILE)
            >>> for prediction in load("schnet-qm9").predict_many(frames):
            ...     print(f"{prediction.energy:.2f} eV")
            -2079.10 eV
            -1101.56 eV
            -1538.11 eV
        """
        _check_word(errors)
        waiting: deque[tuple[list[_Input | ZooError], Future[list[Prediction | ZooError]]]] = deque()

        def finished(at_most: int) -> Iterator[Any]:
            while len(waiting) > at_most:
                group, computed = waiting.popleft()
                results = iter(computed.result())
                for item in group:
                    result = next(results) if isinstance(item, _Input) else item
                    if errors == "raise" and isinstance(result, ZooError):
                        raise result
                    yield result

        with ThreadPoolExecutor(1) as pool:  # the backend computes one group while the next is read and prepared
            for group in _groups(self._prepare(structure) for structure in structures):
                inputs = [item for item in group if isinstance(item, _Input)]
                waiting.append((group, pool.submit(self._compute, inputs)))
                yield from finished(1)
            yield from finished(0)

    def follow(self, structure: Atoms, keep: bool = True) -> Prediction:
        """Predict the next structure of a simulation.

        As `predict`, and faster where the backend keeps a neighbour list of its own while atoms and cell change little.

        Args:
            structure: ``ase.Atoms``.
            keep: Whether to use and keep that list. Without, the result depends on nothing but the structure, to the
                last bit, and so do those that follow.

        Raises:
            StructureError: A structure that the model cannot or must not be asked about.
        """
        compute = getattr(self.backend, "compute_structure", None)
        if compute is None or self.strict:  # the backend's own list does not tell of atoms that are alone
            return self.predict(structure)
        warnings = self._caveats + check_structure(structure, self.metadata)
        cell = structure.cell.array
        outputs = compute(structure.numbers, structure.positions, cell, structure.pbc, SKIN if keep else 0.0)
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
        """Return an ASE calculator.

        Example:
            >>> from ase.build import molecule
            >>> from ase.optimize import BFGS
            >>> ethanol = molecule("CH3CH2OH")
            >>> ethanol.calc = load("schnet-rmd17-ethanol").calculator()
            >>> with BFGS(ethanol, logfile=None) as optimizer:
            ...     converged = optimizer.run(fmax=0.01)  # eV/Å
            >>> print(f"{ethanol.get_potential_energy():.3f} eV")
            -4210.217 eV
        """
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
            if self._contacts.suspicious(graph)[0]:
                warnings += check_contacts(graph, self.metadata)
            if self.strict:
                refuse_outside(warnings)
            return _Input(graph, warnings)
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
        finite = all(np.isfinite(outputs[name]).all() for name in self.metadata.outputs)
        return [
            self._prediction(
                outputs, system, slice(end - len(item.graph.numbers), end), item.graph.cell[0], item.warnings, finite
            )
            for system, (item, end) in enumerate(zip(inputs, ends, strict=True))
        ]

    def _prediction(
        self,
        outputs: dict[str, Any],
        system: int,
        atoms: slice,
        cell: npt.NDArray,
        warnings: list[PredictionWarning],
        finite: bool = False,
    ) -> Prediction | ZooError:
        described = self.metadata.outputs
        values: dict[str, Any] = {}
        for name, facts in described.items():
            value = outputs[name][atoms] if facts["per"] == "atom" else outputs[name][system]
            if not finite and not np.isfinite(value).all():
                return StructureError(f"{self.metadata.name} gave a {name} that is not a finite number.")
            values[name] = value if np.ndim(value) else float(value)
        if spread := check_spread(values, self.metadata):
            warnings = warnings + spread
            if self.strict:
                try:
                    refuse_outside(spread)
                except StructureError as error:
                    return error
        if not (cell.any() and np.linalg.det(cell)):
            values.pop(keys.STRESS, None)
        first = {name: values.pop(name, None) for name in (keys.ENERGY, keys.ENERGIES, keys.FORCES, keys.STRESS)}
        return Prediction(**first, properties=values, units=dict(self._units), warnings=warnings)


@dataclass(frozen=True)
class _Input:
    graph: Graph
    warnings: list[PredictionWarning]


def _check_word(errors: str) -> None:
    if errors not in ("raise", "return"):
        raise UsageError(f"errors={errors!r} is unknown. Allowed: raise, return")


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
