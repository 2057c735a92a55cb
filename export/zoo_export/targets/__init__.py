"""What a release can hold: each target is one file here that writes one file of the release."""

from __future__ import annotations

from typing import NamedTuple


class Target(NamedTuple):
    """One format.

    Attributes:
        module: Has ``write(potential, metadata, path)``.
        file: Name of the file in the release folder.
        backend: The backend of `zoo_runtime` that runs it, with which it is proved equal.
        optional: Whether the backend may be missing from an installation, or may not know a network.
    """

    module: str
    file: str
    backend: str
    optional: bool = False


TARGETS = {
    "safetensors": Target("zoo_export.targets.safetensors", "model.safetensors", "native", optional=True),
    "onnx": Target("zoo_export.targets.onnx", "model.onnx", "onnx"),
    "torchscript": Target("zoo_export.targets.torchscript", "model.pt", "torchscript"),
}
