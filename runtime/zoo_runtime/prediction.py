"""What a model answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy.typing as npt


class PredictionWarning(str):
    """Why a prediction may be worse than the model's test error says; its class says of what kind it is."""


class GradientWarning(PredictionWarning):
    """Forces of a model that was trained on energies alone, or dipole vectors of one trained on magnitudes."""


class DomainWarning(PredictionWarning):
    """A structure unlike those that the model was trained on; an error in strict mode."""


class PeriodicityWarning(DomainWarning):
    """Periodic, where all the training data were molecules."""


class SizeWarning(DomainWarning):
    """Fewer or more atoms than any system in the training data."""


class CompositionWarning(DomainWarning):
    """More or less of an element than in any system of the training data."""


class DistanceWarning(DomainWarning):
    """Atoms closer to each other than any of these elements in the training data."""


class SpinWarning(DomainWarning):
    """Initial magnetic moments of another spin than the training data had."""


class NeighborWarning(DomainWarning):
    """An atom that nothing is near to."""


class SpreadWarning(DomainWarning):
    """The members of a committee disagree more than they did on test data."""


def described(warnings: Sequence[str]) -> list[dict[str, str]]:
    """Return warnings for JSON, in the shape of errors."""
    return [{"type": type(warning).__name__, "message": str(warning)} for warning in warnings]


@dataclass(frozen=True)
class Prediction:
    """Properties of one structure of n atoms; None for what the model does not have.

    Attributes:
        energy: eV.
        energies: [n] eV, the energy's share of each atom.
        forces: [n, 3] eV/Å.
        stress: [3, 3] eV/Å³, tensile positive; None without a periodic cell that has a volume.
        properties: Everything else that the model predicts: a float for a scalar, else an array.
        units: Unit of each of the above, by name.
        warnings: Why this prediction may be worse than the model's test error says; texts whose classes, such as
            `SizeWarning`, say of what kind they are.

    Example:
        >>> import zoo_runtime
        >>> from ase.build import molecule
        >>> prediction = zoo_runtime.load("schnet-rmd17-ethanol").predict(molecule("H2O"))
        >>> sorted(prediction.values())
        ['energies', 'energy', 'forces']
        >>> for warning in prediction.warnings:
        ...     print(f"{type(warning).__name__}: {warning}")
        SizeWarning: the structure has 3 atoms, the smallest in the training data has 9
    """

    energy: float | None = None
    energies: npt.NDArray | None = None
    forces: npt.NDArray | None = None
    stress: npt.NDArray | None = None
    properties: dict[str, float | npt.NDArray] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    warnings: list[PredictionWarning] = field(default_factory=list)

    def values(self) -> dict[str, float | npt.NDArray]:
        """Return all that there is, by the names of `zoo_runtime.keys`."""
        first = {name: getattr(self, name) for name in ("energy", "energies", "forces", "stress")}
        return {name: value for name, value in (first | self.properties).items() if value is not None}
