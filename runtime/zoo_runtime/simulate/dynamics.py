"""Molecular dynamics that can be killed at any time and goes on with the same call."""

from __future__ import annotations

import math
import re
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo_registry.errors import ModelError, StructureError, UsageError, close_matches
from zoo_registry.units import GPA
from zoo_runtime import keys
from zoo_runtime.checks import check_structure
from zoo_runtime.model import Model
from zoo_runtime.prediction import PredictionWarning
from zoo_runtime.simulate.checks import need_forces, need_positive
from zoo_runtime.simulate.log import Averages, Row, open_log, read_log
from zoo_runtime.simulate.trajectory import INFO, beginning, count_degrees, last_frame, write_first, writing

if TYPE_CHECKING:
    from ase import Atoms

ENSEMBLES = ("nve", "langevin", "npt")
BAROSTAT_TIME = 1000.0  # fs


@dataclass(frozen=True)
class Progress:
    """How a run stands.

    Attributes:
        step: The last step that is on disk.
        steps: Where the run ends.
        temperature: K, now.
        drift: meV/atom/ps of the total energy, as `Averages`; None where an ensemble does not conserve it.
        speed: ns/day, of this call.
    """

    step: int
    steps: int
    temperature: float
    drift: float | None
    speed: float


@dataclass(frozen=True)
class Dynamics:
    """A finished run.

    Attributes:
        atoms: The last structure, with velocities.
        trajectory: The file of all frames.
        log: The file of energies and temperatures.
        first_step: 0, or where this call went on from.
        steps: All steps from the beginning.
        duration: ps, of all steps.
        temperature: K, the mean over the log.
        temperature_spread: K, the standard deviation over the log.
        energy: eV, potential and kinetic, at the end.
        drift: meV/atom/ps, slope of a straight line through the total energies; None but for NVE.
        speed: ns/day, of this call.
        warnings: What the model warned of, the first of each kind.
    """

    atoms: Atoms
    trajectory: Path
    log: Path
    first_step: int
    steps: int
    duration: float
    temperature: float
    temperature_spread: float
    energy: float
    drift: float | None
    speed: float
    warnings: list[PredictionWarning]


