"""Files that are whole, or not there."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path beside a file that takes the file's place at the end; after an error it is removed.

    One process at a time: what a killed one left behind is written over by the next.

    Raises:
        OSError: The file cannot be written.
    """
    part = path.with_name(f".part-{path.name}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
