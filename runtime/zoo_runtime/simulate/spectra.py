"""Vibrational density of states and infrared spectrum of a trajectory, by time correlation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from zoo_registry.errors import StructureError, UsageError
from zoo_registry.units import SPEED_OF_LIGHT
from zoo_runtime import keys
from zoo_runtime.simulate.checks import need_positive
from zoo_runtime.simulate.trajectory import INFO

if TYPE_CHECKING:
    from ase import Atoms

PER_CM = 1e15 / (SPEED_OF_LIGHT * 100)  # cm⁻¹ of 1/fs
BLACKMAN = 2.35  # full width at half maximum of its transform, times the length of the window
PROMINENCE = 0.01  # of the highest peak
PADDING = 8  # grid points per resolved width

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Spectrum:
    """What moves at which frequency.

    Attributes:
        wavenumbers: [w] cm⁻¹.
        density: [w] modes per cm⁻¹; over all frequencies it sums to the number of modes of the system, that is its
            degrees of freedom without the motion of the whole, and without what constraints hold.
        infrared: [w] relative to its highest peak; None where the trajectory has no dipoles.
        peaks: cm⁻¹, of the density.
        infrared_peaks: cm⁻¹, of the infrared spectrum.
        resolution: cm⁻¹, full width at half maximum of a sharp line.
        frames: How many structures it was made from.
        frame_time: fs between them.
    """

    wavenumbers: Array
    density: Array
    infrared: Array | None
    peaks: list[float]
    infrared_peaks: list[float]
    resolution: float
    frames: int
    frame_time: float


def spectrum(
    trajectory: Iterable[Atoms],
    frame_time: float | None = None,
    resolution: float | None = None,
    maximum: float = 4500.0,
) -> Spectrum:
    """Transform the autocorrelation of velocities, weighted with masses, and of dipoles where they are.

    The motion of the system as a whole is taken out of the velocities; rotations count as vibrations where constraints
    hold atoms.

    The correlation is cut off by a Blackman window (Wiener-Khinchin; M. Thomas et al., Phys. Chem. Chem. Phys. 15, 6608
    (2013), doi:10.1039/C3CP44302G). Infrared intensities are the classical ones, with the factor of the harmonic
    quantum correction: the square of the frequency times the spectrum of the dipole.

    Args:
        trajectory: Structures with velocities, equally far apart in time.
        frame_time: fs between them; None reads it from a trajectory of zoo.
        resolution: cm⁻¹; None takes half of the trajectory as the longest time of the correlation.
        maximum: cm⁻¹, where the spectrum ends.

    Raises:
        StructureError: Too few structures, not all of the same atoms, or without velocities.
        UsageError: An option that is not allowed, a resolution that the trajectory is too short for, or a maximum that
            structures so far apart do not show.
    """
    velocities, dipoles, times, modes = _read(trajectory)
    if frame_time is None:
        frame_time = _spacing(times)
    need_positive(frame_time=frame_time, maximum=maximum)
    highest = PER_CM / (2 * frame_time)
    if maximum > highest:
        raise UsageError(
            f"frames every {frame_time:g} fs show only up to {highest:.0f} cm⁻¹ and faster motion would appear at "
            f"wrong places, so maximum={maximum:g} cm⁻¹ is too high; run md with a smaller interval=, or give "
            f"maximum={_below(highest):g} if nothing moves faster."
        )
    frames = len(velocities)
    lags = frames // 2
    width = BLACKMAN * PER_CM / (2 * frame_time)  # times 1/lags
    if resolution is not None:
        need_positive(resolution=resolution)
        lags = round(width / resolution)
        if not 8 <= lags <= frames:
            raise UsageError(
                f"resolution={resolution:g} cm⁻¹ is not to be had from {frames} frames every {frame_time:g} fs; give "
                f"between {width / frames:.3g} and {width / 8:.3g}, or a longer run."
            )
    if maximum < 2 * width / lags:
        raise UsageError(f"maximum={maximum:g} cm⁻¹ must be at least twice the resolution, {width / lags:.3g} cm⁻¹.")
    wavenumbers, density = _transform(velocities, lags, frame_time)
    density *= modes / max(density.sum() * wavenumbers[1], np.finfo(float).tiny)
    infrared = None
    if dipoles is not None:
        infrared = _transform(dipoles - dipoles.mean(axis=0), lags, frame_time)[1] * wavenumbers**2
        infrared /= max(infrared.max(), np.finfo(float).tiny)
    shown = wavenumbers <= maximum
    wavenumbers, density = wavenumbers[shown], density[shown]
    infrared = None if infrared is None else infrared[shown]
    return Spectrum(
        wavenumbers=wavenumbers,
        density=density,
        infrared=infrared,
        peaks=_peaks(wavenumbers, density),
        infrared_peaks=[] if infrared is None else _peaks(wavenumbers, infrared),
        resolution=width / lags,
        frames=frames,
        frame_time=frame_time,
    )


def _read(trajectory: Iterable[Atoms]) -> tuple[Array, Array | None, list[float | None], int]:
    """Velocities [t, 3n] times root mass, dipoles [t, 3], times in fs, and the number of modes."""
    from zoo_runtime.simulate.rigid import rigid_motions, without_rigid_motion

    velocities: list[Array] = []
    dipoles: list[Array] = []
    times: list[float | None] = []
    first = None
    for atoms in trajectory:
        first = first or atoms
        if not np.array_equal(atoms.numbers, first.numbers):
            raise StructureError(f"structure {len(times)} is not of the same atoms as the first.")
        if not atoms.has("momenta"):
            raise StructureError(f"structure {len(times)} has no velocities; take the trajectory of zoo md.")
        run = atoms.info.get(INFO)
        momenta = atoms.get_momenta()
        if not (run and run.get("ensemble") == "nve"):  # there it was taken out at the start, and stays out
            momenta = without_rigid_motion(atoms, momenta)
        velocities.append((momenta / np.sqrt(atoms.get_masses())[:, None]).ravel())
        times.append(run["step"] * run["timestep"] if run else None)
        if atoms.calc is not None and keys.DIPOLE in atoms.calc.results:
            dipoles.append(atoms.calc.results[keys.DIPOLE])
    if first is None or len(times) < 16:
        raise StructureError(f"a spectrum needs at least 16 structures, here are {len(times)}.")
    modes = int(first.get_number_of_degrees_of_freedom()) - rigid_motions(first).shape[1]
    if modes <= 0:
        raise StructureError("nothing is left that could vibrate: a spectrum needs more atoms, or fewer constraints.")
    return np.array(velocities), np.array(dipoles) if len(dipoles) == len(times) else None, times, modes


def _below(number: float) -> float:
    """Round down to two digits."""
    unit = 10.0 ** (np.floor(np.log10(number)) - 1)
    return float(np.floor(number / unit) * unit)


def _spacing(times: list[float | None]) -> float:
    known = [time for time in times if time is not None]
    if len(known) != len(times):
        raise UsageError("the trajectory does not say when its structures were; give frame_time=, in fs.")
    steps = np.diff(known)
    if not np.allclose(steps, steps[0], rtol=1e-6):
        raise StructureError("the structures are not equally far apart in time.")
    return float(steps[0])


def _transform(signal: Array, lags: int, frame_time: float) -> tuple[Array, Array]:
    """Spectrum of a signal [t, k], summed over k: wavenumbers in cm⁻¹ up to Nyquist's, and intensities."""
    frames = len(signal)
    spectrum = np.fft.rfft(signal, 2 * frames, axis=0)
    correlation = np.fft.irfft((np.abs(spectrum) ** 2).sum(axis=1))[:lags] / (frames - np.arange(lags))
    windowed = correlation * np.blackman(2 * lags + 1)[lags:-1]
    windowed[0] /= 2
    intensities = np.fft.rfft(windowed, 2 * PADDING * lags).real
    return np.asarray(np.fft.rfftfreq(2 * PADDING * lags, frame_time) * PER_CM), intensities


def _peaks(wavenumbers: Array, heights: Array) -> list[float]:
    """Maxima, between the points of the grid by a parabola."""
    from scipy.signal import find_peaks  # type: ignore[import-untyped]

    top, _ = find_peaks(heights, prominence=PROMINENCE * heights.max())
    left, middle, right = heights[top - 1], heights[top], heights[top + 1]
    shift = 0.5 * (left - right) / (left - 2 * middle + right)
    return [float(x) for x in wavenumbers[top] + shift * (wavenumbers[1] - wavenumbers[0])]
