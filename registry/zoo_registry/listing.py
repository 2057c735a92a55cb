"""What releases there are: in the wheel, in the cache and on a hub."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from zoo_registry import store
from zoo_registry.errors import ZooError
from zoo_registry.hubs import MAX_BYTES
from zoo_registry.metadata import Metadata
from zoo_registry.release import METADATA
from zoo_registry.versions import version_key, versions_in


@dataclass(frozen=True)
class Entry:
    """One line of `list_releases`.

    Attributes:
        name: Name of the release, or ``hf://owner/repo``.
        version: Its version.
        where: ``bundled``, ``cache`` or the location of the hub.
        metadata: Its ``zoo.json``; None where that cannot be read.
        problem: Why it cannot be read, or why it was yanked.
    """

    name: str
    version: str
    where: str
    metadata: Metadata | None
    problem: str = ""

    @property
    def description(self) -> str:
        """One sentence, and what is wrong with it."""
        return "; ".join(filter(None, [self.problem, self.metadata.description if self.metadata else ""]))

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """``"test/energy_mae"`` to ``{value, unit, n}``."""
        return self.metadata.metrics if self.metadata else {}


def list_releases(hub: str | None = None, remote: bool = False) -> list[Entry]:
    """List what is bundled, what is cached, and what a hub has; each release once, where it is nearest.

    Args:
        hub: A folder or URL, see `zoo_registry.hubs.open_hub`; by default ``$ZOO_HUB``; neither means no hub.
        remote: Only what the hub has.

    Raises:
        ModelError: The hub cannot be reached.
    """
    entries = []
    if not remote:
        entries += _entries("bundled", store.BUNDLED) + _entries("cache", store.cache_folder())
        for name, root in store.repositories().items():
            entries += [replace(entry, name=name) for entry in _entries("cache", root)]
    if remote or store.named_hub(hub):
        source = store.reach_hub(hub, "--remote")
        for name, versions in source.releases().items():
            yanked = source.yanked(name)
            for version in versions:
                entry = _entry(name, version, source.location, source.open)
                note = f"yanked: {yanked[version]}" if version in yanked else entry.problem
                entries.append(replace(entry, problem=note))
    nearest = {(entry.name, entry.version): entry for entry in reversed(entries)}
    return sorted(nearest.values(), key=lambda entry: (entry.name, version_key(entry.version)))


def _open_file(root: Path, name: str, version: str, file: str) -> BinaryIO:
    return open(root / name / version / file, "rb")


def _entries(where: str, root: Path) -> list[Entry]:
    opener = partial(_open_file, root)
    return [
        _entry(name, version, where, opener) for name, versions in versions_in(root).items() for version in versions
    ]


def _entry(name: str, version: str, where: str, opener: Callable[[str, str, str], BinaryIO]) -> Entry:
    try:
        with opener(name, version, METADATA) as stream:
            return Entry(name, version, where, Metadata.from_json(stream.read(MAX_BYTES + 1), METADATA))
    except (ZooError, OSError) as error:
        return Entry(name, version, where, None, f"cannot be read: {error}")
