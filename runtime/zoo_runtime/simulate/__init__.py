"""Relaxation, molecular dynamics, vibrations and spectra with a model, through ASE's own tools."""

from zoo_runtime.simulate.dynamics import Dynamics, Progress, molecular_dynamics
from zoo_runtime.simulate.normal_modes import Thermochemistry, Vibrations, vibrations
from zoo_runtime.simulate.relaxation import Relaxation, relax
from zoo_runtime.simulate.spectra import Spectrum, spectrum

__all__ = [
    "Dynamics",
    "Progress",
    "Relaxation",
    "Spectrum",
    "Thermochemistry",
    "Vibrations",
    "molecular_dynamics",
    "relax",
    "spectrum",
    "vibrations",
]
