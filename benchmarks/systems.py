"""The systems that are timed: molecules one by one and in a batch, crystals and liquid water."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule

SPECIES = [1, 6, 7, 8, 14]


def pentanol() -> Atoms:
    """18 atoms, the usual size in QM9: a zigzag chain."""
    symbols, positions = [], []
    for i in range(6):
        up = 1 if i % 2 else -1
        symbols.append("O" if i == 5 else "C")
        positions.append((1.26 * i, 0.42 * up, 0.0))
        if i < 5:
            symbols += ["H", "H"]
            positions += [(1.26 * i, 1.05 * up, side) for side in (0.89, -0.89)]
    symbols += ["H", "H"]
    positions += [(-0.9, 0.2, 0.0), (6.9, -0.2, 0.0)]
    return Atoms(symbols, positions=positions)


def silicon(*repeat: int) -> Atoms:
    return bulk("Si", cubic=True).repeat(repeat)


def water(molecules: int) -> Atoms:
    """Liquid density, random orientations."""
    random = np.random.default_rng(0)
    side = (molecules * 29.9) ** (1 / 3)
    per_edge = int(np.ceil(molecules ** (1 / 3) - 1e-9))
    grid = np.stack(np.meshgrid(*[np.arange(per_edge)] * 3), axis=-1).reshape(-1, 3)[:molecules]
    box = Atoms(cell=[side] * 3, pbc=True)
    for place in grid * side / per_edge:
        one = molecule("H2O")
        one.rotate(random.uniform(0, 360), random.normal(size=3))
        one.translate(place)
        box += one
    return box


def systems() -> dict[str, Atoms | list[Atoms]]:
    """Each by the name that the table shows; a list is a batch."""
    named: dict[str, Atoms | list[Atoms]] = {
        "ethanol": molecule("CH3CH2OH"),
        "QM9-sized": pentanol(),
        "100 QM9-sized": [pentanol() for _ in range(100)],
        "Si 216": silicon(3, 3, 3),
        "Si 1000": silicon(5, 5, 5),
        "Si 5184": silicon(8, 9, 9),
        "water 192": water(64),
        "water 999": water(333),
        "water 5001": water(1667),
    }
    for number, atoms in enumerate(named.values()):
        for one in atoms if isinstance(atoms, list) else [atoms]:
            one.rattle(0.03, seed=number)
    return named
