"""Where releases are shared: one file per kind of hub, all behind `Hub`."""

from __future__ import annotations

import json
import re
from importlib import import_module
from typing import Any, BinaryIO, Protocol

from zoo_registry.errors import HubUnreachable, ModelError, ReleaseInvalid
from zoo_registry.metadata import NAME_PATTERN, VERSION_PATTERN
from zoo_registry.release import Release

# Scheme of the location to the module whose open_hub(location) serves it; "" is a plain path, fsspec has all others.
SCHEMES = {
    "": "zoo_registry.hubs.directory",
    "file": "zoo_registry.hubs.directory",
    "http": "zoo_registry.hubs.https",
    "https": "zoo_registry.hubs.https",
    "hf": "zoo_registry.hubs.huggingface",
}
BUCKETS = "zoo_registry.hubs.bucket"
ON_THIS_MACHINE = ("", "file")
INDEX = "index.json"
YANKED = "yanked.json"
MAX_BYTES = 1 << 24
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://")


class Hub(Protocol):
    """A place of releases. What it hands out is not trusted: the caller checks every byte.

    Attributes:
        location: What the user wrote, for error texts.
        namespace: Folder of the cache that its releases go to; ``""`` where their names are enough to know them.
    """

    location: str
    namespace: str

    def releases(self) -> dict[str, list[str]]:
        """Return all names with their versions, in any order; raise `ModelError` when unreachable."""

    def open(self, name: str, version: str, file: str) -> BinaryIO:
        """Open one file of a release for reading; raise `ModelNotFound` when it is not there."""

    def revision(self, name: str, version: str) -> str | None:
        """Return the commit that holds a release, where the hub has commits."""

    def publish(self, release: Release) -> None:
        """Add a release, whole or not at all; raise `ModelError` when the version has other bytes."""

    def yanked(self, name: str) -> dict[str, str]:
        """Return the versions that should not be used any more, each with the reason."""

    def yank(self, name: str, version: str, reason: str) -> None:
        """Mark a version; its bytes stay."""


def scheme(location: str) -> str:
    """Return the scheme of a location in lower case, ``""`` for a path."""
    match = _SCHEME.match(location.lower())
    return match[1] if match else ""


def check_location(location: str) -> None:
    """Refuse what may hold a password, without repeating it.

    Raises:
        ModelError: A URL with a user name or password, or one that does not begin with a scheme.
    """
    if re.search(r"://[^/]*@", location):
        raise ModelError("a hub's URL must hold no user name and no password; give them to the client's own settings.")
    if "://" in location and not scheme(location):
        raise ModelError("a URL must begin with its scheme, such as https://, hf:// or s3://; check hub= or ZOO_HUB.")


class Reading:
    """A stream from elsewhere: whatever its client raises becomes `HubUnreachable`, and its text is not repeated."""

    def __init__(self, stream: Any, source: str) -> None:
        self._stream = stream
        self._source = source

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes."""
        try:
            content: bytes = self._stream.read(size)
        except Exception as error:  # those of all clients share no base class, and may quote credentials
            raise HubUnreachable(f"{self._source} broke off ({type(error).__name__})") from None
        return content

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_hub(location: str) -> Hub:
    """Return the hub at a location, without touching it yet.

    Args:
        location: A folder, or a URL: ``file``, ``https``, ``hf`` or what fsspec opens, such as ``s3``.

    Raises:
        ModelError: No hub of that kind, or the location is wrong.
    """
    check_location(location)
    hub: Hub = import_module(SCHEMES.get(scheme(location), BUCKETS)).open_hub(location)
    return hub


def write_index(releases: dict[str, list[str]]) -> bytes:
    """Return ``index.json``, from which a web server's copy of a folder can be listed."""
    return json.dumps({"schema": 1, "releases": releases}, indent=1, sort_keys=True).encode() + b"\n"


def read_index(document: bytes, source: str) -> dict[str, list[str]]:
    """Return the names with their versions in ``index.json``; what is not named like a release is passed over."""
    found = _document(document, source).get("releases")
    if not isinstance(found, dict) or not all(isinstance(versions, list) for versions in found.values()):
        raise ReleaseInvalid(f"{source} is not an index of releases; check hub= or ZOO_HUB.")
    named = {
        name: [v for v in versions if isinstance(v, str) and VERSION_PATTERN.fullmatch(v)]
        for name, versions in found.items()
        if NAME_PATTERN.fullmatch(name)
    }
    return {name: versions for name, versions in named.items() if versions}


def write_yanked(yanked: dict[str, str]) -> bytes:
    """Return ``yanked.json``."""
    return json.dumps({"schema": 1, "versions": yanked}, indent=1, sort_keys=True).encode() + b"\n"


def read_yanked(document: bytes, source: str) -> dict[str, str]:
    """Return the yanked versions in ``yanked.json``, each with a printable reason."""
    found = _document(document, source).get("versions")
    if not isinstance(found, dict):
        raise ReleaseInvalid(f"{source} is not a list of yanked versions; tell who keeps the hub.")
    return {version: "".join(filter(str.isprintable, str(reason)))[:500] for version, reason in found.items()}


def _document(document: bytes, source: str) -> dict:
    try:
        raw = json.loads(document)
    except (ValueError, RecursionError):
        raw = None
    if not isinstance(raw, dict) or len(document) > MAX_BYTES:
        raise ReleaseInvalid(f"{source} is not what a hub has there; check hub= or ZOO_HUB.")
    if raw.get("schema") != 1:
        raise ReleaseInvalid(f"{source} has schema {raw.get('schema')!r:.20}, this version reads 1; upgrade atomzoo.")
    return raw
