"""Finding releases: those in the wheel, then the user's cache, then a hub."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

from zoo_registry.errors import (
    HubUnreachable,
    ModelError,
    ModelNotFound,
    ReleaseInvalid,
    YankedWarning,
    close_matches,
)
from zoo_registry.hubs import ON_THIS_MACHINE, Hub, check_location, open_hub, scheme
from zoo_registry.install import Progress, check_locked, install
from zoo_registry.lock import Locked
from zoo_registry.manifest import SIGNATURE
from zoo_registry.release import METADATA, Release, open_release
from zoo_registry.versions import newest, parse_name, parse_version, versions_in

BUNDLED = Path(__file__).parent / "bundled"
OFFLINE = ("ZOO_OFFLINE", "HF_HUB_OFFLINE")
_HF = "hf://"


def cache_folder() -> Path:
    """Return ``$ZOO_CACHE`` or ``~/.cache/zoo``; it need not exist, and reading never writes to it."""
    return Path(os.path.expanduser(os.environ.get("ZOO_CACHE") or "~/.cache/zoo"))


def resolve(model: str, hub: str | None = None) -> Release:
    """Return the release that a user means, from this machine where it is there, else from the hub.

    Args:
        model: ``name``, ``name@version``, ``hf://owner/repo[@version]``, or the path of a release folder (a word
            with a slash, or a folder that holds ``zoo.json``). Without version it is the newest on this machine.
        hub: A folder or URL, see `zoo_registry.hubs.open_hub`; by default ``$ZOO_HUB``.

    Raises:
        ModelNotFound: No such release; says what there is.
        ReleaseInvalid: Its files are not what its manifest says.
        ModelError: The hub cannot be reached or is of a kind that is not supported.
    """
    check_location(model)
    if not scheme(model) and ("/" in model or os.sep in model or os.path.isfile(os.path.join(model, METADATA))):
        return _open_path(model)
    name, version, location = _parse(model, hub)
    local = _local(name) if name else {}
    if location and not local:
        local = _present(open_hub(location), name)
    version = version or (newest(local) if local else None)
    if version in local:
        return _open_local(local[version])
    if location:
        return pull(model, hub)
    if local:
        raise ModelNotFound(f"no {model} on this machine{close_matches(model, _labels(name, local))}; {_WHERE}")
    names = {n for root in (BUNDLED, cache_folder()) for n in versions_in(root)} | repositories().keys()
    raise ModelNotFound(f"no model {name!r} on this machine{close_matches(str(name), names)}; {_WHERE}")


def pull(
    model: str,
    hub: str | None = None,
    manifest_sha256: str | None = None,
    progress: Progress | None = None,
) -> Release:
    """Fetch a release from a hub into the cache, and check it; one that is there already is kept.

    A cached copy that was damaged is replaced.

    Args:
        model: ``name`` (the newest on the hub that is not yanked), ``name@version`` or ``hf://owner/repo[@version]``.
        hub: A folder or URL, see `zoo_registry.hubs.open_hub`; by default ``$ZOO_HUB``.
        manifest_sha256: What its manifest must be, where that is known from a lock file.
        progress: Is told how many bytes of how many have come.

    Raises:
        ModelNotFound: The hub has no such release; nothing similar is fetched.
        ReleaseInvalid: What the hub gave is not what its manifest says; nothing is kept.
        ModelError: No hub named, or the hub or the cache cannot be used.
    """
    name, version, location = _parse(model, hub)
    there = open_hub(location) if location else None
    release = _kept(there, name, version) if version else None
    if there and release and version and not release.trusted:
        _warn_if_yanked(there, release.metadata.name, version)
    if release is None:
        source = reach_hub(location, model)
        try:
            name, version = _choose(source, name, version)
            release = _kept(source, name, version) or _fetch(source, name, version, manifest_sha256, progress)
        except HubUnreachable as error:
            raise HubUnreachable(f"{error}; try again later with: {_command(source, model)}") from None
    check_locked(release.path, manifest_sha256)
    return release


def publish(release_folder: str | Path, hub: str | None = None) -> Release:
    """Put a release on a hub, whole or not at all.

    Args:
        release_folder: The folder to publish; it is checked first.
        hub: A folder or URL, see `zoo_registry.hubs.open_hub`; by default ``$ZOO_HUB``.

    Returns:
        The release that was published; the same bytes again are fine.

    Raises:
        ReleaseInvalid: The folder is not what its manifest says.
        ModelError: The version is on the hub with other bytes or without the signature, or the hub cannot be
            written.
    """
    release = open_release(release_folder)
    source = reach_hub(hub, str(release))
    source.publish(release)
    if (release.path / SIGNATURE).is_file():
        try:
            source.open(release.metadata.name, release.metadata.version, SIGNATURE).close()
        except ModelNotFound:
            raise ModelError(
                f"{release} is on hub {source.location!r} without signature, and stays as it is; sign the next version."
            ) from None
    return release


def yank(model: str, reason: str, hub: str | None = None) -> None:
    """Mark a version on a hub as one that nobody should start to use; its bytes stay.

    Args:
        model: ``name@version``.
        reason: What is wrong with it, in one line; whoever fetches it is told.
        hub: A folder or URL, see `zoo_registry.hubs.open_hub`; by default ``$ZOO_HUB``.

    Raises:
        ModelNotFound: The hub has no such version.
        ModelError: No version or no reason was given, or the hub cannot be written.
    """
    name, version = parse_name(model)
    if version is None or not reason.strip() or not reason.isprintable():
        raise ModelError(f"{model!r}: to yank takes name@version and a reason in one line.")
    source = reach_hub(hub, model)
    _check_there(source, name, version, _versions_on(source, name))
    source.yank(name, version, reason.strip())


def origin(model: str, release: Release, hub: str | None = None) -> tuple[str | None, str | None]:
    """Return the hub from which a release can be had again, and its commit there where the hub has commits.

    Args:
        model: What the user wrote.
        release: What `resolve` gave for it.
        hub: A folder or URL; by default ``$ZOO_HUB``.

    Raises:
        ModelError: A hub that has commits cannot be reached.
    """
    location = hub_of(model, release, hub)
    source = open_hub(location) if location else None
    if source is None or not source.namespace:
        return location, None
    _check_online(source, model)
    return location, source.revision(release.metadata.name, release.metadata.version)


def hub_of(model: str, release: Release, hub: str | None = None) -> str | None:
    """Return the hub from which a release can be had again, without asking it; None for one that is bundled.

    Args:
        model: What the user wrote.
        release: What `resolve` gave for it.
        hub: A folder or URL; by default ``$ZOO_HUB``.

    Raises:
        ModelError: The location of the hub is wrong.
    """
    location = None if not scheme(model) and "/" in model else _parse(model, hub)[2]
    return open_hub(location).location if location and not release.trusted else None


def pull_locked(line: Locked, hub: str | None = None, progress: Progress | None = None) -> Release:
    """Fetch exactly what a line of a lock file says; what came from no hub is looked for on this machine first.

    Args:
        line: The line.
        hub: A folder or URL; by default that of the line, else ``$ZOO_HUB``.
        progress: Is told how many bytes of how many have come.

    Raises:
        ModelError: See `pull`; a release with other bytes is refused.
    """
    here = _kept(None, line.name, line.version) if not (hub or line.hub) else None
    if here is None:
        return pull(f"{line.name}@{line.version}", hub or line.hub, line.manifest, progress)
    check_locked(here.path, line.manifest)
    return here


_WHERE = "give hub=/path/of/a/hub or set ZOO_HUB to look further."


def _parse(model: str, hub: str | None) -> tuple[str | None, str | None, str | None]:
    """Return name, version and hub that a user's words mean; the name of a repository is not known yet."""
    check_location(model)
    if not scheme(model):
        return *parse_name(model), named_hub(hub)
    if not model.lower().startswith(_HF):
        raise ModelError(
            f"a model at {scheme(model)}:// is written name[@version] with hub={scheme(model)}://...; only hf:// "
            "addresses name a model by themselves."
        )
    repository, at, version = model.partition("@")
    open_hub(repository)  # refuses what is no repository, without repeating it: it may hold a token
    if at and not parse_version(version):
        raise ModelNotFound(
            f"{repository.partition(':')[0]}://owner/repo@... needs a version such as 1.0.0 or v1.0.0 after the '@'."
        )
    return None, parse_version(version), repository


