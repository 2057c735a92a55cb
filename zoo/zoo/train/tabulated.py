"""A fast training step of SchNet on a CPU: filters on a grid of distances, and a fused convolution.

The filters depend on the distance alone, so the filter networks are evaluated once a step on a grid instead of on
every edge, and each pair of atoms interpolates between four knots. Gradients reach the networks through the
interpolation. The error of a filter is about 1e-5 of its size, and what is trained is still SchNet itself: the
released model evaluates the networks, or a table of its own.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from zoo.models import Potential
from zoo.models.layers import cosine_cutoff, gaussian, norm
from zoo.models.schnet import Interaction, SchNet
from zoo_registry.store import cache_folder
from zoo_runtime import keys

SOURCE = Path(__file__).with_name("convolution.cpp")
FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC", "-std=c++17")
INTERVALS = 512


def tabulate(potential: Potential, device: torch.device) -> bool:
    """Let a SchNet train with tabulated filters where that can be done: energies alone, in float32, on a CPU.

    Args:
        potential: The network; its weights and their names stay what they are.
        device: Where it is trained.

    Returns:
        Whether it will.
    """
    schnet = potential.representation
    if not isinstance(schnet, SchNet) or potential.gradients or device.type != "cpu":
        return False
    if schnet.embedding.weight.dtype != torch.float32:
        return False
    library = convolution_library()
    if library is None:
        print("Without a working C++ compiler (CXX) this training is several times slower.", file=sys.stderr)
        return False
    schnet.forward = Tabulated(schnet, library)  # type: ignore[method-assign]
    return True


class Tabulated:
    """The forward pass of a SchNet with tabulated filters; takes the place of ``schnet.forward``.

    Args:
        schnet: The network, whose weights are used and trained; float32, on the CPU.
        library: What `convolution_library` returned.
    """

    def __init__(self, schnet: SchNet, library: ctypes.CDLL) -> None:
        self.schnet, self.library = schnet, library
        self.step = schnet.cutoff / INTERVALS
        # One knot more on either side, for the interpolation in the first and last interval.
        knots = torch.arange(-1, INTERVALS + 2, dtype=torch.float32) * self.step
        self.basis = gaussian(knots, schnet.centers, schnet.gamma)  # [K, G]
        self.envelope = cosine_cutoff(knots, schnet.cutoff).unsqueeze(-1)  # [K, 1]

    def __call__(self, elements: Tensor, vectors: Tensor, graph: dict[str, Tensor]) -> Tensor:
        """Return the features of the atoms; arguments as of `SchNet.forward`."""
        pairs = self.pairs(vectors, graph)
        x = self.schnet.embedding(elements)
        for module in self.schnet.interactions:
            interaction = cast(Interaction, module)
            table = interaction.filter_network(self.basis) * self.envelope  # [K, F]
            convolved = Convolution.apply(interaction.in_features(x), table, *pairs, self.library)
            x = x + interaction.out_network(convolved)
        return x

    @torch.no_grad()
    def pairs(self, vectors: Tensor, graph: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return each pair of atoms once: i ``[p]``, j ``[p]``, first row of the table ``[p]``, weights ``[p, 4]``."""
        edges, shifts = graph[keys.EDGES], graph[keys.SHIFTS]
        # Of an atom's own images only those on one side: the first component that is not zero decides.
        sign = torch.where(shifts[:, 0] != 0, shifts[:, 0], torch.where(shifts[:, 1] != 0, shifts[:, 1], shifts[:, 2]))
        half = ((edges[0] < edges[1]) | ((edges[0] == edges[1]) & (sign > 0))).nonzero().squeeze(1)
        position = norm(vectors[half]) / self.step
        row = position.long().clamp(max=INTERVALS - 1)
        u = (position - row).unsqueeze(-1)
        # Cubic convolution (Catmull-Rom), https://doi.org/10.1109/TASSP.1981.1163711.
        weights = torch.cat(
            [
                ((1.0 - 0.5 * u) * u - 0.5) * u,
                (1.5 * u - 2.5) * u * u + 1.0,
                ((2.0 - 1.5 * u) * u + 0.5) * u,
                (0.5 * u - 0.5) * u * u,
            ],
            dim=1,
        )
        return edges[0, half], edges[1, half], row, weights.float()


class Convolution(torch.autograd.Function):
    """``out_i = Σ_j x_j ∘ W(d_ij)`` with interpolated W."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, table: Tensor, i: Tensor, j: Tensor, row: Tensor, weights: Tensor, library: ctypes.CDLL
    ) -> Tensor:
        """Return ``[n, F]``."""
        x, table = x.contiguous(), table.contiguous()
        ctx.save_for_backward(x, table, i, j, row, weights)
        ctx.library = library
        out = torch.zeros_like(x)
        library.zoo_convolve(len(i), x.shape[1], *_pointers(i, j, row, weights, table, x, out))
        return out

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        """Return the derivatives with respect to ``x`` and ``table``."""
        x, table, i, j, row, weights = ctx.saved_tensors
        slope = slopes[0].contiguous()
        dx, dtable = torch.zeros_like(x), torch.zeros_like(table)
        ctx.library.zoo_convolve_backward(
            len(i), x.shape[1], *_pointers(i, j, row, weights, table, x, slope, dx, dtable)
        )
        return dx, dtable, None, None, None, None, None


def _pointers(*tensors: Tensor) -> list[ctypes.c_void_p]:
    return [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]


@cache
def convolution_library() -> ctypes.CDLL | None:
    """Compile the fused convolution for this machine, once; None where there is no C++ compiler."""
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        return None
    folder = cache_folder() / "compiled"
    machine = Path("/proc/cpuinfo").read_text()[:4096] if Path("/proc/cpuinfo").exists() else ""
    key = hashlib.sha256("\n".join([SOURCE.read_text(), compiler, *FLAGS, machine]).encode()).hexdigest()[:16]
    path = folder / f"convolution-{key}.so"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            built = Path(scratch) / path.name
            done = subprocess.run([compiler, *FLAGS, str(SOURCE), "-o", str(built)], capture_output=True)
            if done.returncode != 0:
                return None
            os.replace(built, path)
    library = ctypes.CDLL(str(path))
    size, pointer = ctypes.c_int64, ctypes.c_void_p
    library.zoo_convolve.argtypes = [size, size, *[pointer] * 7]
    library.zoo_convolve_backward.argtypes = [size, size, *[pointer] * 9]
    library.zoo_convolve.restype = library.zoo_convolve_backward.restype = None
    return library
