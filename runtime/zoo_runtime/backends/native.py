"""The native backend: libzoo through its C ABI, without any other third-party package."""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from zoo_registry.errors import ModelError, ReleaseInvalid, StructureError, UsageError, ZooError
from zoo_runtime import keys
from zoo_runtime.backends import BackendUnavailable
from zoo_runtime.backends.committee import NativeCommittee

if TYPE_CHECKING:
    from zoo_registry.release import Release
    from zoo_runtime.graph import Graph

FILE = "model.safetensors"
FILES = {"float32": FILE, "float64": FILE}
ABI_VERSION = 2
SHORTEST = "shortest"
FLOATS = {"float32": 0, "float64": 1}
ERRORS: dict[int, type[ZooError]] = {1: UsageError, 2: ReleaseInvalid, 3: StructureError}

Floats = npt.NDArray[np.float64]


class Options(ctypes.Structure):
    """``zoo_options`` of zoo.h."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("dtype", ctypes.c_int),
        ("filters", ctypes.c_int),
        ("tolerance", ctypes.c_double),
        ("instruction_set", ctypes.c_char_p),
        ("member", ctypes.c_int),
    ]


class CGraph(ctypes.Structure):
    """``zoo_graph`` of zoo.h."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        *[(name, ctypes.c_int64) for name in ("n_atoms", "n_local", "n_edges", "n_systems")],
        *[
            (name, ctypes.c_void_p)
            for name in ("numbers", "system", "centers", "neighbors", "vectors", "positions", "shifts")
        ],
    ]


class CStructure(ctypes.Structure):
    """``zoo_structure`` of zoo.h."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("n_atoms", ctypes.c_int64),
        *[(name, ctypes.c_void_p) for name in ("numbers", "positions", "cell")],
        ("periodic", ctypes.c_int * 3),
    ]


class CResults(ctypes.Structure):
    """``zoo_results`` of zoo.h."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        *[
            (name, ctypes.c_void_p)
            for name in (
                "energy",
                "energies",
                "forces",
                "virial",
                "atom_virials",
                "edge_gradients",
                "contributions",
                "shortest",
            )
        ],
    ]


def library_path() -> Path:
    """Return where the library is: the file named by ``ZOO_LIBRARY``, or the one inside of the package."""
    suffix = ".dylib" if sys.platform == "darwin" else ".so"
    inside = Path(__file__).resolve().parents[1] / "_native" / f"libzoo{suffix}"
    return Path(os.environ.get("ZOO_LIBRARY", inside))


@cache
def _library(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    for name in ("version", "last_error", "model_name", "model_description", "model_metadata"):
        getattr(library, f"zoo_{name}").restype = ctypes.c_char_p
    library.zoo_model_cutoff.restype = ctypes.c_double
    library.zoo_session_n_lists.restype = ctypes.c_int64
    for name in ("model_free", "session_free"):
        getattr(library, f"zoo_{name}").argtypes = [ctypes.c_void_p]
        getattr(library, f"zoo_{name}").restype = None
    for name in ("name", "description", "metadata", "cutoff", "n_heads", "n_layers", "n_features"):
        getattr(library, f"zoo_model_{name}").argtypes = [ctypes.c_void_p]
    library.zoo_session_n_lists.argtypes = [ctypes.c_void_p]
    library.zoo_session_create.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    library.zoo_session_pin.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    library.zoo_compute.argtypes = [ctypes.c_void_p] * 3
    library.zoo_compute_structure.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_double, ctypes.c_void_p]
    library.zoo_selftest.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p]
    library.zoo_model_head.argtypes = [ctypes.c_void_p, ctypes.c_int, *[ctypes.c_void_p] * 3]
    return library


def available() -> str | None:
    """Return None where the library can be used, or one line that says why not."""
    path = library_path()
    if not path.is_file():
        return f"{path} is not there; installing atomzoo compiles it where a C++17 compiler and CMake are"
    try:
        version = _library(path).zoo_abi_version()
    except OSError as error:
        return f"{path} cannot be loaded ({error}); install atomzoo again"
    if version != ABI_VERSION:
        return f"{path} has ABI version {version}, this package needs {ABI_VERSION}; install atomzoo again"
    return None


def open_backend(
    release: Release, device: str, dtype: str, threads: int | None = None
) -> NativeModel | NativeCommittee:
    """Load a release's weights into the engine.

    Args:
        release: A verified release.
        device: ``cpu`` or ``auto``; the engine runs nowhere else.
        dtype: ``float32`` or ``float64``, the arithmetic of the network.
        threads: How many threads compute; None for all that this process may use.

    Raises:
        BackendUnavailable: Another device, or no library.
        ReleaseInvalid: Weights that the engine cannot read, or another model's.
    """
    if device not in ("cpu", "auto"):
        raise BackendUnavailable("it runs on the cpu only")
    if reason := available():
        raise BackendUnavailable(reason)
    path = release.file(FILE)
    model: NativeModel | NativeCommittee
    if members := release.metadata.hyperparameters.get("committee"):
        model = NativeCommittee([NativeModel(path, dtype, threads, member=k) for k in range(members)])
    else:
        model = NativeModel(path, dtype, threads)
    if model.metadata != release.file("zoo.json").read_bytes():
        raise ReleaseInvalid(f"{release}: {FILE} holds another zoo.json than the release; fetch the release again.")
    return model


