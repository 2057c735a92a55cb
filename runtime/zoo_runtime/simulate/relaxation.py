"""Relaxation of atoms, and of cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zoo_registry.errors import StructureError, UsageError, close_matches
from zoo_runtime import keys
from zoo_runtime.model import Model
from zoo_runtime.prediction import Prediction, PredictionWarning
from zoo_runtime.simulate.checks import need_forces, need_positive

if TYPE_CHECKING:
    from ase import Atoms

OPTIMIZERS = {"bfgs": "BFGS", "lbfgs": "LBFGS", "fire": "FIRE"}


@dataclass(frozen=True)
class Relaxation:
    """A relaxed structure.

    Attributes:
        atoms: The structure at the end, without a calculator.
        prediction: What the model says of it.
        energy_change: eV, end minus start.
        largest_force: eV/Å, on an atom that no constraint holds.
        steps: How many were taken.
        converged: Whether ``fmax`` was reached.
        warnings: Why the result may be wrong.
    """

    atoms: Atoms
    prediction: Prediction
    energy_change: float
    largest_force: float
    steps: int
    converged: bool
    warnings: list[PredictionWarning]


def relax(
    model: Model,
    atoms: Atoms,
    fmax: float = 0.01,
    steps: int = 500,
    cell: bool = False,
    optimizer: str = "bfgs",
    report: Callable[[int, float], None] | None = None,
) -> Relaxation:
    """Move atoms to a minimum of the energy.

    Args:
        model: A loaded model with forces.
        atoms: Where to start; not changed. ASE constraints hold.
        fmax: eV/Å, the largest force to leave; with ``cell`` the largest stress times volume per atom as well.
        steps: At most so many.
        cell: Relax the cell too (ASE's ``FrechetCellFilter``); for structures that are periodic in three directions.
        optimizer: ``bfgs``, ``lbfgs`` or ``fire``.
        report: Called after each step with its number and the largest force in eV/Å.

    Raises:
        StructureError: A structure that the model refuses, at the start or on the way.
        UsageError: An option that is not allowed.
        ModelError: The model has no forces, or no stress where it is needed.
    """
    from ase import optimize
    from ase.filters import FrechetCellFilter

    if optimizer not in OPTIMIZERS:
        raise UsageError(f"optimizer={optimizer!r} is unknown{close_matches(optimizer, OPTIMIZERS)}")
    need_positive(fmax=fmax, steps=steps)
    need_forces(model)
    if cell and not (atoms.pbc.all() and keys.STRESS in model.metadata.outputs):
        raise StructureError(
            "cell=true needs a structure that is periodic in three directions, and a model with stress."
        )
    atoms = atoms.copy()
    atoms.calc = model.calculator()
    before = atoms.get_potential_energy()
    target = FrechetCellFilter(atoms) if cell else atoms
    with getattr(optimize, OPTIMIZERS[optimizer])(target, logfile=None) as run:
        if report:
            run.attach(lambda: report(run.nsteps, _largest(atoms)))
        try:
            converged = bool(run.run(fmax=fmax, steps=steps))
        except StructureError as error:
            raise StructureError(
                f"after {run.nsteps} steps of relaxation: {error} The forces of {model.metadata.name} lead there; try "
                "optimizer=fire, another start or another model."
            ) from error
        taken = run.nsteps
    largest, change = _largest(atoms), atoms.get_potential_energy() - before
    atoms.calc = None
    prediction = model.predict(atoms)
    return Relaxation(atoms, prediction, float(change), largest, taken, converged, prediction.warnings)


def _largest(atoms: Atoms) -> float:
    return float(np.linalg.norm(atoms.get_forces(), axis=1).max())
