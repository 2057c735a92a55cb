"""ASE calculator."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from zoo_runtime import keys
from zoo_runtime.checks import charge_and_spin

if TYPE_CHECKING:
    from zoo_runtime.model import Model
    from zoo_runtime.prediction import PredictionWarning

SAME_IN_ASE = (keys.ENERGY, keys.ENERGIES, keys.FORCES, keys.STRESS, keys.DIPOLE, keys.CHARGES)
STATED = ("initial_charges", "initial_magmoms")


class ZooCalculator(Calculator):
    """Any model of the zoo as an ASE calculator; make it with `Model.calculator`.

    Energies are in eV and forces in eV/Å; ``free_energy`` is the energy, of which the forces are derivatives. Stress is
    there only for a periodic cell with a volume, in eV/Å³ and ASE's order of six, positive where the cell wants to
    shrink. A property that the model or the structure does not have raises ASE's ``PropertyNotImplementedError``.

    A committee adds ``results["energy_spread"]``, eV, and ``results["forces_spread"]``, [n] eV/Å: the standard
    deviations over its members.

    Args:
        model: A loaded model.

    Attributes:
        keep_list: Whether the backend's neighbour list may serve the next steps too; see `Model.follow`.
        warnings: What the last prediction warned of; the first such is a Python warning too.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        self.keep_list = True
        self.warnings: list[PredictionWarning] = []
        self._charge_and_spin: tuple[list[Any], list[Any]] | None = None
        self._warned = False
        outputs = model.metadata.outputs
        self.implemented_properties = [name for name in (*SAME_IN_ASE, *keys.SPREADS.values()) if name in outputs]
        if keys.ENERGY in outputs:
            self.implemented_properties.append("free_energy")

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """Return what changed since the last calculation, a charge or spin that is stated included."""
        # Exactly, array by array: ASE's own comparison takes as long as the energy of a small molecule.
        old = self.atoms
        if old is None:
            return list(all_changes)
        changes = [
            name
            for name, before, after in (
                ("positions", old.positions, atoms.positions),
                ("numbers", old.numbers, atoms.numbers),
                ("cell", old.cell.array, atoms.cell.array),
                ("pbc", old.pbc, atoms.pbc),
                *((name, old.arrays.get(name), atoms.arrays.get(name)) for name in STATED),
            )
            if not np.array_equal(before, after)
        ]
        return changes if charge_and_spin(atoms) == self._charge_and_spin else [*changes, "info"]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute everything that the model has.

        Raises:
            StructureError: A structure that the model cannot or must not be asked about.
        """
        super().calculate(atoms, properties, system_changes)
        self._charge_and_spin = charge_and_spin(self.atoms)
        prediction = self.model.follow(self.atoms, self.keep_list)
        self.warnings = prediction.warnings
        if self.warnings and not self._warned:
            self._warned = True
            warnings.warn("; ".join(self.warnings), stacklevel=2)
        values = prediction.values()
        self.results = {name: values[name] for name in (*SAME_IN_ASE, *keys.SPREADS.values()) if name in values}
        if keys.ENERGY in values:
            self.results["free_energy"] = values[keys.ENERGY]
        if keys.STRESS in values:
            self.results["stress"] = full_3x3_to_voigt_6_stress(values[keys.STRESS])
