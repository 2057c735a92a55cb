"""Whether two structures are held in the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ase import Atoms


def same_constraints(a: Atoms, b: Atoms) -> bool:
    """Whether they say the same; what one of them leaves open, such as lengths found at the start, counts as equal."""
    from ase.io.jsonio import encode

    def settings(constraint: Any) -> tuple[str, dict[str, str]]:
        told = constraint.todict()
        return told["name"], {key: encode(value) for key, value in told["kwargs"].items() if value is not None}

    def equal(one: tuple[str, dict[str, str]], two: tuple[str, dict[str, str]]) -> bool:
        return one[0] == two[0] and all(one[1][key] == two[1][key] for key in one[1].keys() & two[1].keys())

    try:
        pairs = zip(map(settings, a.constraints), map(settings, b.constraints), strict=True)
        return all(equal(one, two) for one, two in pairs)
    except (NotImplementedError, AttributeError, ValueError):  # one that cannot be written, or another number of them
        return False
