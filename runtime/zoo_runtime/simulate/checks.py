"""What every simulation asks of its model and its numbers."""

from __future__ import annotations

import math

from zoo_registry.errors import ModelError, UsageError
from zoo_runtime import keys
from zoo_runtime.model import Model


def need_forces(model: Model) -> None:
    """Refuse a model that has no energy or no forces.

    Raises:
        ModelError: It has not; says what it has.
    """
    outputs = model.metadata.outputs
    if keys.ENERGY not in outputs or keys.FORCES not in outputs:
        raise ModelError(
            f"{model.metadata.name} predicts {', '.join(outputs)}; a simulation needs energy and forces, "
            "so take another model."
        )


def need_dipole(model: Model) -> None:
    """Refuse a model that has no dipole.

    Raises:
        ModelError: It has not; says what it has.
    """
    if keys.DIPOLE not in model.metadata.outputs:
        raise ModelError(
            f"{model.metadata.name} predicts {', '.join(model.metadata.outputs)} and no dipole; give dipole= a model "
            "that has one."
        )


def need_positive(**numbers: float) -> None:
    """Refuse what is not a finite number above zero.

    Raises:
        UsageError: Names the option.
    """
    for name, number in numbers.items():
        if not (math.isfinite(number) and number > 0):
            raise UsageError(f"{name}={number} must be a finite number above 0.")
