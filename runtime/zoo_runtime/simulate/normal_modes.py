"""Harmonic vibrations from forces, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from zoo_registry.errors import StructureError
from zoo_runtime import keys
from zoo_runtime.model import Model
from zoo_runtime.prediction import PredictionWarning
from zoo_runtime.simulate.checks import need_dipole, need_forces, need_positive
from zoo_runtime.simulate.infrared import displaced, infrared_intensities
from zoo_runtime.simulate.relaxation import relax
from zoo_runtime.simulate.rigid import rigid_motions

if TYPE_CHECKING:
    from ase import Atoms
    from ase.vibrations.data import VibrationsData

HELD = {"U0": "the zero-point energy"} | dict.fromkeys(("U", "H", "G"), "the zero-point energy and thermal terms")
GEOMETRIES: dict[int, Literal["monatomic", "linear", "nonlinear"]] = {3: "monatomic", 5: "linear", 6: "nonlinear"}


@dataclass(frozen=True)
class Thermochemistry:
    """An ideal gas of rigid rotors and harmonic oscillators (ASE's ``IdealGasThermo``), electronic energy included.

    Attributes:
        temperature: K.
        pressure: Pa.
        symmetry_number: As it was given.
        enthalpy: eV.
        entropy: eV/K.
        gibbs_energy: eV.
    """

    temperature: float
    pressure: float
    symmetry_number: int
    enthalpy: float
    entropy: float
    gibbs_energy: float


@dataclass(frozen=True)
class Vibrations:
    """Normal modes of a structure.

    Attributes:
        atoms: The structure that they belong to.
        energy: eV, of this structure.
        frequencies: [k] cm⁻¹, ascending; an imaginary one is a negative number.
        modes: [k, n, 3] displacements in u^(-1/2): the sum of m·x² is 1.
        intensities: [k] km/mol, infrared; None without dipoles, and for periodic systems.
        zero_point_energy: eV, of the real modes.
        largest_force: eV/Å, what was left on an atom.
        thermochemistry: None for a periodic or a constrained system and where a mode is imaginary,
            and of a model whose energy is U0, U, H or G of QM9.
        data: The same as ASE's ``VibrationsData``, whole systems' motions included (as zeros).
        warnings: Why the numbers may be wrong.
    """

    atoms: Atoms
    energy: float
    frequencies: npt.NDArray[np.float64]
    modes: npt.NDArray[np.float64]
    intensities: npt.NDArray[np.float64] | None
    zero_point_energy: float
    largest_force: float
    thermochemistry: Thermochemistry | None
    data: VibrationsData
    warnings: list[PredictionWarning]


def vibrations(
    model: Model,
    atoms: Atoms,
    relaxed: bool = False,
    fmax: float = 1e-3,
    displacement: float = 0.002,
    temperature: float = 298.15,
    pressure: float = 101325.0,
    symmetry_number: int = 1,
    dipole: Model | None = None,
) -> Vibrations:
    """Compute harmonic frequencies by central differences of the forces.

    Translations, and rotations of a molecule, are projected out before the Hessian is diagonalised, so n atoms have
    3n - 6 modes (a linear molecule 3n - 5, a periodic system 3n - 3, and 3 for each atom that constraints leave free).

    Args:
        model: A loaded model with forces.
        atoms: The structure; not changed.
        relaxed: Take the structure as it is; else it is relaxed first.
        fmax: eV/Å, how far to relax, and above which a structure is called no stationary point.
        displacement: Å; small enough for its error, of second order, and large enough for float32 forces.
        temperature: K, of the thermochemistry.
        pressure: Pa, of the thermochemistry.
        symmetry_number: Rotational symmetry number of the molecule: ethanol 1, water 2, ammonia 3, methane 12.
        dipole: A model with a dipole, for infrared intensities; None takes ``model`` where it has one.

    Raises:
        StructureError: A structure that a model refuses, or no atom is free to move.
        UsageError: An option that is not allowed.
        ModelError: The model has no forces, or the model of dipoles no dipole.
    """
    from ase.vibrations.data import VibrationsData

    need_positive(
        fmax=fmax,
        displacement=displacement,
        temperature=temperature,
        pressure=pressure,
        symmetry_number=symmetry_number,
    )
    need_forces(model)
    if dipole is None and keys.DIPOLE in model.metadata.outputs:
        dipole = model
    if dipole is not None:
        need_dipole(dipole)
    start = atoms.copy() if relaxed else relax(model, atoms, fmax, steps=2000).atoms
    free = VibrationsData.indices_from_constraints(start)
    if not free:
        raise StructureError("no atom is free to move; take a constraint away.")
    prediction = model.predict(start)
    energy = float(prediction.values()[keys.ENERGY])
    largest = float(np.linalg.norm(np.asarray(prediction.forces)[free], axis=1).max())
    rigid = rigid_motions(start)
    data = VibrationsData(start, _hessian(model, start, free, displacement, rigid), indices=free)
    energies, modes = data.get_energies_and_modes(all_atoms=True)
    kept = np.sort(np.argsort(np.abs(energies))[rigid.shape[1] :])
    frequencies = data.get_frequencies()[kept]
    frequencies = frequencies.real - frequencies.imag
    order = kept[np.argsort(frequencies)]
    frequencies.sort()
    warnings = list(prediction.warnings)
    intensities = None
    if dipole is not None and not start.pbc.any():
        intensities, remarks = infrared_intensities(dipole, start, modes[order], free, displacement)
        warnings += [remark for remark in remarks if remark not in warnings]
    if largest > fmax:
        warnings.append(
            PredictionWarning(
                f"the largest force is {largest:.4f} eV/Å, not below fmax={fmax:g}: this is no stationary point, "
                "and its lowest frequencies mean little"
            )
        )
    imaginary = int((frequencies < 0).sum())
    if imaginary:
        warnings.append(PredictionWarning(f"{imaginary} imaginary frequencies: the structure is not a minimum"))
    thermochemistry = None
    target = _thermal_target(model)
    if target:
        warnings.append(
            PredictionWarning(
                f"the energy of {model.metadata.name} is {target}, which holds {HELD[target]} already; "
                "no thermochemistry"
            )
        )
    elif not imaginary and rigid.shape[1] in GEOMETRIES and not start.pbc.any():
        spin = (model.metadata.spin_multiplicity - 1) / 2
        thermochemistry = _ideal_gas(start, energies[order].real, energy, spin, temperature, pressure, symmetry_number)
    return Vibrations(
        atoms=start,
        energy=energy,
        frequencies=frequencies,
        modes=modes[order],
        intensities=intensities,
        zero_point_energy=float(energies[order].real.sum() / 2),
        largest_force=largest,
        thermochemistry=thermochemistry,
        data=data,
        warnings=warnings,
    )


def animate(found: Vibrations, frames: int = 20, amplitude: float = 0.3) -> list[Atoms]:
    """Return one period of every mode, one after another.

    Args:
        found: Normal modes.
        frames: Structures of each mode.
        amplitude: Å, how far the atom that moves most goes.

    Returns:
        Structures with the mode's number from 1 and its frequency in cm⁻¹ in ``atoms.info``.
    """
    images = []
    for number, (frequency, mode) in enumerate(zip(found.frequencies, found.modes, strict=True), 1):
        largest = np.linalg.norm(mode, axis=1).max()
        for phase in 2 * np.pi * np.arange(frames) / frames:
            image = found.atoms.copy()
            image.positions += amplitude * np.sin(phase) / largest * mode
            image.info = {"mode": number, "frequency_cm-1": float(frequency)}
            images.append(image)
    return images


def _hessian(model: Model, atoms: Atoms, free: list[int], displacement: float, rigid: npt.NDArray) -> npt.NDArray:
    """Symmetric [f, 3, f, 3] in eV/Å², without what moves the system as a whole."""
    images = displaced(atoms, free, displacement)
    forces = np.array([np.asarray(prediction.forces)[free].ravel() for prediction in model.predict(images)])
    hessian = (forces[1::2] - forces[::2]) / (2 * displacement)
    hessian = (hessian + hessian.T) / 2
    if rigid.size:
        roots = np.repeat(np.sqrt(atoms.get_masses()), 3)
        keep = np.eye(len(roots)) - rigid @ rigid.T
        hessian = roots[:, None] * (keep @ (hessian / np.outer(roots, roots)) @ keep) * roots
    return hessian.reshape(len(free), 3, len(free), 3)


def _thermal_target(model: Model) -> str | None:
    """Name of the energy that the model was trained on, where it is more than the electronic one."""
    data = model.metadata.training.get("recipe", {}).get("data", {})
    target = (data.get("targets") or {}).get("energy")
    return target if data.get("dataset") == "qm9" and target in HELD else None


def _ideal_gas(
    atoms: Atoms, energies: npt.NDArray, energy: float, spin: float, temperature: float, pressure: float, symmetry: int
) -> Thermochemistry:
    from ase.thermochemistry import IdealGasThermo

    gas = IdealGasThermo(
        vib_energies=list(energies),
        geometry=GEOMETRIES[rigid_motions(atoms).shape[1]],
        potentialenergy=energy,
        atoms=atoms,
        symmetrynumber=symmetry,
        spin=spin,
    )
    return Thermochemistry(
        temperature=temperature,
        pressure=pressure,
        symmetry_number=symmetry,
        enthalpy=float(gas.get_enthalpy(temperature, verbose=False)),
        entropy=float(gas.get_entropy(temperature, pressure, verbose=False)),
        gibbs_energy=float(gas.get_gibbs_energy(temperature, pressure, verbose=False)),
    )
