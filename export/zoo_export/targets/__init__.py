"""What a release can hold: each target is one file here that writes one file of the release."""

from __future__ import annotations

from typing import NamedTuple


class Target(NamedTuple):
    """One format.

    Attributes:
        module: Has ``write(potential, metadata, path)``.
        file: Name of the file in the release folder.
        backend: The backend of `zoo_runtime` that runs it, with which it is proved equal; None where it has none.
    """

    module: str
    file: str
    backend: str | None


TARGETS = {
    "safetensors": Target("zoo_export.targets.safetensors", "model.safetensors", None),
    "onnx": Target("zoo_export.targets.onnx", "model.onnx", "onnx"),
    "torchscript": Target("zoo_export.targets.torchscript", "model.pt", "torchscript"),
}