def _open_path(model: str) -> Release:
    path = Path(os.path.expanduser(model))
    if not os.path.exists(path):
        raise ModelNotFound(f"{model!r} does not exist; give a release folder, or a name as zoo list shows it.")
    if not path.is_dir():
        raise ModelError(f"{model!r} is a file; give the release folder that holds zoo.json and manifest.json.")
    return open_release(path)


def _open_local(path: Path) -> Release:
    release = open_release(path, f"{path.parent.name}@{path.name}")
    return replace(release, trusted=path.is_relative_to(BUNDLED))


def _kept(source: Hub | None, name: str | None, version: str) -> Release | None:
    """Return a release that is on this machine and not damaged."""
    path = _present(source, name).get(version)
    try:
        return _open_local(path) if path else None
    except ReleaseInvalid:
        if path and path.is_relative_to(BUNDLED):
            raise
        return None


def _fetch(source: Hub, name: str, version: str, manifest_sha256: str | None, progress: Progress | None) -> Release:
    path = install(
        partial(source.open, name, version),
        cache_folder() / source.namespace,
        name,
        version,
        repair=version in _present(source, name),
        manifest_sha256=manifest_sha256,
        progress=progress,
    )
    return _open_local(path)


def _local(name: str) -> dict[str, Path]:
    """Versions of one name on this machine; a bundled one goes before a cached one."""
    roots = (cache_folder(), BUNDLED)
    return {version: root / name / version for root in roots for version in versions_in(root).get(name, ())}


