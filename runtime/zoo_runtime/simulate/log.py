"""The log of a run: one CSV line for each frame, and figures drawn from them."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from zoo_registry.errors import UsageError
from zoo_registry.files import replacing

TITLES = {
    "step": "step",
    "time": "time (ps)",
    "potential": "potential energy (eV)",
    "kinetic": "kinetic energy (eV)",
    "temperature": "temperature (K)",
    "pressure": "pressure (GPa)",
    "volume": "volume (Å³)",
}


@dataclass(frozen=True)
class Row:
    """Figures of one frame.

    Attributes:
        step: From 0.
        time: ps.
        potential: eV.
        kinetic: eV.
        temperature: K.
        pressure: GPa, with the ideal gas part; NPT only.
        volume: Å³; NPT only.
    """

    step: int
    time: float
    potential: float
    kinetic: float
    temperature: float
    pressure: float | None = None
    volume: float | None = None


class Averages:
    """Running figures of a run of n atoms.

    Args:
        n_atoms: n.
    """

    def __init__(self, n_atoms: int) -> None:
        self._n_atoms = n_atoms
        self._rows = 0
        self._reference = 0.0
        self._time = self._energy = self._time2 = self._time_energy = 0.0
        self._kelvin = self._kelvin2 = 0.0

    def add(self, row: Row) -> None:
        """Take one more frame in."""
        if not self._rows:
            self._reference = row.potential + row.kinetic
        energy = row.potential + row.kinetic - self._reference
        self._rows += 1
        self._time += row.time
        self._energy += energy
        self._time2 += row.time**2
        self._time_energy += row.time * energy
        self._kelvin += row.temperature
        self._kelvin2 += row.temperature**2

    def drift(self) -> float:
        """Return the slope of a straight line through the total energies in meV/atom/ps; 0 for a single frame."""
        spread = self._time2 - self._time**2 / self._rows
        slope = (self._time_energy - self._time * self._energy / self._rows) / spread if self._rows > 1 else 0.0
        return 1000 * slope / self._n_atoms

    def temperature(self) -> tuple[float, float]:
        """Return mean and standard deviation in K."""
        mean = self._kelvin / self._rows
        return mean, math.sqrt(max(self._kelvin2 / self._rows - mean**2, 0.0))


def read_log(path: Path, before: int) -> Iterator[Row]:
    """Yield the rows of a log before a step; none where there is no file.

    Raises:
        UsageError: The file is no log.
    """
    if not path.exists():
        return
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.reader(stream)
            if next(reader, None) != list(TITLES.values()):
                raise ValueError("another title")
            for words in reader:
                if len(words) != len(TITLES) or int(words[0]) >= before:
                    return
                numbers = [float(word) if word else None for word in words[1:]]
                if None in numbers[:4]:
                    raise ValueError("no number")
                yield Row(int(words[0]), *numbers)  # type: ignore[arg-type]
    except (ValueError, csv.Error) as error:  # a text that cannot be decoded is a ValueError too
        raise UsageError(f"log={path} is there and is no log of zoo md; delete it, or choose another log=.") from error


@contextmanager
def open_log(path: Path, before: int) -> Iterator[Callable[[Row], None]]:
    """Give a function that adds a row; of the rows that are there already, those before a step are kept."""
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([TITLES.values(), *map(_words, read_log(path, before))])
    with path.open("a", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)

        def write(row: Row) -> None:
            table.writerow(_words(row))
            stream.flush()

        yield write


def _words(row: Row) -> list[float | str]:
    return ["" if (value := getattr(row, name)) is None else value for name in TITLES]
