"""Conversions agree with the published constants, and different things never convert."""

from __future__ import annotations

import numpy as np
import pytest

from zoo_registry.errors import UsageError
from zoo_registry.units import convert

# NIST CODATA 2018 values, and definitions; to the digits that are published.
KNOWN = [
    (1.0, "hartree", "eV", 27.211386245988),
    (1.0, "Hartree", "kcal/mol", 627.5094740631),
    (1.0, "Ha", "kJ/mol", 2625.4996394799),
    (1.0, "eV", "kcal/mol", 23.060547830619),
    (1.0, "meV", "eV", 1e-3),
    (1.0, "bohr", "angstrom", 0.529177210903),
    (1.0, "a0^3", "angstrom^3", 0.529177210903**3),
    (1.0, "debye", "e*angstrom", 0.20819433),
    (1.0, "e*bohr", "D", 2.541746473),
    (1.0, "hartree/bohr", "eV/angstrom", 51.42206747),
    (1.0, "eV/angstrom^3", "GPa", 160.2176634),
    (1.0, "GPa", "bar", 1e4),
    (1.0, "kcal/mol/angstrom", "eV/angstrom", 1 / 23.060547830619),
    (1.0, "cal/mol/K", "meV/K", 0.0433641042),
    (1.0, "ps", "fs", 1e3),
    (1.0, "nm", "Å", 10.0),
    (1.0, "1/fs", "GHz", 1e6),
    (2.0, "eV/Å³", "eV/angstrom^3", 2.0),
    (2.0, "e·Å", "e*angstrom", 2.0),
]


@pytest.mark.parametrize(("value", "source", "target", "expected"), KNOWN)
def test_conversion_has_the_published_value_and_its_inverse(
    value: float, source: str, target: str, expected: float
) -> None:
    assert convert(value, source, target) == pytest.approx(expected, rel=2e-8)
    assert convert(convert(value, source, target), target, source) == pytest.approx(value, rel=1e-15)


def test_the_same_unit_changes_no_bit() -> None:
    assert convert(0.1 + 0.2, "eV", "eV") == 0.1 + 0.2


def test_an_array_is_converted_whole() -> None:
    np.testing.assert_array_equal(convert(np.array([1.0, 2.0]), "eV", "meV"), np.array([1.0, 2.0]) * 1000)


@pytest.mark.parametrize(
    ("source", "target"),
    [("eV", "angstrom"), ("eV", "eV/atom"), ("eV/angstrom", "eV"), ("e", "debye"), ("K", "eV")],
)
def test_different_things_do_not_convert(source: str, target: str) -> None:
    with pytest.raises(UsageError, match=f"cannot convert '{source.replace('/', '.')}'"):
        convert(1.0, source, target)


@pytest.mark.parametrize("unit", ["MeV", "ev", "hartre", "", "eV/", "/eV", "eV^", "eV^1.5", "(eV)", "2eV", "eV**2"])
def test_what_is_no_unit_is_refused(unit: str) -> None:
    with pytest.raises(UsageError, match="unit"):
        convert(1.0, unit, "eV")


def test_a_near_miss_is_named() -> None:
    with pytest.raises(UsageError, match="did you mean 'hartree'"):
        convert(1.0, "hartre", "eV")
