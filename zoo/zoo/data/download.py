"""Downloads of published files: resumed, from several addresses, checked before they get their name."""

from __future__ import annotations

import contextlib
import hashlib
import http
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

from zoo_registry.errors import DataError

BLOCK = 1 << 20  # bytes
TIMEOUT = 60.0  # seconds without any data


@dataclass(frozen=True)
class RemoteFile:
    """A published file and what is known of its contents.

    Attributes:
        name: Name of the local copy.
        urls: Addresses, best first; all serve the same bytes.
        size: Bytes.
        sha256: Hex digest, or its first digits where no more of it is known.
        md5: Hex digest as published; enough to notice damage where no sha256 is known, not to notice malice.
    """

    name: str
    urls: tuple[str, ...]
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None

    def fetch(self, folder: str | Path) -> Path:
        """Return the local copy in ``folder``, downloaded where it is not there yet; see :func:`fetch`."""
        return fetch(self.urls, Path(folder) / self.name, size=self.size, sha256=self.sha256, md5=self.md5)

    def verify(self, path: Path) -> None:
        """Raise DataError where a local file is not this one."""
        if wrong := _wrong(path, self.size, self.sha256, self.md5):
            raise DataError(f"{path} is not {self.name}: {wrong}; delete it and download it again.")


def fetch(
    urls: Sequence[str],
    path: str | Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    md5: str | None = None,
) -> Path:
    """Download a file once.

    What has arrived is kept in ``<path>.part`` and gone on with at the next call, also from another address.
    The final name appears only when size and checksum are right.

    Args:
        urls: Addresses of the same bytes, tried in this order.
        path: Where it shall be.
        size: Expected bytes, None where unknown.
        sha256: Expected hex digest, None where unknown.
        md5: Expected hex digest, None where unknown.

    Returns:
        ``path``.

    Raises:
        DataError: A file that is there but wrong, or no address gave the right file; says what each one did.
    """
    path = Path(path)
    if path.exists():
        RemoteFile(path.name, tuple(urls), size, sha256, md5).verify(path)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    failures = []
    for url in urls:
        for _ in range(2):
            resumed = part.exists()
            try:
                _receive_all(url, part, size)
            except (OSError, http.client.HTTPException) as error:
                failures.append(f"{url}: {error}")
                break
            wrong = _wrong(part, size, sha256, md5)
            if not wrong:
                part.replace(path)
                return path
            part.unlink()
            failures.append(f"{url}: {wrong}")
            if not resumed:  # otherwise the fault may lie in the bytes from before, so once more without them
                break
    raise DataError(
        f"Could not download {path.name} ({'; '.join(failures)}). Try again later, what has arrived is kept, "
        f"or get it by other means and put it at {path}."
    )


def _receive_all(url: str, part: Path, size: int | None) -> None:
    """Bring ``part`` to the end of the file at ``url``; goes on while every connection brings some more."""
    while True:
        have = part.stat().st_size if part.exists() else 0
        if size is not None and have > size:
            part.unlink()
            have = 0
        if have == size:
            return
        try:
            return _receive(url, part, have, size)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
                raise
            part.unlink()
        except (OSError, http.client.HTTPException):
            if not part.exists() or part.stat().st_size <= have:
                raise


def _receive(url: str, part: Path, have: int, size: int | None) -> None:
    """Append what follows after the first ``have`` bytes; write everything where the server cannot resume."""
    request = urllib.request.Request(url, headers={"User-Agent": "atomzoo"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        if response.status == http.HTTPStatus.PARTIAL_CONTENT:
            if not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                raise OSError(f"asked for bytes from {have}, got {response.headers.get('Content-Range')}")
        elif response.status in (http.HTTPStatus.OK, None):  # None: a file:// address
            have = 0
        else:
            raise OSError(f"HTTP {response.status} instead of the file")
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else size
        block = response.read(BLOCK)
        if not have and block.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
            raise OSError("sent a web page instead of the file; open the address in a browser to see why")
        with open(part, "ab" if have else "wb") as file, _bar(part.stem, have, total) as advance:
            while block:
                file.write(block)
                advance(len(block))
                block = response.read(BLOCK)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and (arrived := part.stat().st_size) < total:
        raise OSError(f"connection ended after {arrived} of {total} bytes")


@contextlib.contextmanager
def _bar(name: str, have: int, total: int | None) -> Iterator[Callable[[int], None]]:
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(name, total=total, completed=have)
        yield lambda count: progress.advance(task, count)


def _wrong(path: Path, size: int | None, sha256: str | None, md5: str | None) -> str | None:
    """Return what is not as published, or None."""
    if size is not None and path.stat().st_size != size:
        return f"expected {size} bytes, got {path.stat().st_size}"
    for kind, expected in (("sha256", sha256), ("md5", md5 if sha256 is None else None)):
        if expected and not (got := _digest(path, kind)).startswith(expected):
            return f"expected {kind} {expected}, got {got}"
    return None


def _digest(path: Path, kind: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
