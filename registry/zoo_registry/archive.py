"""Releases in one file, for machines without a network: an uncompressed tar that is read, and never unpacked."""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from zoo_registry.errors import ModelNotFound, ReleaseInvalid, UsageError
from zoo_registry.hubs.huggingface import NAMESPACE, REPOSITORY
from zoo_registry.install import install
from zoo_registry.metadata import NAME_PATTERN, VERSION_PATTERN
from zoo_registry.release import Release, open_release

MAX_MEMBERS = 10_000
_CHUNK = 1 << 20


def write_archive(path: str | Path, releases: Iterable[tuple[str, Release]]) -> None:
    """Write releases into one file; the same releases give the same bytes.

    Args:
        path: The file; it must not exist.
        releases: Each with the namespace that it has in the cache; one that is named twice is written once.

    Raises:
        UsageError: The file exists or cannot be written.
    """
    folders = {PurePosixPath(space, r.metadata.name, r.metadata.version): r for space, r in releases}
    part = Path(f"{path}.part")
    try:
        if Path(path).exists():
            raise FileExistsError("it exists")
        with open(part, "wb") as stream, tarfile.open(fileobj=stream, mode="w") as archive:
            for folder, release in folders.items():
                for file in sorted(release.path.iterdir()):
                    content = file.read_bytes()
                    member = tarfile.TarInfo(str(folder / file.name))
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
        part.rename(path)
    except OSError as error:
        raise UsageError(f"cannot write {path} ({error}); give another output=.") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def read_archive(path: str | Path, cache: Path) -> list[Release]:
    """Install the releases of an archive, each whole or not at all.

    Args:
        path: A file that `write_archive` wrote; it is not trusted.
        cache: Folder to install into.

    Returns:
        The releases.

    Raises:
        UsageError: No such file.
        ReleaseInvalid: It holds anything but releases, or one that is not what its manifest says.
        ModelError: A version is in the cache with other bytes.
    """
    try:
        with tarfile.open(path, mode="r:") as archive:
            return [_install(archive, members, folder, cache) for folder, members in _folders(archive).items()]
    except OSError as error:
        raise UsageError(f"cannot read {path} ({error}).") from None
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise ReleaseInvalid(f"{path} is not an archive of zoo bundle ({error}); copy it again.") from None


def _folders(archive: tarfile.TarFile) -> dict[PurePosixPath, dict[str, tarfile.TarInfo]]:
    """Sort the members by release; anything that `write_archive` would not write is refused."""
    folders: dict[PurePosixPath, dict[str, tarfile.TarInfo]] = {}
    end = 0
    for count, member in enumerate(archive):
        end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        path = PurePosixPath(member.name)
        plain = member.isreg() and not member.issparse() and _is_release(path.parent, member.name)
        twice = folders.setdefault(path.parent, {}).setdefault(path.name, member) is not member
        if count >= MAX_MEMBERS or not plain or twice:
            raise ReleaseInvalid(
                f"the archive holds {member.name!r:.200}, which is no file of a release; not imported."
            )
    if not folders:
        raise ReleaseInvalid("the archive holds no release; not imported.")
    _check_end(archive, end)
    return folders


def _check_end(archive: tarfile.TarFile, end: int) -> None:
    """Refuse an archive that goes on or stops after its last member: tarfile takes damage for the end."""
    stream = archive.fileobj
    if stream is None:
        raise ReleaseInvalid("the archive is closed; not imported.")
    stream.seek(end)
    length = 0
    while chunk := stream.read(_CHUNK):
        length += len(chunk)
        if chunk.strip(b"\0"):
            raise ReleaseInvalid(f"the archive is damaged after byte {end}; copy it again, nothing was imported.")
    if length < 2 * tarfile.BLOCKSIZE:
        raise ReleaseInvalid(f"the archive stops at byte {end + length}; copy it again, nothing was imported.")


def _is_release(folder: PurePosixPath, member: str) -> bool:
    *namespace, name, version = folder.parts if len(folder.parts) > 1 else ("", "")
    if member.split("/")[:-1] != list(folder.parts) or not NAME_PATTERN.fullmatch(name):
        return False
    if namespace and (namespace[0] != NAMESPACE or not REPOSITORY.fullmatch("/".join(namespace[1:]))):
        return False
    return bool(VERSION_PATTERN.fullmatch(version)) and ".." not in namespace


def _install(
    archive: tarfile.TarFile, members: dict[str, tarfile.TarInfo], folder: PurePosixPath, cache: Path
) -> Release:
    def source(file: str) -> BinaryIO:
        stream = archive.extractfile(members[file]) if file in members else None
        if stream is None:
            raise ModelNotFound(f"the archive lacks {folder / file}; the release in it is not whole.")
        return stream  # type: ignore[return-value]

    *namespace, name, version = folder.parts
    return open_release(install(source, cache.joinpath(*namespace), name, version))


def namespace_of(release: Release, cache: Path) -> str:
    """Return the namespace that a release has in a cache, ``""`` for one that is elsewhere."""
    try:
        return release.path.parents[1].relative_to(cache).as_posix().removeprefix(".")
    except (ValueError, IndexError):
        return ""
