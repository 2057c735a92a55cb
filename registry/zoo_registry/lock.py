"""``zoo.lock``: which releases an environment uses, down to the byte."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from zoo_registry.errors import ModelError, UsageError
from zoo_registry.manifest import MANIFEST, verify_manifest
from zoo_registry.metadata import NAME_PATTERN, VERSION_PATTERN
from zoo_registry.release import Release

SCHEMA = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Locked:
    """One line of a lock file.

    Attributes:
        name: Name of the release.
        version: Its version.
        hub: Where it can be had, if not from the wheel.
        revision: Commit on the hub, where that has commits.
        manifest: sha256 of its manifest, and so of everything in it.
        files: File name to sha256, for people and for other tools.
    """

    name: str
    version: str
    hub: str | None
    revision: str | None
    manifest: str
    files: dict[str, str]


def describe(release: Release, hub: str | None, revision: str | None) -> Locked:
    """Return the line of a release."""
    files = {name: facts["sha256"] for name, facts in verify_manifest(release.path).items()}
    digest = hashlib.sha256((release.path / MANIFEST).read_bytes()).hexdigest()
    return Locked(release.metadata.name, release.metadata.version, hub, revision, digest, files)


def write_lock(path: str | Path, lines: list[Locked]) -> None:
    """Write a lock file."""
    document = {"schema": SCHEMA, "releases": [asdict(line) for line in lines]}
    try:
        Path(path).write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path} ({error}).") from None


def read_lock(path: str | Path) -> list[Locked]:
    """Read a lock file.

    Raises:
        UsageError: No such file.
        ModelError: Not a lock file, or a newer one.
    """
    try:
        raw = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {path} ({error}); write it with zoo lock MODEL.") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not a lock file ({error}); write it again with zoo lock MODEL.") from None
    if isinstance(raw, dict) and isinstance(raw.get("schema"), int) and raw["schema"] > SCHEMA:
        raise ModelError(f"{path} has schema {raw['schema']}, this version reads {SCHEMA}; upgrade atomzoo.")
    try:
        lines = [Locked(**line) for line in raw["releases"]]
        good = all(map(_is_line, lines))
    except (TypeError, KeyError, AttributeError):
        good = False
    if not good:
        raise ModelError(f"{path} is not a lock file of schema {SCHEMA}; write it again with zoo lock MODEL.")
    return lines


def _is_line(line: Locked) -> bool:
    places = (line.hub, line.revision)
    return (
        bool(NAME_PATTERN.fullmatch(line.name) and VERSION_PATTERN.fullmatch(line.version))
        and all(place is None or (isinstance(place, str) and place.isprintable()) for place in places)
        and all(_SHA256.fullmatch(digest) for digest in (line.manifest, *line.files.values()))
    )
