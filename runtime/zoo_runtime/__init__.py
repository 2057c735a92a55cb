"""Run released models: from atoms to energies and forces, in Python, in ASE and on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo_runtime.model import Model, load
    from zoo_runtime.prediction import Prediction

__all__ = ["Model", "Prediction", "load"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that the command line starts quickly."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from zoo_runtime import model

    return getattr(model, name)