class NativeModel:
    """One model in the engine; several threads may use it at once.

    Args:
        path: ``model.safetensors``.
        dtype: ``float32`` or ``float64``.
        threads: How many threads compute; default all that this process may use.
        exact: Evaluate SchNet's filter networks instead of their tables.
        instruction_set: ``avx512``, ``avx2`` or ``baseline``; default the best that the machine has.
        member: Which network of a committee's file, from 0.

    Attributes:
        species: Atomic numbers that the model knows, ascending.
    """

    name = "native"

    def __init__(
        self,
        path: str | Path,
        dtype: str = "float32",
        threads: int | None = None,
        exact: bool = False,
        instruction_set: str | None = None,
        member: int = -1,
    ) -> None:
        if dtype not in FLOATS:
            raise UsageError(f"dtype is {dtype!r}; allowed: {', '.join(FLOATS)}.")
        self._model, self._session = ctypes.c_void_p(), ctypes.c_void_p()
        self._lock = threading.Lock()  # a session serves one thread at a time
        self._library = library = _library(library_path())
        options = Options()
        library.zoo_options_init(ctypes.byref(options))
        options.dtype, options.filters = FLOATS[dtype], int(exact)
        options.instruction_set = instruction_set.encode() if instruction_set else None
        options.member = member
        self._call("model_load", os.fsencode(path), ctypes.byref(options), ctypes.byref(self._model))
        self.threads = threads or _threads()
        self._call("session_create", self._model, self.threads, ctypes.byref(self._session))
        self.description = f"libzoo: {library.zoo_model_description(self._model).decode()}, {self.threads} thread(s)"
        self.metadata: bytes = library.zoo_model_metadata(self._model)
        hyperparameters = json.loads(self.metadata)["hyperparameters"]
        self.species: list[int] = hyperparameters["representation"]["species"]
        heads = hyperparameters["heads"]
        self._heads = [(*self._head(h), heads[name]) for h, name in enumerate(sorted(heads))]

    def __del__(self) -> None:
        if getattr(self, "_library", None) is not None:
            self._library.zoo_session_free(self._session)
            self._library.zoo_model_free(self._model)

    @property
    def n_lists(self) -> int:
        """How many neighbour lists `compute_structure` has built."""
        return int(self._library.zoo_session_n_lists(self._session))

    def compute(self, graph: Graph) -> dict[str, npt.NDArray]:
        """Predict the properties of a batch.

        Args:
            graph: At least one system; triples are not needed.

        Returns:
            The arrays of `zoo_runtime.keys`, float64.

        Raises:
            StructureError: Unknown element, coinciding atoms, or a prediction that is not finite.
        """
        n, s = len(graph.numbers), graph.n_systems
        arrays: dict[str, npt.NDArray] = {
            "numbers": np.ascontiguousarray(graph.numbers, np.int64),
            "system": np.ascontiguousarray(graph.system, np.int64),
            "centers": np.ascontiguousarray(graph.edges[0], np.int64),
            "neighbors": np.ascontiguousarray(graph.edges[1], np.int64),
            "positions": np.ascontiguousarray(graph.positions, np.float64),
            "shifts": np.ascontiguousarray(graph.shifts, np.float64),
        }
        pointers = {name: array.ctypes.data for name, array in arrays.items()}
        c_graph = CGraph(ctypes.sizeof(CGraph), n, n, graph.edges.shape[1], s, **pointers)
        results, out = self._results(n, s)
        with self._lock:
            self._call("compute", self._session, ctypes.byref(c_graph), ctypes.byref(out))
        return self._outputs(results, arrays["numbers"], arrays["positions"], arrays["system"], graph.cell)

    def compute_structure(
        self,
        numbers: npt.ArrayLike,
        positions: npt.ArrayLike,
        cell: npt.ArrayLike,
        pbc: npt.ArrayLike,
        skin: float = 0.0,
    ) -> dict[str, npt.NDArray]:
        """Predict the properties of one structure with the engine's own neighbour list.

        Args:
            numbers: [n] atomic numbers.
            positions: [n, 3] Å.
            cell: [3, 3] Å.
            pbc: [3] bool.
            skin: Å by which the list reaches beyond the cutoff, so that it can serve the next steps too.

        Returns:
            As `compute`, and ``shortest``: [S, S] Å, the shortest distance of each pair of elements in the order of
            ``species``, infinity where there is none within the cutoff.
        """
        numbers = np.ascontiguousarray(numbers, np.int64)
        positions = np.ascontiguousarray(positions, np.float64).reshape(-1, 3)
        cell = np.ascontiguousarray(cell, np.float64)
        periodic = np.asarray(pbc, dtype=bool)
        structure = CStructure(
            ctypes.sizeof(CStructure), len(numbers), numbers.ctypes.data, positions.ctypes.data, cell.ctypes.data
        )
        structure.periodic[:] = periodic.astype(int).tolist()
        results, out = self._results(len(numbers), 1)
        with self._lock:
            self._call("compute_structure", self._session, ctypes.byref(structure), skin, ctypes.byref(out))
        box = cell if periodic.any() else np.zeros((3, 3))
        outputs = self._outputs(results, numbers, positions, np.zeros(len(numbers), np.int64), box[None])
        return outputs | {SHORTEST: results[SHORTEST]}

    def pin(self, cores: list[int]) -> None:
        """Keep the calling thread on the first of the cores and the engine's other threads on the next ones.

        Args:
            cores: As many as threads.

        Raises:
            UsageError: Another number of cores, or one that this process may not use.
        """
        self._call("session_pin", self._session, len(cores), (ctypes.c_int * len(cores))(*cores))

    def selftest(self, golden: str | Path) -> tuple[float, float]:
        """Return the largest differences to golden.json: energy in eV/atom, forces in eV/Å."""
        energy, forces = ctypes.c_double(), ctypes.c_double()
        self._call("selftest", self._session, os.fsencode(golden), ctypes.byref(energy), ctypes.byref(forces))
        return energy.value, forces.value

    def _call(self, name: str, *arguments: Any) -> None:
        if status := getattr(self._library, f"zoo_{name}")(*arguments):
            raise ERRORS.get(status, ModelError)(self._library.zoo_last_error().decode(errors="replace"))

    def _head(self, h: int) -> tuple[str, bool]:
        name, mean = ctypes.c_char_p(), ctypes.c_int()
        self._call("model_head", self._model, h, ctypes.byref(name), None, ctypes.byref(mean))
        return (name.value or b"").decode(), bool(mean.value)

    def _results(self, n: int, s: int) -> tuple[dict[str, Floats], CResults]:
        pairs = np.empty((len(self.species), len(self.species)))
        arrays = {"contributions": np.zeros((len(self._heads), n)), SHORTEST: pairs}
        if any(name == keys.ENERGY for name, *_ in self._heads):
            arrays["forces"], arrays["virial"] = np.zeros((n, 3)), np.zeros((s, 3, 3))
        out = CResults(ctypes.sizeof(CResults), **{name: array.ctypes.data for name, array in arrays.items()})
        return arrays, out

    def _outputs(
        self, results: dict[str, Floats], numbers: npt.NDArray, positions: Floats, system: npt.NDArray, cell: Floats
    ) -> dict[str, npt.NDArray]:
        s = len(cell)
        outputs: dict[str, npt.NDArray] = {}
        for (name, mean, settings), shares in zip(self._heads, results["contributions"], strict=True):
            if name == keys.CHARGES:
                outputs |= _dipole(shares, _from_center(numbers, positions, system, s), system, s, settings)
                continue
            if name == "spatial_extent_weights":
                away = _from_center(numbers, positions, system, s)
                outputs[keys.SPATIAL_EXTENT] = _sums(system, shares * (away**2).sum(1), s)
                continue
            outputs[name] = _sums(system, shares, s)
            if mean:
                outputs[name] /= _counts(system, s)
            if name == keys.ENERGY:
                outputs[keys.ENERGIES] = shares
        if "forces" in results:
            volume = np.abs(np.linalg.det(cell))[:, None, None]
            solid = volume > 0
            outputs[keys.FORCES] = results["forces"]
            outputs[keys.STRESS] = np.where(solid, -results["virial"] / np.where(solid, volume, 1.0), 0.0)
        return outputs


