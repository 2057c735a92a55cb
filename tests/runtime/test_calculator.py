from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import FiniteDifferenceCalculator
from ase.calculators.test import gradient_test
from ase.io import read, write
from ase.mep import NEB
from ase.optimize import BFGS

from zoo_registry.errors import StructureError
from zoo_registry.metadata import Metadata
from zoo_registry.release import Release
from zoo_runtime import Model, keys
from zoo_runtime.graph import Graph


@pytest.fixture
def make_model(backend: object, make_metadata: Callable[..., Metadata]) -> Callable[..., Model]:
    return lambda **changes: Model(Release(Path("nowhere"), make_metadata(**changes)), backend)


def test_ase_gets_the_numbers_of_the_prediction(make_model: Callable[..., Model]) -> None:
    model = make_model()
    atoms = bulk("C", cubic=True)
    atoms.rattle(0.1, seed=0)
    prediction = model.predict(atoms)
    atoms.calc = model.calculator()
    assert atoms.get_potential_energy() == prediction.energy
    assert atoms.get_potential_energy(force_consistent=True) == prediction.energy
    assert (atoms.get_potential_energies() == prediction.energies).all()
    assert (atoms.get_forces() == prediction.forces).all()
    s = prediction.stress
    assert atoms.get_stress(voigt=False) == pytest.approx(s)
    assert atoms.get_stress() == pytest.approx([s[0, 0], s[1, 1], s[2, 2], s[1, 2], s[0, 2], s[0, 1]])


def test_what_is_missing_is_ases_own_error(make_model: Callable[..., Model], make_metadata: Callable) -> None:
    atoms = molecule("CH4")
    atoms.calc = make_model().calculator()
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()  # no cell
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_dipole_moment()  # not in the model
    energy = {"energy": make_metadata().outputs["energy"]}
    calculator = make_model(outputs=energy).calculator()
    assert calculator.implemented_properties == ["energy", "free_energy"]


def test_nothing_is_computed_twice_and_every_change_counts(make_model: Callable[..., Model], backend: object) -> None:
    atoms = molecule("CH4")
    atoms.calc = make_model().calculator()
    atoms.get_potential_energy()
    atoms.get_forces()
    assert len(backend.batches) == 1
    atoms.positions[0, 0] += 0.01
    atoms.get_forces()
    assert len(backend.batches) == 2
    atoms.info["charge"] = 1
    with pytest.raises(StructureError, match="charge 1"):
        atoms.get_potential_energy()
    atoms.info["charge"] = 0
    assert np.isfinite(atoms.get_potential_energy())


def test_the_first_warning_is_a_python_warning_and_all_are_kept(make_model: Callable[..., Model]) -> None:
    atoms = bulk("C")
    atoms.calc = make_model(periodic=False).calculator()
    with pytest.warns(UserWarning, match="molecules only"):
        atoms.get_potential_energy()
    atoms.rattle(0.01, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        atoms.get_potential_energy()
    assert "molecules only" in atoms.calc.warnings[0]


def test_initial_charges_are_a_charge_and_are_checked_again(make_model: Callable[..., Model], backend: object) -> None:
    atoms = molecule("CH4")
    atoms.calc = make_model().calculator()
    energy = atoms.get_potential_energy()
    atoms.set_initial_charges([-0.4, 0.1, 0.1, 0.1, 0.1])  # partial charges of a neutral molecule
    assert "initial_charges" in atoms.calc.check_state(atoms)
    assert atoms.get_potential_energy() == energy
    assert len(backend.batches) == 2
    atoms.set_initial_charges([1, 0, 0, 0, 0])
    with pytest.raises(StructureError, match=r"charge 1\.0 .*trained for 0 only"):
        atoms.get_potential_energy()
    with pytest.raises(StructureError):
        atoms.get_forces()
    atoms.set_initial_charges(np.zeros(5))
    assert atoms.get_potential_energy() == energy
    cation = make_model(charge=1)
    assert cation.predict(atoms).energy == energy  # zeros state nothing
    atoms.set_initial_charges([1, 0, 0, 0, 0])
    assert cation.predict(atoms).energy == energy


def test_magnetic_moments_that_the_model_does_not_know_are_told(make_model: Callable[..., Model]) -> None:
    atoms = molecule("CH3")  # a doublet
    atoms.calc = make_model().calculator()
    with pytest.warns(UserWarning, match="spin multiplicity of 2, but pair-test was trained for 1 only"):
        atoms.get_potential_energy()
    atoms.set_initial_magnetic_moments([1, -1, 0, 0])
    assert "initial_magmoms" in atoms.calc.check_state(atoms)
    atoms.get_potential_energy()
    assert atoms.calc.warnings == []
    assert make_model(spin_multiplicity=2).predict(molecule("CH3")).warnings == []


def test_forces_and_stress_are_the_derivatives_of_the_energy(make_model: Callable[..., Model]) -> None:
    atoms = bulk("C", cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.calc = make_model().calculator()
    forces, stress = atoms.get_forces(), atoms.get_stress()
    analytical, numerical = gradient_test(atoms, indices=[0, 3])
    assert numerical == pytest.approx(analytical, abs=0.05)  # of its last step, 1e-8 Å
    atoms.calc = FiniteDifferenceCalculator(make_model().calculator(), eps_disp=1e-4, eps_strain=1e-5)
    assert atoms.get_forces() == pytest.approx(forces, abs=1e-5)
    assert atoms.get_stress() == pytest.approx(stress, abs=1e-6)


@pytest.fixture
def committee(backend: object, make_metadata: Callable[..., Metadata]) -> Model:
    """A model that gives the spreads that a committee has."""

    class Committee:
        name = description = "committee"

        def compute(self, graph: Graph) -> dict[str, np.ndarray]:
            n = len(graph.numbers)
            spreads = {keys.ENERGY_SPREAD: np.full(graph.n_systems, 0.25), keys.FORCES_SPREAD: np.arange(n) * 0.1}
            return backend.compute(graph) | spreads

    spreads = {
        keys.ENERGY_SPREAD: {"dtype": "float64", "shape": ["s"], "unit": "eV", "per": "system", "gradient_of": None},
        keys.FORCES_SPREAD: {"dtype": "float64", "shape": ["n"], "unit": "eV/Å", "per": "atom", "gradient_of": None},
    }
    metadata = make_metadata(outputs=make_metadata().outputs | spreads)
    return Model(Release(Path("nowhere"), metadata), Committee())


def test_a_committee_gives_its_spread_to_ase(committee: Model, tmp_path: Path) -> None:
    atoms = molecule("CH4")
    atoms.calc = committee.calculator()
    atoms.get_potential_energy()
    assert atoms.calc.results["energy_spread"] == 0.25
    assert atoms.calc.get_property("forces_spread", atoms) == pytest.approx(np.arange(5) * 0.1)
    for name in ("a.traj", "a.extxyz"):
        write(tmp_path / name, atoms)
        assert read(tmp_path / name).get_potential_energy() == pytest.approx(atoms.get_potential_energy())
    atoms.calc.reset()
    with BFGS(atoms, trajectory=str(tmp_path / "run.traj"), logfile=None) as optimizer:
        optimizer.run(fmax=0.1, steps=2)


def test_one_calculator_serves_all_images_of_a_band(committee: Model) -> None:
    images = [molecule("CH4") for _ in range(3)]
    images[2].rattle(0.05, seed=0)
    band = NEB(images, allow_shared_calculator=True, method="improvedtangent")
    band.interpolate()
    calculator = committee.calculator()
    for image in images:
        image.calc = calculator
    assert np.isfinite(band.get_forces()).all()
