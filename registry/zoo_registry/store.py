"""Finding releases: those in the wheel, then the user's cache, then a hub."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from zoo_registry.errors import ModelError, ModelNotFound, ReleaseInvalid, ZooError, close_matches
from zoo_registry.hubs import Hub, open_hub
from zoo_registry.install import install
from zoo_registry.metadata import Metadata
from zoo_registry.release import METADATA, Release, open_release
from zoo_registry.versions import newest, parse_name, version_key, versions_in

BUNDLED = Path(__file__).parent / "bundled"


@dataclass(frozen=True)
class Entry:
    """One line of `list_releases`.

    Attributes:
        name: Name of the release.
        version: Its version.
        where: ``bundled``, ``cache`` or the location of the hub.
        description: One sentence, or why its metadata cannot be read.
        metrics: ``"test/energy_mae"`` to ``{value, unit, n}``.
    """

    name: str
    version: str
    where: str
    description: str
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)


def cache_folder() -> Path:
    """Return ``$ZOO_CACHE`` or ``~/.cache/zoo``; it need not exist, and reading never writes to it."""
    return Path(os.path.expanduser(os.environ.get("ZOO_CACHE") or "~/.cache/zoo"))


def resolve(model: str, hub: str | None = None) -> Release:
    """Return the release that a user means, from this machine where it is there, else from the hub.

    Args:
        model: ``name``, ``name@version``, or the path of a release folder (a word with a slash, or a folder
            that holds ``zoo.json``). A name without version means the newest on this machine.
        hub: A folder or ``file://`` URL; by default ``$ZOO_HUB``.

    Raises:
        ModelNotFound: No such release; says what there is.
        ReleaseInvalid: Its files are not what its manifest says.
        ModelError: The hub cannot be reached or is of a kind that is not supported.
    """
    if "/" in model or os.sep in model or os.path.isfile(os.path.join(model, METADATA)):
        return _open_path(model)
    name, version = parse_name(model)
    local = _local(name)
    version = version or (newest(local) if local else None)
    if version in local:
        return open_release(local[version], f"{name}@{version}")
    if _location(hub):
        return pull(model, hub)
    if local:
        raise ModelNotFound(f"no {model} on this machine{close_matches(model, _labels(name, local))}; {_WHERE}")
    names = {n for root in (BUNDLED, cache_folder()) for n in versions_in(root)}
    raise ModelNotFound(f"no model {name!r} on this machine{close_matches(name, names)}; {_WHERE}")


def pull(model: str, hub: str | None = None) -> Release:
    """Fetch a release from a hub into the cache, and check it; one that is there already is kept.

    A cached copy that was damaged is replaced.

    Args:
        model: ``name`` (the newest on the hub) or ``name@version``.
        hub: A folder or ``file://`` URL; by default ``$ZOO_HUB``.

    Raises:
        ModelNotFound: The hub has no such release; nothing similar is fetched.
        ReleaseInvalid: What the hub gave is not what its manifest says; nothing is kept.
        ModelError: No hub named, or the hub or the cache cannot be used.
    """
    name, version = parse_name(model)
    if version is None:
        version = newest(_versions_on(_open_hub(hub), name))
    present = _local(name).get(version)
    if present:
        try:
            return open_release(present, f"{name}@{version}")
        except ReleaseInvalid:
            if present.is_relative_to(BUNDLED):
                raise
    source = _open_hub(hub)
    if version not in (versions := _versions_on(source, name)):
        wanted, there = f"{name}@{version}", _labels(name, versions)
        raise ModelNotFound(f"hub {source.location!r} has no {wanted}{close_matches(wanted, there)}")
    opener = partial(source.open, name, version)
    return open_release(install(opener, cache_folder(), name, version, repair=present is not None))


def publish(release_folder: str | Path, hub: str | None = None) -> Release:
    """Put a release on a hub, whole or not at all.

    Args:
        release_folder: The folder to publish; it is checked first.
        hub: A folder or ``file://`` URL; by default ``$ZOO_HUB``.

    Returns:
        The release that was published; the same bytes again are fine.

    Raises:
        ReleaseInvalid: The folder is not what its manifest says.
        ModelError: The version is on the hub with other bytes, or the hub cannot be written.
    """
    release = open_release(release_folder)
    _open_hub(hub).publish(release)
    return release


def list_releases(hub: str | None = None) -> list[Entry]:
    """List what is bundled, what is cached, and what a hub has; each release once, where it is nearest.

    Args:
        hub: A folder or ``file://`` URL; by default ``$ZOO_HUB``; neither means no hub.

    Raises:
        ModelError: The hub cannot be reached.
    """
    entries = [
        _entry(name, version, where, partial(_open_file, root))
        for where, root in (("bundled", BUNDLED), ("cache", cache_folder()))
        for name, versions in versions_in(root).items()
        for version in versions
    ]
    if _location(hub):
        source = _open_hub(hub)
        entries += [
            _entry(name, version, source.location, source.open)
            for name, versions in source.releases().items()
            for version in versions
        ]
    nearest = {(entry.name, entry.version): entry for entry in reversed(entries)}
    return sorted(nearest.values(), key=lambda entry: (entry.name, version_key(entry.version)))


_WHERE = "give hub=/path/of/a/hub or set ZOO_HUB to look further."


def _open_path(model: str) -> Release:
    scheme, separator, _ = model.partition("://")
    if separator:
        raise ModelError(
            f"{model!r}: models at {scheme}:// come in a later version; download the release folder and give "
            "its path, or write name[@version] with hub=/path/of/a/hub."
        )
    path = Path(os.path.expanduser(model))
    if not os.path.exists(path):
        raise ModelNotFound(f"{model!r} does not exist; give a release folder, or a name as zoo list shows it.")
    if not path.is_dir():
        raise ModelError(f"{model!r} is a file; give the release folder that holds zoo.json and manifest.json.")
    return open_release(path)


def _local(name: str) -> dict[str, Path]:
    """Versions of one name on this machine; a bundled one goes before a cached one."""
    roots = (cache_folder(), BUNDLED)
    return {version: root / name / version for root in roots for version in versions_in(root).get(name, ())}


def _location(hub: str | None) -> str | None:
    return hub or os.environ.get("ZOO_HUB")


def _open_hub(hub: str | None) -> Hub:
    location = _location(hub)
    if not location:
        raise ModelError("no hub is named; give hub=/path/of/a/hub or set ZOO_HUB.")
    return open_hub(location)


def _versions_on(hub: Hub, name: str) -> list[str]:
    releases = hub.releases()
    if name not in releases:
        raise ModelNotFound(f"hub {hub.location!r} has no model {name!r}{close_matches(name, releases)}")
    return releases[name]


def _labels(name: str, versions: dict[str, Path] | list[str]) -> list[str]:
    return [f"{name}@{version}" for version in versions]


def _open_file(root: Path, name: str, version: str, file: str) -> BinaryIO:
    return open(root / name / version / file, "rb")


def _entry(name: str, version: str, where: str, opener: Callable[[str, str, str], BinaryIO]) -> Entry:
    try:
        with opener(name, version, METADATA) as stream:
            metadata = Metadata.from_json(stream.read(), METADATA)
    except (ZooError, OSError) as error:
        return Entry(name, version, where, f"cannot be read: {error}")
    return Entry(name, version, where, metadata.description, metadata.metrics)
