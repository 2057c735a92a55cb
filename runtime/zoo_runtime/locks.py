"""One process at a time on a file that grows."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from zoo_registry.errors import UsageError


@contextmanager
def locked(path: Path, option: str) -> Iterator[None]:
    """Keep other processes from writing a file; the lock goes with this process, however it ends.

    Args:
        path: The file.
        option: Of the command line, for the error.

    Raises:
        UsageError: Another process has it.
        OSError: No file can be made there.
    """
    from filelock import FileLock, Timeout

    if not path.parent.is_dir():  # filelock would make it
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path.parent)
    place = path.with_name(f".{path.name}.lock")
    lock = FileLock(place, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise UsageError(f"{option}={path} is being written by another process; wait, or choose another.") from None
    try:
        yield
    finally:
        with suppress(OSError):  # Windows keeps a file that is open
            place.unlink()
        lock.release()
