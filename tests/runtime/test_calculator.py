from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError

from zoo_registry.errors import StructureError
from zoo_registry.metadata import Metadata
from zoo_registry.release import Release
from zoo_runtime import Model


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