def _dipole(
    charges: Floats, away: Floats, system: npt.NDArray, s: int, settings: dict[str, Any]
) -> dict[str, npt.NDArray]:
    """Return the moment of latent charges about the centre of mass, in e·Å."""
    if settings.get("charge_correction"):
        charges = charges - (_sums(system, charges, s) / _counts(system, s))[system]
    dipole = _vector_sums(system, charges[:, None] * away, s)
    outputs = {keys.DIPOLE: dipole, keys.CHARGES: charges}
    if settings.get("magnitude"):
        outputs[keys.DIPOLE_MAGNITUDE] = np.sqrt(np.maximum((dipole**2).sum(1), 1e-24))
    return outputs


def _from_center(numbers: npt.NDArray, positions: Floats, system: npt.NDArray, s: int) -> Floats:
    """Return the positions relative to the centre of mass of each system."""
    from ase.data import atomic_masses

    masses = atomic_masses[numbers]
    center = _vector_sums(system, masses[:, None] * positions, s) / np.maximum(_sums(system, masses, s), 1e-9)[:, None]
    return positions - center[system]


def _vector_sums(system: npt.NDArray, vectors: Floats, s: int) -> Floats:
    return np.stack([_sums(system, column, s) for column in vectors.T], axis=1)


def _sums(system: npt.NDArray, values: Floats, s: int) -> Floats:
    """Return the sum of values over the atoms of each system."""
    return np.bincount(system, values, s).astype(np.float64)


def _counts(system: npt.NDArray, s: int) -> npt.NDArray:
    """Return the number of atoms of each system, 1 for an empty one."""
    return np.maximum(np.bincount(system, minlength=s), 1)


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
