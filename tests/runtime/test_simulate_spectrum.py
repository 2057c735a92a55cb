from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io import read, write

from zoo_registry.errors import StructureError, UsageError
from zoo_runtime import Model
from zoo_runtime.simulate import molecular_dynamics, spectrum, vibrations

LIGHT = 2.99792458e-5  # cm/fs


def moving(wavenumbers: list[float], frames: int, frame_time: float) -> list:
    """CO2 whose carbon moves along x with the first wavenumber, and along y with the second, and so on."""
    images = []
    for k in range(frames):
        atoms = molecule("CO2")
        velocities = np.zeros((3, 3))
        for axis, wavenumber in enumerate(wavenumbers):
            velocities[0, axis] = np.cos(2 * np.pi * LIGHT * wavenumber * k * frame_time)
        atoms.set_velocities(velocities)
        atoms.calc = SinglePointCalculator(atoms, dipole=velocities[0] * (1, 0.5, 0))
        images.append(atoms)
    return images


def of_verlet(wavenumbers: np.ndarray, timestep: float) -> np.ndarray:
    """Return where velocity Verlet runs an oscillator: at 2/dt·asin(ω·dt/2), not at ω."""
    omega = 2 * np.pi * LIGHT * wavenumbers
    return 2 / timestep * np.arcsin(omega * timestep / 2) / (2 * np.pi * LIGHT)


def test_peaks_stand_where_the_signal_oscillates() -> None:
    found = spectrum(moving([500.0, 1700.5, 3000.0], 4000, 2.0), frame_time=2.0)
    assert found.peaks == pytest.approx([500.0, 1700.5, 3000.0], abs=0.5)
    assert found.frames == 4000
    assert found.resolution == pytest.approx(2.35 / (2 * 2000 * 2.0 * LIGHT))
    # CO2 is linear: 3n - 5 modes; three equal amplitudes share them.
    width = found.wavenumbers[1]
    assert found.density.sum() * width == pytest.approx(4, rel=1e-3)
    near = np.abs(found.wavenumbers - 500) < 100
    assert found.density[near].sum() * width == pytest.approx(4 / 3, rel=0.02)


def test_infrared_is_the_squared_amplitude_and_frequency_of_the_dipole() -> None:
    found = spectrum(moving([1000.0, 2000.0], 4000, 2.0), frame_time=2.0)
    assert found.infrared_peaks == pytest.approx([1000.0, 2000.0], abs=0.5)
    heights = [found.infrared[np.abs(found.wavenumbers - w).argmin()] for w in (1000, 2000)]
    assert heights[1] / heights[0] == pytest.approx(0.5**2 * 2**2, rel=0.02)


def test_the_resolution_is_the_width_of_a_line() -> None:
    found = spectrum(moving([1500.0], 4000, 2.0), frame_time=2.0, resolution=40.0)
    high = found.wavenumbers[found.density > found.density.max() / 2]
    assert high[-1] - high[0] == pytest.approx(40, rel=0.1)
    with pytest.raises(UsageError, match="twice the resolution"):
        spectrum(moving([1500.0], 100, 2.0), frame_time=2.0, maximum=0.1)
    with pytest.raises(UsageError, match="longer run"):
        spectrum(moving([1500.0], 100, 2.0), frame_time=2.0, resolution=1.0)


def test_the_spectrum_of_a_run_has_the_harmonic_frequencies(spring: Callable[..., Model], tmp_path: Path) -> None:
    atoms = vibrations(spring(), molecule("HF")).atoms
    harmonic = vibrations(spring(), atoms).frequencies
    timestep = 0.5
    done = molecular_dynamics(
        spring(), atoms, tmp_path / "a.traj", temperature=10, timestep=timestep, interval=2, steps=4000
    )
    found = spectrum(read(done.trajectory, ":"))
    assert found.frame_time == pytest.approx(1.0)
    verlet = of_verlet(harmonic, timestep)
    assert verlet[0] - harmonic[0] == pytest.approx(9, abs=1)
    assert found.peaks == pytest.approx(verlet, abs=0.3)
    assert found.infrared_peaks == pytest.approx(verlet, abs=0.3)


