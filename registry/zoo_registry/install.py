"""Copying a release whole or not at all: a private folder first, then one rename."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from zoo_registry.errors import ModelError, ModelNotFound, ReleaseInvalid
from zoo_registry.manifest import MANIFEST, MAX_BYTES, SIGNATURE, check_same, parse_manifest
from zoo_registry.release import open_release

Source = Callable[[str], BinaryIO]
Progress = Callable[[int, int], None]
"""Told the bytes that have come and the bytes that will, in all files of a release."""

# The leading dot keeps it from ever being taken for a release.
_PARTIAL = ".partial-"
_ONE_DAY = 86400.0
_CHUNK = 1 << 20


def install(
    source: Source,
    root: Path,
    name: str,
    version: str,
    repair: bool = False,
    manifest_sha256: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Copy a release to ``root/name/version``; a process that dies half-way leaves nothing there.

    The copy is made in a folder of its own inside ``root`` (so that the rename stays on one file system),
    checked against its manifest, flushed to disk and renamed. Where another process was faster, its copy
    stays: a version has only one content.

    Args:
        source: Opens a file of the release by name; what it gives is not trusted.
        root: The cache or hub to copy into.
        name: Name that the release must have.
        version: Version that it must have.
        repair: Replace what is there already where it is damaged.
        manifest_sha256: What its manifest must be, where that is known.
        progress: Is told how far the copy is.

    Returns:
        The folder of the release.

    Raises:
        ReleaseInvalid: What came is not what its manifest says, or another model; nothing is kept.
        ModelError: The copy could not be read or written, or the version is there already with other bytes.
    """
    target = root / name / version
    partial = root / f"{_PARTIAL}{uuid.uuid4().hex}"
    try:
        if target.is_dir() and not (repair and _damaged(target)):
            _check_same(source, target)
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(root)
        partial.mkdir()
        _copy(source, partial, progress or (lambda done, total: None))
        check_locked(partial, manifest_sha256)
        open_release(partial, f"{name}@{version}")
        if repair and _damaged(target):  # still: another process may have been faster, and others read its copy
            move_aside(target, root)
        if not _rename(partial, target):
            _check_same(source, target)
    except ReleaseInvalid as error:
        raise ReleaseInvalid(str(error).replace(str(partial), f"{name}@{version} as it was sent")) from None
    except OSError as error:
        raise ModelError(
            f"cannot copy to {target} ({error}); check the connection, make room there or name another folder "
            "(ZOO_CACHE or hub=)."
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _damaged(target: Path) -> bool:
    try:
        open_release(target, f"{target.parent.name}@{target.name}")
    except ReleaseInvalid:
        return True
    return False


def check_locked(folder: Path, manifest_sha256: str | None) -> None:
    """Compare a release with the manifest that was written down for it.

    Raises:
        ReleaseInvalid: It has another one.
    """
    got = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    if manifest_sha256 not in (None, got):
        raise ReleaseInvalid(f"{folder}: expected {MANIFEST} with sha256 {manifest_sha256}, got {got}; not used.")


def _check_same(source: Source, target: Path) -> None:
    with source(MANIFEST) as stream:
        label = f"{target.parent.name}@{target.name}"
        check_same(stream, (target / MANIFEST).read_bytes(), label, str(target.parents[1]))


def _copy(source: Source, folder: Path, progress: Progress) -> None:
    with source(MANIFEST) as stream:
        document = stream.read(MAX_BYTES + 1)
    files = parse_manifest(document, f"{folder / MANIFEST}")
    _write(folder / MANIFEST, [document])
    total = sum(expected["size"] for expected in files.values())
    done = 0
    for name, expected in files.items():
        with source(name) as stream:
            _write(folder / name, _chunks(stream, name, expected["size"]))
        done += expected["size"]
        progress(done, total)
    with contextlib.suppress(ModelNotFound), source(SIGNATURE) as stream:
        _write(folder / SIGNATURE, [stream.read(MAX_BYTES)])
    _flush(folder)


def _chunks(stream: BinaryIO, name: str, size: int) -> Iterator[bytes]:
    """Never take more than the manifest announces, so that no source can fill the disk."""
    came = 0
    while chunk := stream.read(_CHUNK):
        came += len(chunk)
        if came > size:
            raise ReleaseInvalid(f"{name} is {came - size} or more bytes longer than its manifest says; not copied.")
        yield chunk


def _write(path: Path, chunks: Iterable[bytes]) -> None:
    with open(path, "xb") as stream:
        stream.writelines(chunks)
        stream.flush()
        os.fsync(stream.fileno())


def _rename(partial: Path, target: Path) -> bool:
    """Return False where another process was faster."""
    try:
        os.rename(partial, target)
    except OSError:
        if not target.is_dir():
            raise
        return False
    _flush(target.parent)
    return True


def move_aside(target: Path, root: Path) -> None:
    """Remove a release in one step for those who look for it, so that none is ever seen half gone."""
    aside = root / f"{_PARTIAL}{uuid.uuid4().hex}"
    with contextlib.suppress(FileNotFoundError):
        os.rename(target, aside)
    shutil.rmtree(aside, ignore_errors=True)


def remove_abandoned(root: Path) -> None:
    """Remove what killed processes left; a younger folder may belong to one that is at work."""
    for path in root.glob(f"{_PARTIAL}*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _ONE_DAY:
                shutil.rmtree(path, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Make the names in a folder durable; some systems cannot open folders, and need not."""
    with contextlib.suppress(PermissionError, NotADirectoryError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
