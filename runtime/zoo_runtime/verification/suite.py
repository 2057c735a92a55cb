"""All checks with their tolerances, and the order in which they are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from zoo_registry.errors import ReleaseInvalid, ZooError
from zoo_registry.release import Release
from zoo_runtime import keys
from zoo_runtime.backends import DTYPES, BackendUnavailable, choose
from zoo_runtime.verification import running
from zoo_runtime.verification.continuity import cutoff_jump, dimer_jump, locality_error, resolution
from zoo_runtime.verification.derivatives import drift, forces_error, stress_error
from zoo_runtime.verification.golden import golden_deviations, read_golden
from zoo_runtime.verification.report import Check, Report
from zoo_runtime.verification.shapes import structures
from zoo_runtime.verification.subject import Results, Subject, deviations, unit, worst
from zoo_runtime.verification.symmetry import (
    extensivity_error,
    inversion_error,
    periodicity_error,
    permutation_error,
    rotation_error,
    species_error,
    units_error,
)

if TYPE_CHECKING:
    from ase import Atoms

ENERGY_TOLERANCE = 1e-5
"""Largest |dE| from the float64 network that is accepted of a float32 backend, in eV/atom; usual is 1e-7."""
FORCES_TOLERANCE = 1e-4
"""Largest |dF|, in eV/Å; usual is 1e-6. The same number holds for other outputs that have none of their own."""
EXTENT_TOLERANCE = 1e-2
"""Largest deviation of an electronic spatial extent, in Å²: hundreds of it for a molecule, charges times r²."""
FLOAT64_TOLERANCE = 5e-6
"""The same between float64 backends, any output: libzoo's tables of filters are good to about 1e-7 of the largest."""
MIXED = "eV/atom, eV/Å"


class Promise(NamedTuple):
    """One check.

    Attributes:
        name: For the report; OpenKIM's where it has the check.
        measure: Returns the largest deviation found on some structures.
        unit: Its unit.
        float64: The largest that is accepted of a float64 network.
        float32: The largest that is accepted of a float32 network.
        energy: Whether it is about an energy and its derivatives.
    """

    name: str
    measure: Callable[[Subject, dict[str, Atoms]], float]
    unit: str
    float64: float
    float32: float
    energy: bool = True


PHYSICS = [
    Promise("species supported as stated", species_error, "elements", 0.0, 0.0, energy=False),
    Promise("periodicity support", periodicity_error, MIXED, 1e-8, 2e-4),
    Promise("permutation symmetry", permutation_error, MIXED, 1e-8, 2e-4, energy=False),
    Promise("forces vs numerical derivative", forces_error, "relative", 1e-5, 5e-3),
    Promise("dimer continuity C1", dimer_jump, "eV, eV/Å", 1e-4, 1e-3),
    Promise("objectivity", rotation_error, MIXED, 1e-8, 2e-4, energy=False),
    Promise("inversion symmetry", inversion_error, MIXED, 1e-8, 2e-4, energy=False),
    Promise("unit conversion", units_error, "relative", 1e-12, 1e-12),
    Promise("stress vs numerical strain", stress_error, "relative", 1e-5, 5e-2),
    Promise("extensivity", extensivity_error, "eV/atom", 1e-8, 2e-6),
    Promise("locality", locality_error, "eV", 1e-9, 2e-6),
    Promise("smoothness at the cutoff", cutoff_jump, "eV, eV/Å", 1e-4, 1e-3),
    Promise("NVE drift", drift, "of energy exchanged", 1e-2, 1e-2),
]
RUNNING = [
    Promise("memory leak", running.leak, "bytes/call", 1024.0, 1024.0, energy=False),
    Promise("thread safety", running.thread_error, MIXED, 1e-9, 2e-5, energy=False),
    Promise("batch against single", running.batch_error, MIXED, 1e-9, 2e-5, energy=False),
    Promise("deterministic repeat", running.repeat_error, MIXED, 0.0, 0.0, energy=False),
    Promise("energy resolution (references in float64)", resolution, "eV/atom", 1e-9, 2e-6),
]


def physics(report: Report, subject: Subject, named: dict[str, Atoms]) -> None:
    """Check derivatives, symmetries and continuity.

    Args:
        report: Gets the checks.
        subject: What is verified, best in float64.
        named: The structures.
    """
    _measure_all(PHYSICS, report, subject, named)


