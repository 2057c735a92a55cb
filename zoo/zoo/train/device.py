"""Which processor to use."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

from zoo_registry.errors import UsageError


def torch_device(name: str) -> torch.device:
    """Return the device of that name; ``auto`` takes CUDA where there is one.

    Raises:
        UsageError: An unknown device, or a GPU that is asked for and missing.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device={name} is not allowed. Allowed: auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "No CUDA device was found; check the driver and that PyTorch was built for CUDA, or use device=cpu."
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def describe(device: torch.device, count: int) -> str:
    """Return the name of the processor and how many run, e.g. ``2 x NVIDIA H100``."""
    return f"{count} x {torch.cuda.get_device_name(device) if device.type == 'cuda' else _cpu()}"


def _cpu() -> str:
    """Return the name of the CPU; Python itself does not know it on Linux."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def rank() -> int:
    """Return this process's rank, also before the processes of a run know each other."""
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        if name in os.environ and not _interactive(name):
            return int(os.environ[name])
    return 0


def processes() -> int | None:
    """Return how many processes torchrun, SLURM's srun or Lightning started, None where none of them did."""
    for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        if name in os.environ and not _interactive(name):
            return int(os.environ[name])
    return None


def _interactive(name: str) -> bool:
    """Tell whether a variable is that of a shell under SLURM, which starts one process whatever runs in it."""
    return name.startswith("SLURM") and os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")


def world() -> int:
    """Return how many processes train together at this moment."""
    both = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if both else 1
