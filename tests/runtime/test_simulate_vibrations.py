from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule
from ase.constraints import FixAtoms
from ase.io import read, write

from zoo_registry.errors import StructureError
from zoo_runtime import Model
from zoo_runtime.simulate import vibrations
from zoo_runtime.simulate.normal_modes import animate
from zoo_runtime.simulate.rigid import rigid_motions, without_rigid_motion

SPRING = 30.0  # eV/Å²
JOULES = 1.602176634e-19


def wavenumber(mass: float) -> float:
    """sqrt(k/µ)/(2πc) in cm⁻¹, of a mass in u, in SI units."""
    return np.sqrt(SPRING * JOULES * 1e20 / (mass * 1.66053906660e-27)) / (2 * np.pi * 299792458.0) / 100


def test_a_diatomic_has_the_frequency_of_its_spring(spring: Callable[..., Model]) -> None:
    atoms = molecule("HF")
    found = vibrations(spring(), atoms)
    m1, m2 = atoms.get_masses()
    expected = wavenumber(m1 * m2 / (m1 + m2))
    assert expected == pytest.approx(2921, rel=0.01)  # so that the formula itself is of the right size
    assert found.frequencies == pytest.approx([expected], rel=1e-4)
    assert found.zero_point_energy == pytest.approx(0.5 * found.frequencies[0] * units.invcm, rel=1e-6)
    assert found.largest_force < 1e-3
    assert (found.modes[0] * found.modes[0] * atoms.get_masses()[:, None]).sum() == pytest.approx(1)
    assert np.abs(atoms.get_masses() @ found.modes[0]).max() < 1e-6


@pytest.mark.parametrize(
    ("atoms", "count", "modes"),
    [
        (molecule("H2O"), 6, 3),
        (molecule("CO2"), 5, 4),
        (molecule("C6H6"), 6, 30),
        (molecule("H"), 3, 0),
        (bulk("C"), 3, 3),
    ],
    ids=str,
)
def test_the_motions_of_the_whole_are_counted(atoms: object, count: int, modes: int) -> None:
    basis = rigid_motions(atoms)
    assert basis.shape == (3 * len(atoms), count)
    np.testing.assert_allclose(basis.T @ basis, np.eye(count), atol=1e-12)
    assert 3 * len(atoms) - count == modes


def test_momenta_without_rigid_motion_have_no_momentum_and_no_angular_momentum() -> None:
    atoms = molecule("CH3CH2OH")
    atoms.rotate(33, (1, 2, 3))
    momenta = np.random.default_rng(0).standard_normal((len(atoms), 3))
    atoms.set_momenta(without_rigid_motion(atoms, momenta))
    assert np.abs(atoms.get_momenta().sum(axis=0)).max() < 1e-12
    assert np.abs(atoms.get_angular_momentum()).max() < 1e-12
    assert np.abs(atoms.get_momenta()).max() > 0.1


def test_frequencies_do_not_depend_on_orientation_and_place(spring: Callable[..., Model]) -> None:
    atoms = molecule("H2O")
    found = vibrations(spring(), atoms)
    atoms.rotate(50, (3, 1, 2))
    atoms.translate((5, -7, 11))
    moved = vibrations(spring(), atoms)
    assert len(found.frequencies) == 3
    assert moved.frequencies == pytest.approx(found.frequencies, rel=1e-3)
    assert found.frequencies.min() > 100


def test_thermochemistry_is_the_ideal_gas_of_the_textbook(spring: Callable[..., Model]) -> None:
    found = vibrations(spring(), molecule("HF"), temperature=298.15, pressure=101325.0)
    gas = found.thermochemistry
    kT = units.kB * 298.15
    # Translation 3/2, rotation of a rod 1, pressure times volume 1; vibration is frozen.
    assert gas.enthalpy == pytest.approx(found.energy + found.zero_point_energy + 3.5 * kT, abs=1e-5)
    assert gas.gibbs_energy == pytest.approx(gas.enthalpy - 298.15 * gas.entropy, abs=1e-9)
    twofold = vibrations(spring(), molecule("HF"), symmetry_number=2).thermochemistry
    assert gas.entropy - twofold.entropy == pytest.approx(units.kB * np.log(2), rel=1e-6)


