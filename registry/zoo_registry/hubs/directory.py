"""A hub that is a plain folder: ``<hub>/<name>/<version>/``; a network share or a mounted bucket."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit
from urllib.request import url2pathname

from zoo_registry.errors import ModelError, ModelNotFound, ReleaseInvalid
from zoo_registry.install import install
from zoo_registry.manifest import verify_manifest
from zoo_registry.release import Release
from zoo_registry.versions import versions_in


class DirectoryHub:
    """See `zoo_registry.hubs.Hub`."""

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
        target = install(
            lambda file: _open(release.path / file),
            self.root,
            release.metadata.name,
            release.metadata.version,
        )
        if verify_manifest(target) != verify_manifest(release.path):
            raise ModelError(
                f"{release} is already on hub {self.location!r} with other bytes; a version never changes, "
                "export it again with a higher version."
            )

    def _check(self) -> None:
        # A new hub is made by hand: a typing mistake or a share that is not mounted must not become one.
        if not os.path.isdir(self.root):
            raise ModelError(f"hub {self.location!r} is not a folder; check hub= or ZOO_HUB, or make it first.")


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