def molecular_dynamics(
    model: Model,
    atoms: Atoms,
    trajectory: str | Path,
    log: str | Path | None = None,
    ensemble: str = "nve",
    temperature: float | None = None,
    timestep: float = 0.5,
    steps: int = 2000,
    interval: int = 4,
    friction: float = 10.0,
    pressure: float = 1e-4,
    seed: int = 0,
    report: Callable[[Progress], None] | None = None,
) -> Dynamics:
    """Run molecular dynamics, or go on where the same call was stopped.

    Velocities are those of ``atoms`` where it has any; else they are drawn from a Maxwell-Boltzmann distribution. In
    NVE the motion of the system as a whole is taken out, does not count in the temperature, and a temperature that is
    given draws new velocities. Random numbers depend on seed and step only, and no neighbour list is kept beyond
    a frame, so a run that was stopped and went on with as many threads is bit for bit the run that was not.

    Args:
        model: A loaded model with forces.
        atoms: Where to start; not changed.
        trajectory: An ASE ``.traj`` file. One that is there is continued, if it began at ``atoms`` (cell, masses,
            constraints and velocities included) with these options and the same weights.
        log: A CSV file; None puts it beside the trajectory. One of another run is refused.
        ensemble: ``nve`` (velocity Verlet), ``langevin`` (BAOAB; B. Leimkuhler, C. Matthews, J. Chem. Phys. 138, 174102
            (2013), doi:10.1063/1.4802990), or ``npt`` (the same with a barostat that scales the cell; D. Quigley,
            M. I. J. Probert, J. Chem. Phys. 120, 11432 (2004), doi:10.1063/1.1755657).
        temperature: K; None means 300, or what the velocities of ``atoms`` say in NVE.
        timestep: fs.
        steps: In all, a multiple of ``interval``.
        interval: Steps between frames, and lines of the log; what a run that is killed loses at most.
        friction: 1/ps, of the thermostat.
        pressure: GPa, of the barostat.
        seed: Of velocities and thermostat.
        report: Called after each interval.

    Raises:
        StructureError: A structure that the model refuses, at the start or on the way; what is on disk is good.
        UsageError: An option that is not allowed, or a trajectory of another run.
        ModelError: The model has no forces, or no stress where it is needed.
    """
    from ase.io.trajectory import TrajectoryWriter

    options = {
        "model": model.metadata.label,
        "weights": model.metadata.provenance.get("weights_sha256"),
        "dtype": found[0] if (found := re.search(r"float(32|64)", model.backend.description)) else None,
        "ensemble": ensemble,
        "temperature": temperature,
        "timestep": timestep,
        "interval": interval,
        "friction": friction,
        "pressure": pressure,
        "seed": seed,
    }
    _check(model, atoms, options, steps)
    path = Path(trajectory)
    log = path.with_suffix(".csv") if log is None else Path(log)
    kelvin = 300.0 if temperature is None else temperature
    with writing(path, log):
        current = last_frame(path, atoms, options)
        new = current is None
        if current is None:
            if next(read_log(log, before=sys.maxsize), None):
                raise UsageError(f"log={log} belongs to another run; delete it, or choose another log=.")
            check_structure(atoms, model.metadata)  # before anything is made of coordinates that may be no numbers
            current = beginning(atoms, ensemble, kelvin, redraw=temperature is not None, seed=seed)
            current.info[INFO] = {**options, "step": 0}
        first = current.info[INFO]["step"]
        if first > steps:
            raise UsageError(f"trajectory={path} has {first} steps already, more than steps={steps}.")
        current.calc = model.calculator()
        current.calc.keep_list = False
        degrees = count_degrees(current, ensemble)
        told: dict[str, PredictionWarning] = {}
        row = _row(current, degrees, options, told)
        if new:
            write_first(path, current)
        averages = Averages(len(current))
        for old in read_log(log, before=first):
            averages.add(old)
        run = _integrator(current, options, kelvin)
        began = time.perf_counter()
        speed = 0.0
        with open_log(log, before=first) as write, TrajectoryWriter(path, "a") as frames:
            write(row)
            averages.add(row)
            for step in range(first + interval, steps + 1, interval):
                run.rng = np.random.default_rng([seed, step])
                _advance(run, interval, step, path)
                row = _row(current, degrees, options, told, step)
                current.info[INFO] = {**options, "step": step, "barostat": _barostat(run)}
                frames.write(current)
                write(row)
                averages.add(row)
                speed = (step - first) * timestep * 1e-6 / (time.perf_counter() - began) * 86400
                if report:
                    drift = averages.drift() if ensemble == "nve" else None
                    report(Progress(step, steps, row.temperature, drift, speed))
    current.calc = None
    mean, spread = averages.temperature()
    return Dynamics(
        atoms=current,
        trajectory=path,
        log=log,
        first_step=first,
        steps=steps,
        duration=steps * timestep * 1e-3,
        temperature=mean,
        temperature_spread=spread,
        energy=row.potential + row.kinetic,
        drift=averages.drift() if ensemble == "nve" else None,
        speed=speed,
        warnings=list(told.values()),
    )