def behaviour(report: Report, subject: Subject, named: dict[str, Atoms]) -> None:
    """Check that a backend repeats itself, batches and threads without change, and gives memory back.

    Args:
        report: Gets the checks.
        subject: What is verified.
        named: The structures.
    """
    _measure_all(RUNNING, report, subject, named)


def _measure_all(promises: list[Promise], report: Report, subject: Subject, named: dict[str, Atoms]) -> None:
    for promise in promises:
        if promise.energy and not subject.has_energy:
            report.left_out[promise.name] = "the model has no energy"
        elif promise.measure is running.leak and not running.can_measure_memory():
            report.left_out[promise.name] = "this system does not tell how much memory a process has"
        else:
            report.checks.append(_measure(promise, subject, named))


def _measure(promise: Promise, subject: Subject, named: dict[str, Atoms]) -> Check:
    tolerance = promise.float32 if subject.single else promise.float64
    try:
        value, note = promise.measure(subject, named), ""
    except ZooError as error:  # a number that is not finite, for example
        value, note = float("nan"), str(error)
    return Check(promise.name, value, tolerance, promise.unit, str(subject), note)


def compare(
    report: Report, subject: Subject, named: dict[str, Atoms], reference: Subject, expected: list[Results]
) -> None:
    """Check that a backend gives the results of another.

    Args:
        report: Gets the checks.
        subject: What is verified.
        named: The structures.
        reference: What it is compared with.
        expected: The reference's results for each of the structures.
    """
    name, both = "backend against backend", f"{subject} = {reference}"
    rough = subject.single or reference.single
    energy, other = (ENERGY_TOLERANCE, FORCES_TOLERANCE) if rough else (FLOAT64_TOLERANCE, FLOAT64_TOLERANCE)
    try:
        found = worst(
            *(
                deviations(subject.metadata, subject.graph(atoms), subject.run(atoms), right)
                for atoms, right in zip(named.values(), expected, strict=True)
            )
        )
    except ZooError as error:
        report.checks.append(Check(name, float("nan"), other, MIXED, both, str(error)))
        return
    for output, value in found.items():
        tolerance = {keys.ENERGY: energy, keys.SPATIAL_EXTENT: EXTENT_TOLERANCE}.get(output, other)
        report.checks.append(Check(f"{name}: {output}", value, tolerance, unit(subject.metadata, output), both))


def golden(report: Report, subject: Subject, structures: list[dict[str, Any]]) -> None:
    """Check that a backend reproduces the golden numbers within what ``zoo.json`` promises.

    Args:
        report: Gets the checks.
        subject: What is verified.
        structures: From `zoo_runtime.verification.golden.read_golden`.
    """
    allowed = subject.metadata.tolerance
    try:
        found = golden_deviations(subject, structures)
    except ZooError as error:
        report.checks.append(Check("golden numbers", float("nan"), FORCES_TOLERANCE, MIXED, str(subject), str(error)))
        return
    for output, value in found.items():
        tolerance = allowed.get(output, allowed.get(keys.FORCES, FORCES_TOLERANCE))
        unit_ = unit(subject.metadata, output)
        report.checks.append(Check(f"golden numbers: {output}", value, tolerance, unit_, str(subject)))


def verify(release: Release, backends: Iterable[str]) -> Report:
    """Make all checks of a release on this machine.

    Derivatives, symmetries and continuity are checked on the first float64 backend that there is, numbers on every
    backend in both precisions, and behaviour in the precision of the release.

    Args:
        release: An open release.
        backends: Names of the backends to look at.

    Raises:
        ReleaseInvalid: No golden numbers, or no backend that can run the release.
    """
    metadata = release.metadata
    report = Report(str(release))
    entries = read_golden(release)
    subjects = []
    for name in backends:
        for dtype in DTYPES:
            try:
                subjects.append(Subject(choose(release, name, "cpu", dtype), metadata, dtype))
            except BackendUnavailable as error:
                report.left_out[f"{name} {dtype}"] = str(error)
    if not subjects:
        raise ReleaseInvalid(f"{release}: no backend here can run it, so its numbers were not checked.")
    named = structures(metadata.species, metadata.cutoff)
    reference = next((subject for subject in subjects if not subject.single), subjects[0])
    physics(report, reference, named)
    expected = [reference.run(atoms) for atoms in named.values()]
    for subject in subjects:
        golden(report, subject, entries)
        if subject is not reference:
            compare(report, subject, named, reference, expected)
        if subject.dtype == metadata.dtype:
            behaviour(report, subject, named)
    return report