@pytest.mark.parametrize(
    ("dataset", "target", "held"), [("qm9", "U0", True), ("qm9", "G", True), ("md17", "U0", False)]
)
def test_an_energy_with_zero_point_energy_gets_no_thermochemistry(
    spring: Callable[..., Model], dataset: str, target: str, held: bool
) -> None:
    training = {"recipe": {"data": {"dataset": dataset, "targets": {"energy": target, "forces": "F"}}}}
    found = vibrations(spring(training=training), molecule("HF"))
    assert (found.thermochemistry is None) == held
    text = f"the energy of pair-test is {target}, which holds the zero-point energy"
    assert any(text in warning and "no thermochemistry" in warning for warning in found.warnings) == held


def test_a_point_that_is_no_minimum_is_said_to_be_none(backend: object, make_model: Callable[..., Model]) -> None:
    # The pair potential of the fixture only repels; two atoms at the centre of an inflexion have a negative curvature.
    atoms = molecule("H2")
    atoms.set_distance(0, 1, 1.0)
    found = vibrations(make_model(), atoms, relaxed=True)
    assert found.frequencies[0] < 0
    assert found.thermochemistry is None
    assert any("imaginary" in warning for warning in found.warnings)
    assert any("no stationary point" in warning for warning in found.warnings)


def test_only_free_atoms_vibrate(spring: Callable[..., Model]) -> None:
    atoms = molecule("HF")
    atoms.set_distance(0, 1, 1.1, fix=0)
    atoms.set_constraint(FixAtoms([0]))
    found = vibrations(spring(), atoms)
    assert found.frequencies[-1] == pytest.approx(wavenumber(atoms.get_masses()[1]), rel=1e-4)
    assert len(found.frequencies) == 3
    assert np.abs(found.modes[:, 0]).max() == 0
    assert found.thermochemistry is None
    atoms.set_constraint(FixAtoms([0, 1]))
    with pytest.raises(StructureError, match="free to move"):
        vibrations(spring(), atoms, relaxed=True)


def test_every_mode_is_one_period_of_an_animation(spring: Callable[..., Model]) -> None:
    found = vibrations(spring(), molecule("H2O"))
    images = animate(found, frames=8, amplitude=0.2)
    assert [image.info["mode"] for image in images] == [1] * 8 + [2] * 8 + [3] * 8
    shifts = np.array([np.linalg.norm(image.positions - found.atoms.positions, axis=1).max() for image in images])
    assert shifts[[0, 8, 16]] == pytest.approx([0] * 3)
    assert shifts.reshape(3, 8).max(axis=1) == pytest.approx([0.2] * 3)


def test_the_command_tells_frequencies_with_units(zoo: Callable, pair_hub: object) -> None:
    write("h2.xyz", [molecule("CH4"), molecule("H2")])
    words = ["vibrations", "model=pair-test", "h2.xyz", "relaxed=true"]
    code, out, err = zoo(*words)
    assert code == 0
    assert "i cm⁻¹" in out
    assert "zero-point energy" in out
    assert "last of 2 structures" in err
    assert "imaginary" in err
    code, out, _ = zoo(*words, "--json", "output=modes.xyz")
    told = json.loads(out)
    assert code == 0
    assert (told["formula"], told["frequencies"]["unit"]) == ("H2", "cm⁻¹")
    assert len(told["frequencies"]["value"]) == 1
    assert len(read("modes.xyz", ":")) == 20
    assert zoo(*words, "output=modes.png")[0] == 2
    assert zoo("vibrations", "model=absent-model", "h2.xyz")[0] == 3
    write("si.xyz", molecule("SiH4"))
    code, out, err = zoo("vibrations", "model=pair-test", "si.xyz")
    assert (code, out) == (1, "")
    assert "does not know Si" in err


def test_the_animation_does_not_overwrite_the_structure(zoo: Callable, pair_hub: object, tmp_path: Path) -> None:
    path = tmp_path / "work" / "water.xyz"
    write(path, molecule("H2O"))
    before = path.read_bytes()
    code, _, err = zoo("vibrations", path, "model=pair-test", "--relaxed", f"output={path}")
    assert (code, path.read_bytes()) == (2, before)
    assert "is the same file as file" in err
