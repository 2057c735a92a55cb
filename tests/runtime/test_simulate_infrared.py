from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.io import read, write

import zoo_runtime
from zoo_registry.errors import ModelError
from zoo_registry.release import Release
from zoo_registry.units import DEBYE
from zoo_runtime import Model
from zoo_runtime.backends import native
from zoo_runtime.graph import Graph
from zoo_runtime.simulate import molecular_dynamics, spectrum, vibrations
from zoo_runtime.simulate.infrared import KM_PER_MOL, with_dipoles

CHARGE = 0.3  # e, of hydrogen


class Charges:
    """A model of nothing but dipoles: fixed charges that sum to zero."""

    name = description = "charges"

    def compute(self, graph: Graph) -> dict[str, np.ndarray]:
        light = graph.numbers == 1
        heavy = np.bincount(graph.system[light], minlength=graph.n_systems)[graph.system]
        dipole = np.zeros((graph.n_systems, 3))
        np.add.at(dipole, graph.system, CHARGE * np.where(light, 1, -heavy)[:, None] * graph.positions)
        return {"dipole": dipole}


@pytest.fixture
def charged(make_metadata: Callable) -> Callable[..., Model]:
    dipole = {"dtype": "float64", "shape": ["s", 3], "unit": "e·Å", "per": "system", "gradient_of": None}
    facts = {"name": "charges-test", "outputs": {"dipole": dipole}}
    return lambda **changes: Model(Release(Path("nowhere"), make_metadata(**facts | changes)), Charges())


@pytest.fixture
def charges(charged: Callable[..., Model]) -> Model:
    return charged()


@pytest.fixture
def dry(spring: Callable[..., Model], make_metadata: Callable) -> Model:
    """Springs without their own dipole."""
    return spring(outputs=make_metadata().outputs)


def test_the_factor_is_that_of_the_tables() -> None:
    # 42.256 km/mol of 1 (D/Å)²/u, the factor that programs of quantum chemistry state.
    assert abs(KM_PER_MOL * DEBYE**2 - 42.256) < 1e-3


def test_the_intensity_of_two_atoms_is_that_of_their_reduced_mass(dry: Model, charges: Model) -> None:
    found = vibrations(dry, molecule("HF"), dipole=charges)
    masses = found.atoms.get_masses()
    reduced = masses.prod() / masses.sum()
    assert found.intensities == pytest.approx([KM_PER_MOL * CHARGE**2 / reduced], rel=1e-6)


def test_intensities_do_not_depend_on_orientation_and_stretches_that_cancel_are_dark(
    dry: Model, charges: Model
) -> None:
    symmetric = molecule("CO2")
    symmetric.numbers = [6, 1, 1]  # H-C-H, so that the hydrogens carry equal charges
    symmetric.set_masses(None)
    found = vibrations(dry, symmetric, dipole=charges)
    stretch = int(np.argmax([abs(mode[1, :] + mode[2, :]).max() < 1e-3 < abs(mode).max() for mode in found.modes]))
    assert found.intensities[stretch] < 1e-6 * found.intensities.max()
    turned = found.atoms.copy()
    turned.rotate(37, (1, 2, 3), center="COM")
    again = vibrations(dry, turned, relaxed=True, dipole=charges)
    assert again.intensities == pytest.approx(found.intensities, rel=1e-4, abs=1e-6)


def test_a_model_with_a_dipole_needs_no_other(spring: Callable[..., Model], dry: Model, charges: Model) -> None:
    assert vibrations(spring(), molecule("HF")).intensities[0] > 0
    assert vibrations(dry, molecule("HF")).intensities is None
    with pytest.raises(ModelError, match="no dipole"):
        vibrations(dry, molecule("HF"), dipole=dry)
    crystal = bulk("F", "fcc", a=1.1 * np.sqrt(2), cubic=True).repeat(2)
    assert vibrations(spring(cutoff=1.3), crystal, relaxed=True, dipole=charges).intensities is None


