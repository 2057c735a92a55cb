"""Forces are the slopes of LAMMPS' own energies, and trajectories do not depend on how the atoms are spread."""

from __future__ import annotations

import os

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

EVERYTHING = "ZOO_LAMMPS" in os.environ


def crystal(*repeat: int) -> Atoms:
    atoms = bulk("Si", cubic=True).repeat(repeat)
    atoms.numbers[::3] = 29
    atoms.rattle(0.15, seed=2)
    atoms.set_cell(np.tril(atoms.cell.array + np.array([[0, 0, 0], [0.7, 0, 0], [-0.4, 0.9, 0]])), scale_atoms=True)
    atoms.wrap()
    return atoms


def ethanols(n: int) -> Atoms:
    """A row of molecules too far from each other to interact."""
    atoms = Atoms(cell=[12.0 * n, 12.0, 12.0], pbc=True)
    for k in range(n):
        one = molecule("CH3CH2OH")
        one.translate([12.0 * k + 6.0, 6.0, 6.0] - one.get_center_of_mass())
        atoms += one
    return atoms


def numbers(text: str, label: str) -> np.ndarray:
    """Return the numbers that an input printed after a label."""
    return np.array([line.split()[1:] for line in text.splitlines() if line.startswith(label)], dtype=float)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("name", ["si-schnet", "si-wacsf"])
