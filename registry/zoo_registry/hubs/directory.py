"""A hub that is a plain folder: ``<hub>/<name>/<version>/``; a network share or a mounted bucket."""

from __future__ import annotations

import os
import stat
import uuid
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit
from urllib.request import url2pathname

from zoo_registry.errors import ModelError, ModelNotFound, ReleaseInvalid
from zoo_registry.hubs import INDEX, MAX_BYTES, YANKED, read_yanked, write_index, write_yanked
from zoo_registry.install import install
from zoo_registry.release import Release
from zoo_registry.versions import versions_in


class DirectoryHub:
    """See `zoo_registry.hubs.Hub`."""

    namespace = ""

    def __init__(self, root: Path, location: str) -> None:
        self.root = root
        self.location = location

    def releases(self) -> dict[str, list[str]]:
        """Return all names with their versions."""
        self._check()
        return versions_in(self.root)

    def open(self, name: str, version: str, file: str) -> BinaryIO:
        """Open one file of a release for reading."""
        return _open(self.root / name / version / file)

    def publish(self, release: Release) -> None:
        """Add a release; the same bytes again are fine, other bytes are refused."""
        self._check()
        install(lambda file: _open(release.path / file), self.root, release.metadata.name, release.metadata.version)
        listed: dict[str, list[str]] = {}
        while (releases := versions_in(self.root)) != listed:  # somebody may publish meanwhile
            _replace(self.root / INDEX, write_index(releases))
            listed = releases

    def revision(self, name: str, version: str) -> None:
        """Return None: a folder has no commits."""

    def yanked(self, name: str) -> dict[str, str]:
        """Return the versions that should not be used any more, each with the reason."""
        try:
            with _open(self.root / name / YANKED) as stream:
                return read_yanked(stream.read(MAX_BYTES + 1), str(self.root / name / YANKED))
        except ModelNotFound:
            return {}

    def yank(self, name: str, version: str, reason: str) -> None:
        """Mark a version; its bytes stay."""
        _replace(self.root / name / YANKED, write_yanked(self.yanked(name) | {version: reason}))

    def _check(self) -> None:
        # A new hub is made by hand: a typing mistake or a share that is not mounted must not become one.
        if not os.path.isdir(self.root):
            raise ModelError(f"hub {self.location!r} is not a folder; check hub= or ZOO_HUB, or make it first.")


def _replace(path: Path, content: bytes) -> None:
    """Write a file that readers see whole, old or new."""
    new = path.with_name(f".partial-{uuid.uuid4().hex}")
    try:
        new.write_bytes(content)
        os.replace(new, path)
    except OSError as error:
        raise ModelError(f"cannot write {path} ({error}); check its permissions.") from None
    finally:
        new.unlink(missing_ok=True)


def open_hub(location: str) -> DirectoryHub:
    """Return the hub of a folder or ``file://`` URL.

    Raises:
        ModelError: A URL that names another host.
    """
    if "://" not in location:
        return DirectoryHub(Path(os.path.expanduser(location)), location)
    parts = urlsplit(location)
    if parts.netloc not in ("", "localhost") or not parts.path:
        raise ModelError(f"hub {location!r} must be file:///path, with three slashes.")
    return DirectoryHub(Path(url2pathname(parts.path)), location)


def _open(path: Path) -> BinaryIO:
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise ReleaseInvalid(f"{path} is not an ordinary file; a release holds no links and no folders.")
        return open(path, "rb")
    except FileNotFoundError:
        raise ModelNotFound(f"{path} is not there; the release on the hub is not whole.") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error}); check its permissions.") from None