def _present(source: Hub | None, name: str | None) -> dict[str, Path]:
    """Versions on this machine of what a hub means by a name: a repository of Hugging Face has a cache of its own."""
    if source is None or not source.namespace:
        return _local(name) if name else {}
    root = cache_folder() / source.namespace
    return {v: root / n / v for n, versions in versions_in(root).items() if name in (None, n) for v in versions}


def repositories() -> dict[str, Path]:
    """Return the folders of the cache that hold repositories of Hugging Face, named as users write them."""
    return {_HF + "/".join(path.parts[-2:]): path for path in (cache_folder() / "_hf").glob("*/*/")}


def named_hub(hub: str | None) -> str | None:
    """Return the hub that was named, or ``$ZOO_HUB``."""
    return hub or os.environ.get("ZOO_HUB")


def reach_hub(hub: str | None, model: str) -> Hub:
    """Return a hub that is about to be asked for a model.

    Raises:
        ModelError: None is named, or it is remote and the user has switched the network off.
    """
    location = named_hub(hub)
    if not location:
        raise ModelError("no hub is named; give hub=/path/of/a/hub or set ZOO_HUB.")
    source = open_hub(location)
    _check_online(source, model)
    return source


def _check_online(source: Hub, model: str) -> None:
    switch = next((name for name in OFFLINE if os.environ.get(name, "0").lower() not in ("", "0", "false", "no")), None)
    if switch and scheme(source.location) not in ON_THIS_MACHINE:
        raise ModelError(
            f"{model} is not on this machine and {switch} is set; with a network: {_command(source, model)} "
            "(or zoo bundle there and zoo import here)."
        )


def _command(source: Hub, model: str) -> str:
    return f"zoo pull {model}" + ("" if scheme(model) else f" hub={source.location}")


def _choose(source: Hub, name: str | None, version: str | None) -> tuple[str, str]:
    """Return the name and version to fetch; a yanked version comes only to who asks for it, and not silently."""
    if name is None:
        name = next(iter(source.releases()), None)
        if name is None:
            raise ModelNotFound(f"hub {source.location!r} holds no release.")
    versions = _versions_on(source, name)
    yanked = source.yanked(name)
    if version is None:
        if not (good := [v for v in versions if v not in yanked]):
            reasons = "; ".join(f"{name}@{v}: {yanked[v]}" for v in versions)
            raise ModelNotFound(f"hub {source.location!r}: all versions of {name} were yanked ({reasons}).")
        version = newest(good)
        _warn_of_cached(source, name, version, yanked)
    _check_there(source, name, version, versions)
    if version in yanked:
        _warn(f"{name}@{version} was yanked: {yanked[version]}")
    return name, version


def _warn_of_cached(source: Hub, name: str, version: str, yanked: dict[str, str]) -> None:
    """Tell that a name without version goes on to mean a yanked version, since that is the newest here."""
    here = _present(source, name)
    latest = newest([*here, version])
    if latest in yanked and latest in here:
        where = source.location if source.namespace else name
        _warn(
            f"{name}@{latest} was yanked: {yanked[latest]}; {where} without version still means it on this machine, "
            f"write {where}@{version} or remove {here[latest]}"
        )


def _warn_if_yanked(source: Hub, name: str, version: str) -> None:
    """Tell the reason when the hub can be asked; a copy on this machine needs no hub."""
    try:
        _check_online(source, name)
        reason = source.yanked(name).get(version)
    except ModelError:
        return
    if reason is not None:
        _warn(f"{name}@{version} was yanked: {reason}")


def _warn(text: str) -> None:
    warnings.warn(text, YankedWarning, stacklevel=4)


def _versions_on(hub: Hub, name: str) -> list[str]:
    releases = hub.releases()
    if name not in releases:
        raise ModelNotFound(f"hub {hub.location!r} has no model {name!r}{close_matches(name, releases)}")
    return releases[name]


def _check_there(hub: Hub, name: str, version: str, versions: list[str]) -> None:
    if version not in versions:
        wanted = f"{name}@{version}"
        raise ModelNotFound(f"hub {hub.location!r} has no {wanted}{close_matches(wanted, _labels(name, versions))}")


def _labels(name: str | None, versions: dict[str, Path] | list[str]) -> list[str]:
    return [f"{name}@{version}" for version in versions]
