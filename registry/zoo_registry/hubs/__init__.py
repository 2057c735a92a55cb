"""Where releases are shared: one file per kind of hub, all behind `Hub`."""

from __future__ import annotations

from importlib import import_module
from typing import BinaryIO, Protocol

from zoo_registry.errors import ModelError
from zoo_registry.release import Release

# Scheme of the location to the module whose open_hub(location) serves it; "" is a plain path.
SCHEMES = {"": "zoo_registry.hubs.directory", "file": "zoo_registry.hubs.directory"}


class Hub(Protocol):
    """A place of releases. What it hands out is not trusted: the caller checks every byte.

    Attributes:
        location: What the user wrote, for error texts.
    """

    location: str

    def releases(self) -> dict[str, list[str]]:
        """Return all names with their versions, in any order; raise `ModelError` when unreachable."""

    def open(self, name: str, version: str, file: str) -> BinaryIO:
        """Open one file of a release for reading; raise `ModelNotFound` when it is not there."""

    def publish(self, release: Release) -> None:
        """Add a release, whole or not at all; raise `ModelError` when the version has other bytes."""


def open_hub(location: str) -> Hub:
    """Return the hub at a location.

    Args:
        location: A folder or a ``file://`` URL.

    Raises:
        ModelError: No hub of that kind in this version, or the location is wrong.
    """
    scheme = location.split("://")[0].lower() if "://" in location else ""
    if scheme not in SCHEMES:
        raise ModelError(
            f"{location!r}: {scheme}:// comes in a later version; download the release folder "
            "and give its path, or use a hub that is a folder (hub=/path or hub=file:///path)."
        )
    hub: Hub = import_module(SCHEMES[scheme]).open_hub(location)
    return hub
