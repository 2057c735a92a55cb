"""What must not change, or must change along, when a structure is turned, mirrored, renumbered, copied or repeated."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from zoo_registry.errors import StructureError, ZooError
from zoo_registry.metadata import MAX_ATOMIC_NUMBER
from zoo_registry.units import convert
from zoo_runtime import keys
from zoo_runtime.checks import check_structure
from zoo_runtime.verification.subject import Results, Subject, deviations

if TYPE_CHECKING:
    from ase import Atoms

Named = dict[str, "Atoms"]
MECHANICAL = (keys.ENERGY, keys.ENERGIES, keys.FORCES, keys.STRESS)


def rotation_error(subject: Subject, named: Named) -> float:
    """Return how much results differ from the turned ones, after a rotation and a shift."""
    from ase import Atoms

    axes = Atoms("H3", np.eye(3))
    axes.rotate(57.0, (1.0, 2.0, 3.0))
    return _linear_error(subject, named, axes.positions, np.array([0.3, -0.2, 0.1]))


def inversion_error(subject: Subject, named: Named) -> float:
    """Return how much results differ from the mirrored ones, after an inversion of all coordinates."""
    return _linear_error(subject, named, -np.eye(3), np.zeros(3))


def _linear_error(subject: Subject, named: Named, matrix: npt.NDArray, shift: npt.NDArray) -> float:
    """Return how much results fail to follow a linear map of all coordinates; scalars must stay."""
    from ase import Atoms

    errors = []
    for atoms in named.values():
        other = Atoms(atoms.numbers, atoms.positions @ matrix + shift, cell=atoms.cell.array @ matrix, pbc=atoms.pbc)
        expected = {}
        for name, value in _defined(subject.run(atoms), atoms).items():
            axes = subject.metadata.outputs[name]["shape"].count(3)
            turned = value @ matrix if axes else value
            expected[name] = matrix.T @ turned if axes == 2 else turned
        errors.append(_largest(subject, other, expected))
    return float(np.max(errors))


def permutation_error(subject: Subject, named: Named) -> float:
    """Return how much results differ from the renumbered ones, after a permutation of the atoms."""
    errors = []
    for atoms in named.values():
        order = np.random.default_rng(0).permutation(len(atoms))
        expected = {
            name: value[order] if subject.metadata.outputs[name]["per"] == "atom" else value
            for name, value in _defined(subject.run(atoms), atoms).items()
        }
        errors.append(_largest(subject, atoms[order], expected))
    return float(np.max(errors))


def extensivity_error(subject: Subject, named: Named) -> float:
    """Return by how much two copies of a molecule, far apart, differ from twice the one, in eV/atom."""
    errors = []
    for atoms in named.values():
        if atoms.pbc.any():
            continue
        other = atoms.copy()
        other.positions += 1000.0
        one, two = (subject.run(a)[keys.ENERGY][0] for a in (atoms, atoms + other))
        errors.append(abs(2 * one - two) / len(atoms))
    return float(np.max(errors))


def periodicity_error(subject: Subject, named: Named) -> float:
    """Return how much a repeated crystal differs from the one cell, for every mix of periodic and open directions.

    Cell vectors along open directions are changed too, which must change nothing, and atoms are moved by periodic ones.
    """
    cell = next(atoms for atoms in named.values() if atoms.pbc.all() and len(atoms) > 1)
    rng = np.random.default_rng(0)
    errors = []
    for pbc in itertools.product((False, True), repeat=3):
        atoms = cell.copy()
        atoms.pbc = pbc
        other = atoms.copy()
        images = rng.integers(-2, 3, (len(atoms), 3)) * np.array(pbc)
        other.positions += images @ atoms.cell.array
        other.set_cell(np.where(np.array(pbc)[:, None], atoms.cell.array, 1.7 * atoms.cell.array + 0.3))
        repeats = tuple(2 if periodic else 1 for periodic in pbc)
        repeated = other * repeats
        copies = int(np.prod(repeats))
        one = {name: value for name, value in _defined(subject.run(atoms), atoms).items() if name in MECHANICAL}
        expected = {
            name: np.tile(value, (copies,) + (1,) * (value.ndim - 1))
            if subject.metadata.outputs[name]["per"] == "atom"
            else value * (copies if name == keys.ENERGY else 1)
            for name, value in one.items()
        }
        errors.append(_largest(subject, repeated, expected))
    return float(np.max(errors))


def species_error(subject: Subject, named: Named) -> float:
    """Return how many elements are not as stated: without a finite result alone or in a pair, or not refused."""
    from ase import Atoms

    metadata = subject.metadata
    stated = metadata.hyperparameters.get("representation", {}).get("species", metadata.species)
    wrong = set(stated) ^ set(metadata.species)
    for a in metadata.species:
        alone_and_paired = [Atoms([a]), *(Atoms([a, b], [[0, 0, 0], [1.5, 0, 0]]) for b in metadata.species)]
        try:
            results = subject.run(*alone_and_paired)
            finite = all(np.isfinite(value).all() for value in results.values())
        except ZooError:
            finite = False
        if not finite:
            wrong.add(a)
    for number in set(range(1, MAX_ATOMIC_NUMBER + 1)) - set(metadata.species):
        try:
            check_structure(Atoms([number]), metadata)
        except StructureError:
            continue
        wrong.add(number)
    return float(len(wrong))


def units_error(subject: Subject, named: Named) -> float:
    """Return the relative error of the stated units: forces and stress as energies by lengths, and round trips."""
    metadata = subject.metadata
    energy, length = metadata.outputs[keys.ENERGY]["unit"], metadata.length_unit
    errors = []
    for name, power in ((keys.FORCES, ""), (keys.STRESS, "^3")):
        errors.append(convert(1.0, f"{energy}/{length}{power}", metadata.outputs[name]["unit"]) - 1.0)
    results = subject.run(next(iter(named.values())))
    for name, others in ((keys.ENERGY, ("kcal/mol", "hartree", "kJ/mol")), (keys.FORCES, ("hartree/bohr",))):
        stated, value = metadata.outputs[name]["unit"], results[name]
        for other in others:
            back = convert(convert(value, stated, other), other, stated)
            errors.append(np.abs(back - value).max() / max(1.0, np.abs(value).max()))
    return float(np.max(np.abs(errors)))


def _defined(results: Results, atoms: Atoms) -> Results:
    """Return the results that have a meaning: no dipole of a crystal, no stress without three periodic directions."""
    undefined = () if atoms.pbc.all() else (keys.STRESS,)
    kept = MECHANICAL if atoms.pbc.any() else tuple(results)
    return {name: value for name, value in results.items() if name in kept and name not in undefined}


def _largest(subject: Subject, atoms: Atoms, expected: Results) -> float:
    """Return the largest deviation of any output from what is expected."""
    found = deviations(subject.metadata, subject.graph(atoms), subject.run(atoms), expected)
    return float(np.max(list(found.values()), initial=0.0))  # nothing is defined for a dipole of a crystal
