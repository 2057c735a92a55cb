"""Run released models: from atoms to energies and forces, in Python, in ASE and on the command line.

Example:
    >>> import zoo_runtime
    >>> from ase.build import molecule
    >>> model = zoo_runtime.load("schnet-rmd17-ethanol")
    >>> ethanol = molecule("CH3CH2OH")
    >>> prediction = model.predict(ethanol)
    >>> print(f"{prediction.energy:.3f}", prediction.units["energy"])
    -4210.187 eV
    >>> prediction.forces.shape, prediction.units["forces"]
    ((9, 3), 'eV/Å')
    >>> ethanol.calc = model.calculator()  # then any optimiser or dynamics of ASE
    >>> print(f"{ethanol.get_potential_energy():.3f} eV")
    -4210.187 eV
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo_runtime.model import Model, load
    from zoo_runtime.prediction import Prediction

__all__ = ["Model", "Prediction", "load"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that the command line starts quickly."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from zoo_runtime import model

    return getattr(model, name)