def test_a_polyatomic_run_has_a_peak_at_every_frequency(spring: Callable[..., Model], tmp_path: Path) -> None:
    timestep = 0.5
    start = vibrations(spring(), molecule("H2O")).atoms
    harmonic = vibrations(spring(), start).frequencies
    done = molecular_dynamics(spring(), start, tmp_path / "a.traj", temperature=1, timestep=timestep, steps=4000)
    found = spectrum(read(done.trajectory, ":"))
    assert len(harmonic) == 3
    for wavenumber in of_verlet(harmonic, timestep):
        assert np.abs(np.array(found.peaks) - wavenumber).min() < 1


def test_frames_too_far_apart_for_the_maximum_are_refused() -> None:
    images = moving([3000.0], 200, 10.0)
    with pytest.raises(UsageError, match=r"every 10 fs show only up to 1668 cm⁻¹.*interval=, or give maximum=1600 if"):
        spectrum(images, frame_time=10.0)
    assert spectrum(images, frame_time=10.0, maximum=1600).wavenumbers[-1] <= 1600
    assert spectrum(moving([3000.0], 200, 2.0), frame_time=2.0).wavenumbers[-1] <= 4500


def test_the_density_counts_modes_without_the_motion_of_the_whole_and_of_fixed_atoms() -> None:
    random = np.random.default_rng(0)
    images = moving([0.0, 0.0, 1000.0], 2000, 2.0)
    velocity = 0.0
    for atoms in images:
        velocity = 0.98 * velocity + 0.2 * random.normal()
        atoms.set_momenta(atoms.get_momenta() * (0, 0, 1) + atoms.get_masses()[:, None] * velocity)
    found = spectrum(images, frame_time=2.0)
    width = found.wavenumbers[1]
    assert found.density.sum() * width == pytest.approx(4, rel=1e-3)
    assert found.density[found.wavenumbers < 600].sum() * width < 0.01
    for atoms in images:
        atoms.set_constraint(FixAtoms([0]))
    found = spectrum(images, frame_time=2.0, maximum=8300)
    assert found.density.sum() * width == pytest.approx(6, rel=1e-2)
    for atoms in images:
        atoms.set_constraint(FixAtoms([0, 1, 2]))
    with pytest.raises(StructureError, match="nothing is left"):
        spectrum(images, frame_time=2.0)


def test_what_makes_no_spectrum_is_refused(tmp_path: Path) -> None:
    images = moving([500.0], 40, 2.0)
    with pytest.raises(UsageError, match="frame_time="):
        spectrum(images)
    with pytest.raises(StructureError, match="at least 16"):
        spectrum(images[:4], frame_time=2.0)
    with pytest.raises(StructureError, match="no velocities"):
        spectrum([molecule("CO2")] * 20, frame_time=2.0)
    with pytest.raises(StructureError, match="same atoms"):
        spectrum([*images, molecule("H2O")], frame_time=2.0)
    for step, atoms in enumerate(images):
        atoms.info["zoo_md"] = {"step": step**2, "timestep": 1.0}
    with pytest.raises(StructureError, match="equally far apart"):
        spectrum(images)


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_the_command_writes_numbers_and_a_picture(
    zoo: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, magic: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    write("run.traj", moving([1000.0, 2000.0], 500, 2.0))
    code, out, _ = zoo("spectrum", "run.traj", "frame_time=2", f"plot=s{suffix}", "--json")
    told = json.loads(out)
    assert code == 0
    assert told["peaks"] == {"value": pytest.approx([1000, 2000], abs=5), "unit": "cm⁻¹"}
    assert Path(f"s{suffix}").read_bytes().startswith(magic)
    with Path("spectrum.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    column = [float(row["density of states (modes/cm⁻¹)"]) for row in rows]
    assert abs(float(rows[int(np.argmax(column))]["wavenumber (cm⁻¹)"]) % 1000) < 40
    code, out, _ = zoo("spectrum", "run.traj", "frame_time=2", "skip=100")
    assert code == 0
    assert "400, every 2 fs" in out


def test_wrong_options_of_spectrum_are_one_line(zoo: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write("still.traj", [molecule("H2O")] * 20)
    for words, expected in (
        (["still.traj", "plot=s.gif"], 2),
        (["absent.traj"], 2),
        (["still.traj", "frame_time=1"], 1),
    ):
        code, out, err = zoo("spectrum", *words)
        assert (code, out) == (expected, "")
        assert len(err.splitlines()) == 1
    assert not Path("spectrum.csv").exists()
