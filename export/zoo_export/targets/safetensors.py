"""Weights and metadata without code: the source of truth of a release."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from zoo.models import Potential
from zoo_registry.metadata import Metadata


def write(potential: Potential, metadata: Metadata, path: Path) -> None:
    """Write the state of the network, with ``zoo.json`` in the header.

    Args:
        potential: The network.
        metadata: The metadata of the release.
        path: ``model.safetensors``.
    """
    save_file(weights(potential), path, {"zoo.json": metadata.to_json().decode()})


def weights(potential: Potential) -> dict[str, Tensor]:
    """Return the tensors of the network, sorted by name, contiguous and on the CPU."""
    state = potential.state_dict()
    return {name: state[name].detach().cpu().contiguous() for name in sorted(state)}


def weights_sha256(potential: Potential) -> str:
    """Return a hash of names, dtypes, shapes and bytes of all tensors, whatever file they are in."""
    digest = hashlib.sha256()
    for name, tensor in weights(potential).items():
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
