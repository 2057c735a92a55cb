"""The ways to run a release: one file each, found by name, opened only when asked for."""

from __future__ import annotations

import importlib
from typing import Protocol

import numpy.typing as npt

from zoo_registry.errors import ModelError, UsageError, close_matches
from zoo_registry.release import Release
from zoo_registry.signing import is_trusted
from zoo_runtime.graph import Graph

# In order of preference.
BACKENDS = {
    "native": "zoo_runtime.backends.native",
    "onnx": "zoo_runtime.backends.onnx",
    "torchscript": "zoo_runtime.backends.torchscript",
    "aoti": "zoo_runtime.backends.aoti",
}
# Those whose file is a program, which could do anything on this machine.
CODE = ("torchscript", "aoti")
# Those that must be asked for, since they compile for minutes before the first number.
ASKED = ("aoti",)
DEVICES = ("cpu", "cuda")
DTYPES = ("float32", "float64")


class BackendUnavailable(ModelError):
    """A backend that cannot run this release here, on this device or in this dtype."""


class Backend(Protocol):
    """A release that is ready to run.

    Attributes:
        name: Key in `BACKENDS`.
        description: What runs it, where and in which precision, for people.
    """

    name: str
    description: str

    def compute(self, graph: Graph) -> dict[str, npt.NDArray]:
        """Return the outputs of `zoo_runtime.keys` for one batch.

        Raises:
            StructureError: The library underneath failed on this input, for example for lack of memory.
        """
        ...


def choose(
    release: Release,
    backend: str = "auto",
    device: str = "auto",
    dtype: str = "float32",
    threads: int | None = None,
) -> Backend:
    """Make a release ready to run.

    Args:
        release: A verified release.
        backend: A key of `BACKENDS`; ``auto`` takes the first that can do what is asked.
        device: ``cpu``, ``cuda``, or ``auto`` for a GPU where the backend finds one.
        dtype: ``float32`` or ``float64``, of the network; references and sums are float64 always.
        threads: Number of CPU threads; None leaves it to the library.

    Raises:
        UsageError: A word that is not allowed.
        BackendUnavailable: What was asked for cannot be had; nothing else is taken in its place.
        ReleaseInvalid: The file to run cannot be loaded, or is another model's.
    """
    for option, given, allowed in (
        ("backend", backend, ["auto", *BACKENDS]),
        ("device", device, ["auto", *DEVICES]),
        ("dtype", dtype, DTYPES),
    ):
        if given not in allowed:
            raise UsageError(f"{option}={given!r} is unknown{close_matches(given, allowed)}")
    if threads is not None and threads < 1:
        raise UsageError(f"threads={threads} must be at least 1.")
    reasons = []
    for name in [name for name in BACKENDS if name not in ASKED] if backend == "auto" else [backend]:
        module = importlib.import_module(BACKENDS[name])
        try:
            if reason := module.available():
                raise BackendUnavailable(reason)
            file = module.FILES[dtype]
            if not (release.path / file).is_file():
                raise BackendUnavailable(f"the release has no {file}")
            if name in CODE and not is_trusted(release):
                raise BackendUnavailable(
                    f"{file} is a program, and is run only from a release that is bundled, signed by a key that "
                    "you trust, or that you vouch for with trust=True (zoo predict --trust)"
                )
            opened: Backend = module.open_backend(release, device, dtype, threads)
        except BackendUnavailable as error:
            reasons.append(f"{name}: {error}")
        else:
            return opened
    raise BackendUnavailable(f"{release} cannot run with device={device} dtype={dtype}. {'; '.join(reasons)}.")
