"""Units of our field and how they convert, from the CODATA 2018 constants.

Inside zoo: eV, Å, e, K, and atom as a unit of its own (so that eV/atom is never taken for eV).
Source of the constants: E. Tiesinga et al., Rev. Mod. Phys. 93, 025010 (2021),
doi:10.1103/RevModPhys.93.025010.
"""

from __future__ import annotations

import re
from typing import Any

from zoo_registry.errors import UsageError, close_matches

ELEMENTARY_CHARGE = 1.602176634e-19  # C, exact
AVOGADRO = 6.02214076e23  # 1/mol, exact
SPEED_OF_LIGHT = 299792458.0  # m/s, exact
JOULE = 1 / ELEMENTARY_CHARGE  # eV
HARTREE = 27.211386245988  # eV
BOHR = 0.529177210903  # Å
KCAL_PER_MOL = 4184 * JOULE / AVOGADRO  # eV
KJ_PER_MOL = 1000 * JOULE / AVOGADRO  # eV
DEBYE = 1e-21 / SPEED_OF_LIGHT / ELEMENTARY_CHARGE * 1e10  # e·Å
GPA = 1e9 * JOULE * 1e-30  # eV/Å³

_Unit = tuple[float, dict[str, int]]

_ENERGY, _LENGTH, _CHARGE = {"energy": 1}, {"length": 1}, {"charge": 1}
_PRESSURE = {"energy": 1, "length": -3}

# Words of several letters may begin with a capital; symbols are taken as written.
_UNITS: dict[str, _Unit] = {
    "1": (1.0, {}),
    "eV": (1.0, _ENERGY),
    "meV": (1e-3, _ENERGY),
    "hartree": (HARTREE, _ENERGY),
    "Ha": (HARTREE, _ENERGY),
    "kcal": (4184 * JOULE, _ENERGY),
    "cal": (4.184 * JOULE, _ENERGY),
    "kJ": (1000 * JOULE, _ENERGY),
    "J": (JOULE, _ENERGY),
    "mol": (AVOGADRO, {}),
    "atom": (1.0, {"atom": 1}),
    "angstrom": (1.0, _LENGTH),
    "Å": (1.0, _LENGTH),
    "bohr": (BOHR, _LENGTH),
    "a0": (BOHR, _LENGTH),
    "nm": (10.0, _LENGTH),
    "e": (1.0, _CHARGE),
    "debye": (DEBYE, _CHARGE | _LENGTH),
    "D": (DEBYE, _CHARGE | _LENGTH),
    "K": (1.0, {"temperature": 1}),
    "fs": (1.0, {"time": 1}),
    "ps": (1e3, {"time": 1}),
    "Hz": (1e-15, {"time": -1}),
    "GHz": (1e-6, {"time": -1}),
    "GPa": (GPA, _PRESSURE),
    "bar": (GPA * 1e-4, _PRESSURE),
}
_FACTOR = re.compile(r"(?P<word>[^\W\d_][^\W_]*|1)(?:\^(?P<power>-?\d))?")


def convert(value: Any, from_unit: str, to_unit: str) -> Any:
    """Convert a number or an array.

    Args:
        value: Number or array in ``from_unit``.
        from_unit: Such as ``eV``, ``kcal/mol``, ``eV/angstrom^3``, ``e*angstrom``, ``cal/mol/K``, ``bohr^3``.
        to_unit: The unit to return it in.

    Returns:
        The value in ``to_unit``; itself, not a rounded copy, where the units are the same.

    Raises:
        UsageError: An unknown unit, or two units of different dimension.
    """
    (source, source_dimension), (target, target_dimension) = _parse(from_unit), _parse(to_unit)
    if source_dimension != target_dimension:
        raise UsageError(f"cannot convert {from_unit!r} to {to_unit!r}: they measure different things.")
    return value if source == target else value * (source / target)


def _parse(unit: str) -> _Unit:
    """Factor to our units, and dimension, of a product of powers."""
    text = unit.replace("·", "*").replace("²", "^2").replace("³", "^3")
    parts = re.split(r"([*/])", text.replace(" ", ""))
    factor, dimension = 1.0, dict[str, int]()
    for operator, part in zip(["*", *parts[1::2]], parts[::2], strict=True):
        match = _FACTOR.fullmatch(part)
        if not match:
            raise UsageError(f"{unit!r} is not a unit; write for example eV, kcal/mol, eV/angstrom^3 or e*angstrom.")
        power = int(match["power"] or 1) * (1 if operator == "*" else -1)
        size, kinds = _look_up(match["word"])
        factor *= size**power
        for kind, exponent in kinds.items():
            dimension[kind] = dimension.get(kind, 0) + exponent * power
    return factor, {kind: exponent for kind, exponent in dimension.items() if exponent}


def _look_up(word: str) -> _Unit:
    lower = word[:1].lower() + word[1:]
    found = _UNITS.get(word) or (_UNITS.get(lower) if len(word) > 3 else None)
    if found is None:
        raise UsageError(f"unknown unit {word!r}{close_matches(word, _UNITS)}")
    return found