def test_forces_and_pressure_are_numerical_derivatives(lammps, model, record, name, ranks):
    voigt = range(1, 7)
    done = lammps.run(
        lammps.setup(crystal(1, 1, 2), model(name), first="atom_modify map array")
        + f"""
        fix slopes all numdiff 1 1e-4
        compute pressure all pressure NULL virial
        fix pressure all numdiff/virial 1 1e-5
        compute energy all pe
        thermo_style custom step pe {" ".join(f"c_pressure[{k}]" for k in voigt)}
        dump atoms all custom 1 atoms.dump id fx fy fz f_slopes[1] f_slopes[2] f_slopes[3]
        dump_modify atoms sort id format float %.17g
        run 0
        print "PRESSURE {" ".join(f"$(c_pressure[{k}]:%.17g)" for k in voigt)}"
        print "NUMERICAL {" ".join(f"$(f_pressure[{k}]:%.17g)" for k in voigt)}"
        """,
        ranks,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    rows = np.loadtxt(lammps.folder / "atoms.dump", skiprows=9)
    largest = np.abs(rows[:, 1:4]).max()
    assert largest > 0.1
    record("forces", np.abs(rows[:, 1:4] - rows[:, 4:7]).max() / largest, 1e-5, "of the largest force")
    pressure = numbers(done.stdout, "PRESSURE")[0]
    numerical = numbers(done.stdout, "NUMERICAL")[0, [0, 1, 2, 5, 4, 3]]  # its order is xx, yy, zz, yz, xz, xy
    record("pressure", np.abs(pressure - numerical).max() / np.abs(pressure).max(), 1e-5, "of the largest component")


def trajectory(lammps, model, ranks: int, lines: str, steps: int, **setup: str) -> tuple[np.ndarray, np.ndarray]:
    """Run and return the final positions and velocities, and how many atoms changed rank since the start."""
    done = lammps.run(
        lammps.setup(crystal(3, 2, 2), model("si-schnet"), **setup)
        + f"""
        comm_modify cutoff 7.0
        velocity all create 6000.0 7 mom yes dist gaussian loop geom
        {lines}
        neighbor 0.7 bin
        dump atoms all custom {steps} atoms.dump id proc xu yu zu vx vy vz
        dump_modify atoms sort id format float %.17g
        run {steps}
        """,
        ranks,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert "Neighbor list builds = 0" not in done.stdout
    first, last = (np.loadtxt(block.splitlines()[9:]) for block in frames(lammps))
    return last[:, 2:], (first[:, 1] != last[:, 1]).sum()


def frames(lammps) -> list[str]:
    text = (lammps.folder / "atoms.dump").read_text()
    return ["ITEM: TIMESTEP" + block for block in text.split("ITEM: TIMESTEP")[1:]]


ENSEMBLES = {
    "constant energy": "fix move all nve",
    "constant pressure, tilting": "fix move all npt temp 6000 6000 0.05 tri 0 0 0.3",
    "tiled communication": "comm_style tiled\nfix even all balance 20 1.0 rcb\nfix move all nve",
}


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_trajectories_are_those_of_one_rank_while_atoms_migrate(lammps, model, record, ensemble):
    one, _ = trajectory(lammps, model, 1, ENSEMBLES[ensemble], 60)
    for ranks in (2, 4) if EVERYTHING else (2,):
        several, moved = trajectory(lammps, model, ranks, ENSEMBLES[ensemble], 60)
        assert moved > 0
        record(f"{ranks} ranks", np.abs(several - one).max(), 1e-6, "Å or Å/ps")


def test_hybrid_overlay_adds_another_style(lammps, model, record):
    atoms, path = crystal(2, 2, 1), model("si-schnet")
    repulsion = "pair_coeff * * zbl 14 14\npair_coeff 1 1 zbl 29 29"
    alone = lammps.compute(atoms, path)
    both = lammps.compute(atoms, path, 2, style="hybrid/overlay zoo dtype float64 zbl 3.0 6.0", coeff=repulsion)
    style = f"pair_style zbl 3.0 6.0\n{repulsion.replace(' zbl', '')}"
    other = lammps.compute(atoms, path, coeff=style)
    record("energy", abs(both.energy - alone.energy - other.energy) / len(atoms), 1e-9, "eV/atom")
    record("forces", np.abs(both.forces - alone.forces - other.forces).max(), 1e-9, "eV/Å")
    record("stress", np.abs(both.stress - alone.stress - other.stress).max(), 1e-9, "eV/Å³")
    assert np.abs(other.forces).max() > 0.1


def test_units_real_are_converted(lammps, model, record):
    atoms, path = ethanols(2), model("schnet-rmd17-ethanol")
    metal, real = (lammps.compute(atoms, path, 2, unit=unit) for unit in ("metal", "real"))
    record("energy", abs(real.energy - metal.energy) / len(atoms), 1e-6, "eV/atom")
    record("forces", np.abs(real.forces - metal.forces).max(), 1e-9, "eV/Å")
    difference = np.abs(real.stress - metal.stress).max() / np.abs(metal.stress).max()
    record("stress", difference, 1e-5, "of the largest component")


def test_single_precision_is_close(lammps, model, record):
    atoms, path = crystal(3, 3, 3), model("si-schnet")
    double, single = (lammps.compute(atoms, path, 2, style=style) for style in ("zoo dtype float64", "zoo"))
    record("energy", abs(single.energy - double.energy) / len(atoms), 1e-6, "eV/atom")
    record("forces", np.abs(single.forces - double.forces).max(), 1e-5, "eV/Å")
    assert np.abs(single.forces - double.forces).max() > 0
    record("atomic virials", np.abs(single.virials - double.virials).max(), 1e-4, "eV")


@pytest.mark.skipif(not EVERYTHING, reason="takes minutes; runtime/lammps/check.py runs it")
def test_energy_is_conserved_for_10000_steps_by_one_rank_and_two(lammps, model, record):
    """Two molecules of ethanol at 300 K move together along the row, through the domains of all ranks."""
    drifts, errors, atoms = {}, {}, ethanols(2)
    for ranks in (1, 2):
        done = lammps.run(
            lammps.setup(atoms, model("schnet-rmd17-ethanol"), style="zoo")
            + """
            minimize 0 1e-3 500 500
            reset_timestep 0
            velocity all create 600 7 mom yes rot yes dist gaussian loop geom
            velocity all set 10.0 0 0 sum yes
            fix move all nve
            timestep 0.0005
            thermo 20
            thermo_style custom step etotal temp
            thermo_modify format float %.12g
            dump atoms all custom 100 atoms.dump id proc xu yu zu
            dump_modify atoms sort id
            run 10000
            """,
            ranks,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
        rows = [line.split() for line in done.stdout.rpartition("   Step")[2].splitlines()[1:502]]
        step, energy, _ = np.array(rows, dtype=float).T
        energy, time = energy / len(atoms), (step - step[0]) * 5e-7  # eV/atom, ns
        assert step[-1] - step[0] == 10_000
        owners = np.array([np.loadtxt(block.splitlines()[9:])[:, 1] for block in frames(lammps)])
        assert ranks == 1 or (np.diff(owners, axis=0) != 0).any(axis=0).all()  # every atom has changed its rank
        (drifts[ranks], _), covariance = np.polyfit(time, energy, 1, cov=True)
        errors[ranks] = covariance[0, 0] ** 0.5
        record(f"drift, {ranks} ranks", abs(drifts[ranks]), 1e-2, "eV/atom/ns")
        deviation = np.abs(energy - energy.mean()).max()
        record(f"largest deviation of the total energy, {ranks} ranks", deviation, 1e-3, "eV/atom")
    error = np.hypot(errors[1], errors[2])
    record(
        "drift of two ranks less that of one", abs(drifts[2] - drifts[1]) / error, 3.0, "standard errors of the fits"
    )
