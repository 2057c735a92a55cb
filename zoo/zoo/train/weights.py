"""The weights of a network as tensors by name, and their hash, by which test errors find the network they belong to."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from zoo.models import Potential


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