def _check(model: Model, atoms: Atoms, options: dict[str, Any], steps: int) -> None:
    from ase.constraints import FixAtoms, FixCartesian

    ensemble, temperature = options["ensemble"], options["temperature"]
    if ensemble not in ENSEMBLES:
        raise UsageError(f"ensemble={ensemble!r} is unknown{close_matches(ensemble, ENSEMBLES)}")
    need_positive(timestep=options["timestep"], interval=options["interval"], friction=options["friction"])
    if temperature is not None and not (math.isfinite(temperature) and temperature >= 0):
        raise UsageError(f"temperature={temperature} must be a finite number of kelvin, not below 0.")
    if steps < 0 or steps % options["interval"]:
        raise UsageError(f"steps={steps} must be a multiple of interval={options['interval']}, or 0.")
    if options["seed"] < 0 or not math.isfinite(options["pressure"]):
        raise UsageError("seed must not be below 0, and pressure must be a finite number.")
    need_forces(model)
    if ensemble == "npt" and keys.STRESS not in model.metadata.outputs:
        raise ModelError(f"{model.metadata.name} has no stress, which ensemble=npt needs.")
    if ensemble == "npt" and not atoms.pbc.all():
        raise StructureError("ensemble=npt needs a structure that is periodic in three directions.")
    allowed = {"npt": (), "langevin": (FixAtoms, FixCartesian)}.get(ensemble, (object,))
    for constraint in atoms.constraints:
        if not isinstance(constraint, allowed):
            raise UsageError(
                f"ensemble={ensemble} cannot keep the constraint {type(constraint).__name__}; take it away, or use "
                f"ensemble={'nve' if allowed else 'langevin or nve'}."
            )


def _integrator(atoms: Atoms, options: dict[str, Any], kelvin: float) -> Any:
    from ase.md.langevinbaoab import LangevinBAOAB
    from ase.md.verlet import VelocityVerlet
    from ase.units import fs

    timestep = options["timestep"] * fs
    if options["ensemble"] == "nve":
        return VelocityVerlet(atoms, timestep)
    settings = {
        "temperature_K": kelvin,
        "T_tau": 1000 / options["friction"] * fs,
        "rng": np.random.default_rng(options["seed"]),
    }
    if options["ensemble"] == "langevin":
        return LangevinBAOAB(atoms, timestep, **settings)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using heuristic P_mass")
        run = LangevinBAOAB(
            atoms,
            timestep,
            externalstress=-options["pressure"] * GPA,
            hydrostatic=True,
            P_tau=BAROSTAT_TIME * fs,
            **settings,
        )
    for name, value in atoms.info[INFO].get("barostat", {}).items():
        setattr(run, name, value)
    return run


def _barostat(run: Any) -> dict[str, float]:
    """State of the cell's motion, which positions and momenta do not give; empty without a barostat."""
    return {name: float(getattr(run, name)) for name in ("p_eps", "force_eps") if hasattr(run, name)}


def _advance(run: Any, interval: int, step: int, path: Path) -> None:
    try:
        for left in reversed(range(interval)):
            run.atoms.calc.keep_list = left > 0  # a frame must say all that follows from it
            run.step()
    except StructureError as error:
        raise StructureError(
            f"stopped between steps {step - interval} and {step}: {error} {path} is good up to there; try a shorter "
            "timestep=, a lower temperature= or a relaxed start."
        ) from error


def _row(
    atoms: Atoms, degrees: int, options: dict[str, Any], told: dict[str, PredictionWarning], step: int | None = None
) -> Row:
    """Figures of now; keeps the first warning of each kind."""
    from ase.units import kB

    kinetic, potential = atoms.get_kinetic_energy(), atoms.get_potential_energy()
    for warning in atoms.calc.warnings:
        told.setdefault(re.sub(r"[\d.]+", "", warning), warning)
    step = atoms.info[INFO]["step"] if step is None else step
    pressure = volume = None
    if options["ensemble"] == "npt":
        pressure = -float(np.trace(atoms.get_stress(voigt=False, include_ideal_gas=True))) / 3 / GPA
        volume = float(atoms.get_volume())
    return Row(
        step=step,
        time=step * options["timestep"] * 1e-3,
        potential=float(potential),
        kinetic=float(kinetic),
        temperature=float(2 * kinetic / (max(degrees, 1) * kB)),
        pressure=pressure,
        volume=volume,
    )
