from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.io import read, write

from zoo_registry.errors import ModelError, StructureError, UsageError
from zoo_runtime import Model
from zoo_runtime.simulate import relax

LENGTH = 1.1  # Å, of the spring


def stretched(length: float) -> object:
    atoms = molecule("H2")
    atoms.set_distance(0, 1, length)
    return atoms


@pytest.mark.parametrize("optimizer", ["bfgs", "lbfgs", "fire"])
def test_a_spring_relaxes_to_its_length_and_the_input_stays(spring: Callable[..., Model], optimizer: str) -> None:
    atoms = stretched(1.3)
    told: list[tuple[int, float]] = []
    done = relax(spring(), atoms, fmax=1e-4, optimizer=optimizer, report=lambda *row: told.append(row))
    assert done.converged
    assert done.largest_force < 1e-4
    assert done.atoms.get_distance(0, 1) == pytest.approx(LENGTH, abs=1e-5)
    assert done.energy_change == pytest.approx(-0.5 * 30 * 0.2**2, abs=1e-6)
    assert done.prediction.energy == pytest.approx(0, abs=1e-8)
    assert told[-1] == (done.steps, done.largest_force)
    assert atoms.get_distance(0, 1) == pytest.approx(1.3)


def test_too_few_steps_are_not_called_converged(spring: Callable[..., Model]) -> None:
    done = relax(spring(), stretched(1.4), fmax=1e-6, steps=1)
    assert (done.converged, done.steps) == (False, 1)
    assert done.largest_force > 1e-6


def test_a_cell_relaxes_until_stress_and_forces_are_gone(spring: Callable[..., Model]) -> None:
    chain = bulk("H", "sc", a=1.2)  # springs along three axes, only nearest neighbours within the cutoff
    done = relax(spring(cutoff=1.4), chain, fmax=1e-4, cell=True)
    assert done.converged
    assert done.atoms.cell.lengths() == pytest.approx([LENGTH] * 3, abs=1e-4)
    assert np.abs(done.prediction.stress).max() < 1e-3


def test_what_cannot_be_relaxed_is_refused(spring: Callable[..., Model], make_metadata: Callable) -> None:
    with pytest.raises(UsageError, match="did you mean 'bfgs'"):
        relax(spring(), molecule("H2"), optimizer="bgfs")
    with pytest.raises(UsageError, match="fmax"):
        relax(spring(), molecule("H2"), fmax=-1)
    with pytest.raises(StructureError, match="periodic in three"):
        relax(spring(), molecule("H2"), cell=True)
    only_energy = {"energy": make_metadata().outputs["energy"]}
    with pytest.raises(ModelError, match="energy and forces"):
        relax(spring(outputs=only_energy), molecule("H2"))


def test_the_warnings_of_the_model_are_in_the_result(spring: Callable[..., Model]) -> None:
    assert relax(spring(), stretched(1.15)).warnings == []
    with pytest.warns(UserWarning, match="shorter"):
        (warning,) = relax(spring(domain={"shortest_distance": {"H-H": 1.5}}), stretched(1.15)).warnings
    assert "H-H distance 1.10 Å is shorter" in warning


def test_the_command_writes_all_structures_and_goes_on_after_one_that_fails(zoo: Callable, pair_hub: object) -> None:
    write("in.extxyz", [bulk("C", "sc", a=2.9), molecule("SiH4"), molecule("H2")])
    code, out, err = zoo("relax", "model=pair-test", "in.extxyz", "steps=3", "--json")
    told = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert [t["frame"] for t in told] == [0, 1, 2]
    assert (told[0]["converged"], told[0]["steps"]) == (True, 0)  # by symmetry nothing pulls
    assert told[0]["energy"]["unit"] == "eV"
    assert told[0]["positions"]["unit"] == "Å"
    assert told[1]["error"]["type"] == "StructureError"
    assert not told[2]["converged"]  # this potential only repels
    assert "not converged in 3 steps" in err
    relaxed = read("relaxed.extxyz", ":")
    assert len(relaxed) == 3
    np.testing.assert_allclose(relaxed[2].positions, told[2]["positions"]["value"], atol=1e-7)
    assert "does not know Si" in relaxed[1].info["zoo_error"]
    code, out, _ = zoo("relax", "model=pair-test", "in.extxyz", "steps=3", "output=again.xyz")
    assert code == 1
    assert "max |force| (eV/Å)" in out
    assert Path("again.xyz").exists()


@pytest.mark.parametrize("words", [["output=o.csv"], ["optimizer=bgfs"], ["fmax=0"], ["output=in.extxyz"]])
def test_wrong_options_of_relax_are_one_line_and_exit_code_2(zoo: Callable, pair_hub: object, words: list[str]) -> None:
    write("in.extxyz", molecule("H2"))
    code, out, err = zoo("relax", "model=pair-test", "in.extxyz", *words)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert not Path("relaxed.extxyz").exists()
