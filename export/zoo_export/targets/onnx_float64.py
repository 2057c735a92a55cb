"""ONNX in float64: equal to the float64 network to the last digits, for hosts that need them more than speed."""

from __future__ import annotations

import copy
from pathlib import Path

import torch

from zoo.models import Potential
from zoo_export.targets.onnx import write_graph
from zoo_registry.metadata import Metadata


def write(potential: Potential, metadata: Metadata, path: Path) -> None:
    """Write ``model-float64.onnx``, with the filter networks themselves; see `zoo_export.targets.onnx.write`."""
    write_graph(copy.deepcopy(potential).cast(torch.float64), metadata, path)
