"""Weights and metadata without code: the source of truth of a release."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file

from zoo.models import Potential
from zoo.train.weights import weights
from zoo_registry.metadata import Metadata


def write(potential: Potential, metadata: Metadata, path: Path) -> None:
    """Write the state of the network, with ``zoo.json`` in the header.

    Args:
        potential: The network.
        metadata: The metadata of the release.
        path: ``model.safetensors``.
    """
    save_file(weights(potential), path, {"zoo.json": metadata.to_json().decode()})
