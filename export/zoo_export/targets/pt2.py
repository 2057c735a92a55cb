"""A program of torch.export, forces and stress inside, from which AOTInductor compiles a library for one machine."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from zoo.models import Potential
from zoo_export.describe import labels
from zoo_export.tabulate import tabulate
from zoo_export.unroll import record
from zoo_registry.metadata import Metadata


def write(potential: Potential, metadata: Metadata, path: Path) -> None:
    """Write the float32 program and its weights, with `labels` and the names of its inputs and outputs beside it.

    Args:
        potential: The network.
        metadata: The metadata of the release; its ``tolerance["filters"]`` is the error that tables may have.
        path: ``model.pt2``.
    """
    write_program(tabulate(potential, metadata.tolerance.get("filters", 0.0)), metadata, path)


def write_program(potential: Potential, metadata: Metadata, path: Path) -> None:
    """Write a network as it is; arguments as `write`."""
    recorded = record(potential)
    names = {"inputs": " ".join(recorded.inputs), "outputs": " ".join(recorded.outputs)}
    with warnings.catch_warnings():
        # torch 2.13 copies its own deprecated tree structures.
        warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated", FutureWarning)
        program = torch.export.export(recorded.module, recorded.arguments, dynamic_shapes=recorded.dynamic)
        torch.export.save(program, path, extra_files=labels(metadata) | names)
