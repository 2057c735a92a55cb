"""What every simulation asks of its model and its numbers."""

from __future__ import annotations

import math

from zoo_registry.errors import ModelError, UsageError
from zoo_registry.units import convert
from zoo_runtime import keys
from zoo_runtime.model import Model
from zoo_runtime.report import test_error

UNIT = keys.UNITS[keys.FORCES]
POOR_FORCES = 0.2  # eV/Å; potentials that were trained on forces reach a tenth of it


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


def force_warnings(model: Model) -> list[str]:
    """Return a warning where the forces of a model are known to be poor, or nothing is known of them."""
    name = model.metadata.name
    error = test_error(model.metadata, keys.FORCES)
    if error is None:
        return [f"{name} does not say how far its forces are from its level of theory"]
    if convert(error["value"], error["unit"], UNIT) > POOR_FORCES:
        return [
            f"the forces of {name} are off by {error['value']:.2g} {error['unit']} on average: "
            "what follows from them is a try of the tools, not chemistry"
        ]
    return []


def need_positive(**numbers: float) -> None:
    """Refuse what is not a finite number above zero.

    Raises:
        UsageError: Names the option.
    """
    for name, number in numbers.items():
        if not (math.isfinite(number) and number > 0):
            raise UsageError(f"{name}={number} must be a finite number above 0.")
