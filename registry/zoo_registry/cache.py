"""What the cache holds, and making room in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zoo_registry.errors import ModelError
from zoo_registry.install import move_aside, remove_abandoned
from zoo_registry.store import cache_folder, repositories
from zoo_registry.versions import newest, versions_in


@dataclass(frozen=True)
class Cached:
    """One release in the cache.

    Attributes:
        label: ``name@version`` or ``hf://owner/repo@version``.
        path: Its folder.
        size: Bytes.
        newest: Whether it is the newest of its name, which a name without version means.
    """

    label: str
    path: Path
    size: int
    newest: bool


def contents() -> list[Cached]:
    """Return the releases in the cache; nothing is checked and nothing written."""
    found = []
    for repository, root in {"": cache_folder(), **repositories()}.items():
        for name, versions in versions_in(root).items():
            for version in versions:
                folder = root / name / version
                size = sum(path.lstat().st_size for path in folder.iterdir())
                found.append(Cached(f"{repository or name}@{version}", folder, size, version == newest(versions)))
    return found


def prune() -> list[Cached]:
    """Remove all versions but the newest of each name, and what killed copies left.

    Returns:
        What was removed.

    Raises:
        ModelError: The cache cannot be written.
    """
    root = cache_folder()
    old = [release for release in contents() if not release.newest]
    try:
        for place in (root, *repositories().values()):
            remove_abandoned(place)
        for release in old:
            move_aside(release.path, root)
    except OSError as error:
        raise ModelError(f"cannot remove from {root} ({error}); check its permissions.") from None
    return old
