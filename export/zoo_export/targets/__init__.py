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
        dtype: Arithmetic of the network in the file.
    """

    module: str
    file: str
    backend: str
    optional: bool = False
    dtype: str = "float32"


TARGETS = {
    "safetensors": Target("zoo_export.targets.safetensors", "model.safetensors", "native", optional=True),
    "onnx": Target("zoo_export.targets.onnx", "model.onnx", "onnx"),
    "torchscript": Target("zoo_export.targets.torchscript", "model.pt", "torchscript"),
    "onnx-float64": Target("zoo_export.targets.onnx_float64", "model-float64.onnx", "onnx", dtype="float64"),
    "pt2": Target("zoo_export.targets.pt2", "model.pt2", "aoti", optional=True),
    "pt2-float64": Target(
        "zoo_export.targets.pt2_float64", "model-float64.pt2", "aoti", optional=True, dtype="float64"
    ),
}
DEFAULT = ("safetensors", "onnx", "torchscript")
"""What a release holds unless more is asked for: the rest doubles its size, or takes minutes to compile and check."""
