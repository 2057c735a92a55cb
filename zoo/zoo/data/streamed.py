"""Data sets that go straight into their cache, block by block: a database would be far larger and slower to make."""

from __future__ import annotations

import contextlib
import json
import shutil
import tarfile
import tempfile
import zlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data.base import Dataset
from zoo.data.database import Block
from zoo.data.progress import track
from zoo.data.writer import CacheWriter
from zoo_registry.errors import DataError

FRAMES = 4096  # per block


class StreamedDataset(Dataset):
    """A data set that becomes the cache ``<root>/<name>/<name>.cache`` without ever being in memory as a whole."""

    @abstractmethod
    def blocks(self, folder: Path, source: str | None) -> Iterator[Block]:
        """Yield the systems in their published order, downloaded into ``folder`` where ``source`` is None."""

    def splits(self) -> Mapping[str, Mapping[str, np.ndarray]]:
        """Return the published splits, by name, as positions in the order of :meth:`blocks`; asked after those."""
        return {}

    def facts(self) -> Mapping[str, Any]:
        """Return what only the reading showed, for the metadata; asked after :meth:`blocks`."""
        return {}

    def path(self, root: str | Path) -> Path:
        """Return where the cache is or will be."""
        return Path(root) / self.name / f"{self.name}.cache"

    def prepare(self, root: str | Path, source: str | None = None) -> Path:
        """Make the cache, or return it when it is there; see :meth:`Dataset.prepare`."""
        path = self.path(root)
        if (path / "meta.json").is_file():
            self._check_held(path, source)
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.write(path, source, self.systems if source is None else None)
        return path

    def _check_held(self, path: Path, source: str | None) -> None:
        """Raise a DataError where a cache is of another data set, another source, or a part of what is asked for."""
        meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
        facts = meta.get("dataset", {})
        if facts.get("name") != self.name:
            raise DataError(f"{path} holds {facts.get('name')!r}, not {self.name!r}; move it or choose another root.")
        if source is None:
            if self.systems not in (None, facts.get("systems")):
                raise DataError(
                    f"{path} holds {facts.get('systems')} systems of the {self.systems} that were published; "
                    f"give the source that it was made from ({meta.get('source')}), move it, or choose another root."
                )
        elif meta.get("source", _recorded(source)) != _recorded(source):  # older caches do not say
            raise DataError(
                f"{path} was made from {meta['source'] or 'the published files'}, not from {source}; "
                "give that source, delete the cache or choose another root."
            )

    def write(self, path: Path, source: str | None, total: int | None, **facts: Any) -> None:
        """Stream everything into a new cache.

        Args:
            path: The cache.
            source: See :meth:`blocks`.
            total: How many systems there must be, None where that is not known.
            **facts: For ``meta.json``.

        Raises:
            DataError: Another number of systems, or one that cannot be believed.
        """
        with CacheWriter(path, self.properties) as writer:
            for block in track(self.blocks(path.parent, source), f"Writing {path.name}"):
                writer.append(**vars(block))
            if total is not None and writer.systems != total:
                raise DataError(f"Expected {total} systems for {self.name}, got {writer.systems}; the source differs.")
            for name, parts in self.splits().items():
                writer.add_split(name, parts)
            described = {**self.metadata(), **self.facts(), "systems": writer.systems}
            writer.facts = {**facts, "source": _recorded(source), "dataset": described}
            writer.close()


def _recorded(source: str | None) -> str | None:
    """Return what ``meta.json`` says of a source: its full path, None for the published files."""
    return None if source is None else str(Path(source).resolve())


def frames(
    numbers: np.ndarray, positions: np.ndarray, values: Mapping[str, np.ndarray], index: np.ndarray
) -> Iterator[Block]:
    """Yield frames of one molecule as blocks.

    Args:
        numbers: ``[a]`` atomic numbers.
        positions: ``[f, a, 3]`` in Å.
        values: Property to ``[f]`` or, per atom, ``[f, a, ...]``.
        index: ``[f]`` numbers of the frames in their source.

    Raises:
        DataError: Arrays that do not fit together.
    """
    n, f = len(numbers), len(index)
    wrong = [name for name, value in values.items() if value.shape not in ((f,), (f, n, 3))]
    if wrong or positions.shape != (f, n, 3):
        raise DataError(f"{', '.join(wrong) or 'positions'}: not {f} frames of {n} atoms; the file is damaged.")
    for start in range(0, f, FRAMES):
        part = slice(start, start + FRAMES)
        count = len(index[part])
        yield Block(
            index=index[part],
            n_atoms=np.full(count, n),
            numbers=np.tile(numbers, count),
            positions=np.reshape(positions[part], (-1, 3)),
            cell=np.zeros((count, 3, 3)),
            pbc=np.zeros((count, 3), bool),
            values={k: v[part] if v.ndim == 1 else v[part].reshape(-1, 3) for k, v in values.items()},
        )


@contextlib.contextmanager
def unpacked(source: Path, folder: Path, wanted: Callable[[str], object]) -> Iterator[dict[str, Path]]:
    """Give the wanted files of an archive or a folder for the time of a ``with``.

    Args:
        source: A tar archive, compressed or not, or a folder, which is searched with all below it.
        folder: Where an archive's files lie meanwhile.
        wanted: Whether the file of a name (without its folder) is needed.

    Returns:
        Name to path, sorted by name.

    Raises:
        DataError: A damaged archive.
    """
    if source.is_dir():
        found = {path.name: path for path in source.rglob("*") if path.is_file() and wanted(path.name)}
        yield dict(sorted(found.items()))
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacked-") as temporary:
        found = {}
        try:
            with tarfile.open(source, "r|*") as archive:
                for member in archive:
                    name = Path(member.name).name
                    file = archive.extractfile(member) if member.isfile() and wanted(name) else None
                    if file is not None:
                        found[name] = Path(temporary) / name
                        with open(found[name], "wb") as copy:
                            shutil.copyfileobj(file, copy, 1 << 20)
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise DataError(f"{source} cannot be unpacked ({error}); get it again or free disk space.") from None
        yield dict(sorted(found.items()))


def local(source: str, sources: str) -> Path:
    """Return the path of a source that is on this machine.

    Raises:
        DataError: It is not.
    """
    path = Path(source)
    if not path.exists():
        raise DataError(f"There is no {source!r}; source must be {sources}.")
    return path
