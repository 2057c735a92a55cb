"""Names and versions of releases: how they are written, ordered and found in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from zoo_registry.errors import ModelError, ModelNotFound
from zoo_registry.metadata import NAME_PATTERN, VERSION_PATTERN


def parse_name(model: str) -> tuple[str, str | None]:
    """Split ``arch-dataset[-variant][@version]``.

    Returns:
        The name, and the version or None.

    Raises:
        ModelNotFound: Not a name that a release can have.
    """
    name, at, version = model.partition("@")
    if not NAME_PATTERN.fullmatch(name) or (at and not VERSION_PATTERN.fullmatch(version)):
        raise ModelNotFound(
            f"{model!r} is not a model name; write lower-case words joined by '-', with a version if you "
            "like (schnet-qm9 or schnet-qm9@1.0.0), or the path of a release folder with a slash."
        )
    return name, version or None


def parse_version(version: str) -> str | None:
    """Return ``1.0.0`` for ``1.0.0`` or ``v1.0.0``, and None for what is no version."""
    version = version.removeprefix("v")
    return version if VERSION_PATTERN.fullmatch(version) else None


def version_key(version: str) -> tuple[int, ...]:
    """Return what versions are sorted by: 1.10.0 comes after 1.9.0."""
    return tuple(map(int, version.split(".")))


def newest(versions: Iterable[str]) -> str:
    """Return the highest semantic version."""
    return max(versions, key=version_key)


def versions_in(root: Path) -> dict[str, list[str]]:
    """Return the names with their versions, ascending, in a folder laid out ``<name>/<version>/``.

    Everything that is not named so, unfinished copies among it, is passed over. A folder that does not
    exist is empty.

    Raises:
        ModelError: The folder is there but cannot be read.
    """
    try:
        names = sorted(filter(NAME_PATTERN.fullmatch, os.listdir(root))) if os.path.isdir(root) else []
    except OSError as error:
        raise ModelError(f"cannot read {root} ({error}); check its permissions.") from None
    found = {
        name: [path.name for path in (root / name).glob("*/") if VERSION_PATTERN.fullmatch(path.name)] for name in names
    }
    return {name: sorted(versions, key=version_key) for name, versions in found.items() if versions}
