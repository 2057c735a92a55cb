"""What a benchmark data set is: its facts, and how it becomes an ASE database."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zoo.data.database import System, count_systems, read_metadata, write_database
from zoo.data.writer import Property
from zoo_registry.errors import DataError


class Dataset(ABC):
    """A data set that is prepared once, and what is known of it.

    Attributes:
        name: Its name on the command line.
        description: One line.
        properties: What is stored, by name.
        citation: DOI of the publication.
        license: SPDX identifier or words.
        level_of_theory: Method of the reference calculations.
        charge: Total charge of every system.
        spin_multiplicity: 2S + 1 of every system.
        relaxed: Whether every structure is a minimum of its level of theory, so that its forces are zero.
        sources: What ``source=`` may be, for error texts.
        systems: How many systems were published, None where that is not known before they are read.
    """

    name: str
    description: str = ""
    properties: dict[str, Property]
    citation: str = ""
    license: str = ""
    level_of_theory: str = ""
    charge: int = 0
    spin_multiplicity: int = 1
    relaxed: bool = False
    sources: str = ""
    systems: int | None = None

    def references(self, name: str) -> dict[int, float]:
        """Return a property's published values for single atoms, by atomic number; empty where there are none."""
        return {}

    def metadata(self) -> dict[str, Any]:
        """Return what is written beside the systems."""
        return {
            "name": self.name,
            "description": self.description,
            "systems": self.systems,
            "properties": {name: {"unit": what.unit, "per": what.per} for name, what in self.properties.items()},
            "length_unit": "Å",
            "citation": self.citation,
            "license": self.license,
            "level_of_theory": self.level_of_theory,
            "charge": self.charge,
            "spin_multiplicity": self.spin_multiplicity,
        }

    @abstractmethod
    def path(self, root: str | Path) -> Path:
        """Return where the ASE database or the cache is or will be."""

    @abstractmethod
    def prepare(self, root: str | Path, source: str | None = None) -> Path:
        """Make the ASE database or the cache, or return it when it is there.

        Args:
            root: Folder of all data sets.
            source: Where to take it from instead of its published address; see ``sources``.

        Returns:
            ``path(root)``, complete.

        Raises:
            DataError: It cannot be had, or is not what was published.
        """


class DatabaseDataset(Dataset):
    """A data set that becomes the ASE SQLite database ``<root>/<name>/<name>.db``."""

    @abstractmethod
    def read(self, folder: Path, source: str | None) -> Iterator[System]:
        """Yield the systems in their published order, downloaded into ``folder`` where ``source`` is None."""

    def path(self, root: str | Path) -> Path:
        """Return where the database is or will be."""
        return Path(root) / self.name / f"{self.name}.db"

    def prepare(self, root: str | Path, source: str | None = None) -> Path:
        """Make the database, or return it when it is there; see :meth:`Dataset.prepare`."""
        path = self.path(root)
        if path.exists():
            found = read_metadata(path).get("name")
            if found != self.name:
                raise DataError(f"{path} holds {found!r}, not {self.name!r}; move it or choose another root.")
            if self.systems not in (None, count := count_systems(path)):
                raise DataError(f"{path} holds {count} systems of {self.systems}; move it or choose another root.")
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        write_database(path, self.read(path.parent, source), self.metadata(), self.systems)
        return path


class AseDatabase(Dataset):
    """A database of the user's own, used where it is.

    Units, licence and so on come from its metadata, where they are as :meth:`Dataset.metadata` writes them.

    Args:
        file: Path of the ``.db`` file.

    Raises:
        DataError: No such file, or not an ASE database.
    """

    def __init__(self, file: Path):
        self.file = file
        facts = read_metadata(file)
        self.name = str(facts.get("name", file.stem))
        self.description = str(facts.get("description", ""))
        self.citation = str(facts.get("citation", ""))
        self.license = str(facts.get("license", ""))
        self.level_of_theory = str(facts.get("level_of_theory", ""))
        self.charge = int(facts.get("charge", 0))
        self.spin_multiplicity = int(facts.get("spin_multiplicity", 1))
        self.systems = count_systems(file)
        self.properties = {}
        self._facts = facts

    def metadata(self) -> dict[str, Any]:
        """Return the database's own metadata."""
        return dict(self._facts)

    def path(self, root: str | Path) -> Path:
        """Return the path of the database."""
        return self.file

    def prepare(self, root: str | Path, source: str | None = None) -> Path:
        """Return the path of the database."""
        return self.file