def test_dipoles_of_another_model_give_the_spectrum_of_a_run(dry: Model, charges: Model, tmp_path: Path) -> None:
    atoms = vibrations(dry, molecule("HF")).atoms
    done = molecular_dynamics(dry, atoms, tmp_path / "a.traj", temperature=10, timestep=0.5, interval=2, steps=2000)
    frames = read(done.trajectory, ":")
    assert spectrum(frames).infrared is None
    found = spectrum(with_dipoles(charges, read(done.trajectory, ":")))
    assert found.infrared_peaks == pytest.approx(found.peaks, abs=2)  # the infrared line leans to the blue: factor ν²
    assert len(found.peaks) == 1


def test_what_a_model_of_dipoles_warns_of_is_told(dry: Model, charged: Callable[..., Model]) -> None:
    charges = charged(training={"recipe": {"data": {"targets": {"dipole_magnitude": "mu"}}}})
    assert ["magnitudes" in warning for warning in vibrations(dry, molecule("HF"), dipole=charges).warnings] == [True]
    with pytest.warns(UserWarning, match="magnitudes of dipoles") as told:
        assert len(list(with_dipoles(charges, [molecule("HF")] * 3))) == 3
    assert len(told) == 1


def test_the_commands_take_a_model_of_dipoles(
    zoo: Callable,
    pair_hub: Release,
    dry: Model,
    charges: Model,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("zoo_runtime.model.load", lambda name, *_, **__: {"energy": dry, "dipole": charges}[name])
    write("hf.xyz", molecule("HF"))
    code, out, _ = zoo("vibrations", "model=energy", "hf.xyz", "dipole=dipole", "--json")
    assert code == 0
    assert json.loads(out)["intensities"]["unit"] == "km/mol"
    assert "km/mol" in zoo("vibrations", "model=energy", "hf.xyz", "dipole=dipole")[1]
    assert json.loads(zoo("vibrations", "model=energy", "hf.xyz", "--json")[1])["intensities"] is None
    assert zoo("md", "model=energy", "hf.xyz", "steps=400", "temperature=10")[0] == 0
    code, out, _ = zoo("spectrum", "md.traj", "dipole=dipole", "--json")
    assert code == 0
    assert json.loads(out)["infrared_peaks"]["value"]
    assert json.loads(zoo("spectrum", "md.traj", "--json")[1])["infrared_peaks"] is None


@pytest.mark.parametrize("ensemble", ["nve", "langevin", "npt"])
def test_a_periodic_run_on_the_native_engine_goes_on_bit_for_bit(tmp_path: Path, ensemble: str) -> None:
    if reason := native.available():
        pytest.skip(reason)
    crystal = bulk("C", cubic=True, a=5.2).repeat(2)
    crystal.rattle(0.1, seed=1)
    paths = [tmp_path / "whole.traj", tmp_path / "parts.traj"]
    options = {"ensemble": ensemble, "temperature": 300, "timestep": 0.25}
    for path, stops in zip(paths, ([60], [12, 40, 60]), strict=True):
        for steps in stops:
            model = zoo_runtime.load("schnet-qm9", backend="native", threads=1)
            with pytest.warns(UserWarning, match="molecules only"):
                molecular_dynamics(model, crystal, path, steps=steps, **options)
    whole, parts = (read(path, ":") for path in paths)
    assert len(whole) == len(parts) == 16
    assert np.abs(whole[-1].positions - whole[0].positions).max() > 0.05
    for a, b in zip(whole, parts, strict=True):
        assert (a.positions == b.positions).all()
        assert (a.get_momenta() == b.get_momenta()).all()
        assert (a.cell.array == b.cell.array).all()


def test_two_runs_do_not_write_one_trajectory(zoo: Callable, pair_hub: Release) -> None:
    from filelock import FileLock

    write("c.xyz", bulk("C", cubic=True))
    with FileLock(".md.traj.lock"):
        code, out, err = zoo("md", "model=pair-test", "c.xyz", "steps=8")
    assert (code, out) == (2, "")
    assert "another process" in err
    assert zoo("md", "model=pair-test", "c.xyz", "steps=8", "timestep=0.1")[0] == 0
    assert not Path(".md.traj.lock").exists()
