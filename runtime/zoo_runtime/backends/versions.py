"""Which versions of torch the backends were tested with."""

from __future__ import annotations

import importlib.util
import re

OLDEST, NEWEST = (2, 10), (2, 13)
WANTED = f"torch>={OLDEST[0]}.{OLDEST[1]},<{NEWEST[0]}.{NEWEST[1] + 1}"


def missing() -> str | None:
    """Return None where torch is installed, else what to do."""
    return None if importlib.util.find_spec("torch") else f"torch is not installed; pip install '{WANTED}'"


def untested() -> str | None:
    """Return None where the torch that is here was tested, else what to do."""
    import torch

    if OLDEST <= tuple(map(int, re.findall(r"\d+", torch.__version__)[:2])) <= NEWEST:
        return None
    return f"torch {torch.__version__} is installed, with which it was never tested; pip install '{WANTED}'"
