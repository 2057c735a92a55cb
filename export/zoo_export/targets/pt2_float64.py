"""The program for AOTInductor in float64, with the filter networks themselves."""

from __future__ import annotations

import copy
from pathlib import Path

import torch

from zoo.models import Potential
from zoo_export.targets.pt2 import write_program
from zoo_registry.metadata import Metadata


def write(potential: Potential, metadata: Metadata, path: Path) -> None:
    """Write ``model-float64.pt2``; see `zoo_export.targets.pt2.write`."""
    write_program(copy.deepcopy(potential).cast(torch.float64), metadata, path)
