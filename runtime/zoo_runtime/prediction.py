"""What a model answers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy.typing as npt


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
        warnings: Why this prediction may be worse than the model's test error says.
    """

    energy: float | None = None
    energies: npt.NDArray | None = None
    forces: npt.NDArray | None = None
    stress: npt.NDArray | None = None
    properties: dict[str, float | npt.NDArray] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def values(self) -> dict[str, float | npt.NDArray]:
        """Return all that there is, by the names of `zoo_runtime.keys`."""
        first = {name: getattr(self, name) for name in ("energy", "energies", "forces", "stress")}
        return {name: value for name, value in (first | self.properties).items() if value is not None}
