"""TorchScript for hosts that embed libtorch. Deprecated upstream, so it never is the only file of a release."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import torch

from zoo.models import Potential
from zoo_export.describe import labels
from zoo_registry.metadata import Metadata


def write(potential: Potential, metadata: Metadata, path: Path) -> None:
    """Write a module that takes and returns a dictionary of the tensors of `zoo_runtime.keys`.

    ``zoo.json`` goes in as an extra file, and beside it ``cutoff`` (Å), ``species`` (atomic numbers), ``energy_unit``
    and ``length_unit``, for hosts without a JSON parser.

    Args:
        potential: The network.
        metadata: The metadata of the release.
        path: ``model.pt``.
    """
    # Weights that still want a gradient would get one at every call of autograd for the forces.
    frozen = copy.deepcopy(potential).eval().requires_grad_(False)
    with warnings.catch_warnings():
        # TorchScript is deprecated as of torch 2.11 and still works in every version that we admit.
        names = "script|script_method|save"
        warnings.filterwarnings("ignore", rf"`torch\.jit\.({names})` is deprecated", DeprecationWarning)
        torch.jit.script(frozen).save(str(path), _extra_files=labels(metadata))
