"""The trajectory of a run: how it begins, and where it stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo_registry.errors import UsageError
from zoo_registry.files import replacing
from zoo_runtime.locks import locked
from zoo_runtime.simulate.constraints import same_constraints
from zoo_runtime.simulate.rigid import rigid_motions, without_rigid_motion

if TYPE_CHECKING:
    from ase import Atoms

INFO = "zoo_md"  # in atoms.info of every frame: all that a run needs, beside the frame, to go on from there


def beginning(atoms: Atoms, ensemble: str, kelvin: float, redraw: bool, seed: int) -> Atoms:
    """Return a copy with velocities."""
    from ase.units import kB

    start = atoms.copy()
    draw = _draws(atoms, ensemble, redraw)
    if draw:
        random = np.random.default_rng([seed, 0]).standard_normal((len(start), 3))
        start.set_momenta(random * np.sqrt(start.get_masses() * kB * kelvin)[:, None])
    if ensemble == "nve":
        start.set_momenta(without_rigid_motion(start, start.get_momenta()))
        kinetic = start.get_kinetic_energy()
        if draw and kinetic:
            start.set_momenta(start.get_momenta() * np.sqrt(count_degrees(start, ensemble) * kB * kelvin / 2 / kinetic))
    return start


def _draws(atoms: Atoms, ensemble: str, redraw: bool) -> bool:
    return not atoms.has("momenta") or (ensemble == "nve" and redraw)


def count_degrees(atoms: Atoms, ensemble: str) -> int:
    """Return how many degrees of freedom hold kinetic energy."""
    rigid = rigid_motions(atoms).shape[1] if ensemble == "nve" else 0
    return max(int(atoms.get_number_of_degrees_of_freedom()) - rigid, 0)


def last_frame(path: Path, atoms: Atoms, options: dict[str, Any]) -> Atoms | None:
    """Return where a run stopped; None where there is no file yet.

    Raises:
        UsageError: The file is no trajectory, or one of another run.
    """
    from ase.io.trajectory import TrajectoryReader

    if not path.exists():
        return None
    other = "delete it, or choose another trajectory="
    try:
        with TrajectoryReader(path) as frames:
            start, last = frames[0], frames[-1]
    except Exception as error:  # the reader raises whatever comes
        raise UsageError(f"trajectory={path} is there and cannot be read as an ASE .traj file; {other}.") from error
    old = last.info.get(INFO)
    if not isinstance(old, dict):
        raise UsageError(f"trajectory={path} is there and was not written by zoo md; {other}.")
    changed = [
        f"{name}={old.get(name)} there, {value} now" for name, value in options.items() if old.get(name) != value
    ]
    if changed:
        raise UsageError(f"trajectory={path} is of a run with other options ({'; '.join(changed)}); {other}.")
    differing = _differing(start, atoms, options)
    if differing:
        raise UsageError(f"trajectory={path} began at another structure (other {', '.join(differing)}); {other}.")
    last.info = {**{key: value for key, value in atoms.info.items() if key != INFO}, INFO: old}
    return last


def _differing(first: Atoms, atoms: Atoms, options: dict[str, Any]) -> list[str]:
    """In what the first frame of a run is not the structure that this call begins at."""
    if not np.array_equal(first.numbers, atoms.numbers):
        return ["atoms"]
    same = {
        "positions": np.array_equal(first.positions, atoms.positions),
        "cell": np.array_equal(first.cell.array, atoms.cell.array),
        "pbc": np.array_equal(first.pbc, atoms.pbc),
        "masses": np.array_equal(first.get_masses(), atoms.get_masses()),
        "constraints": same_constraints(first, atoms),
    }
    redraw = options["temperature"] is not None
    if all(same.values()) and not _draws(atoms, options["ensemble"], redraw):
        momenta = beginning(atoms, options["ensemble"], 0.0, redraw, options["seed"]).get_momenta()
        same["momenta"] = np.allclose(first.get_momenta(), momenta, rtol=1e-9, atol=1e-9)
    return [name for name, equal in same.items() if not equal]


def write_first(path: Path, atoms: Atoms) -> None:
    """Begin a trajectory, whole or not at all."""
    from ase.io.trajectory import TrajectoryWriter

    with replacing(path) as part, TrajectoryWriter(part, "w") as frames:
        frames.write(atoms)


@contextmanager
def writing(path: Path, log: Path) -> Iterator[None]:
    """Keep other runs from the files, and say in one line why they cannot be written.

    Raises:
        UsageError: They cannot, or another run writes them.
    """
    if path.suffix != ".traj":
        raise UsageError(f"trajectory={path} must end in .traj, the format of ASE that loses no digit.")
    try:
        with locked(path, "trajectory"):
            yield
    except OSError as error:
        raise UsageError(f"{path} or {log} cannot be written ({error.strerror}); choose another place.") from error
