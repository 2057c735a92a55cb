"""``manifest.json``: size and sha256 of every file of a release, checked at every load."""

from __future__ import annotations

import hashlib
import json
import re
import stat
from pathlib import Path
from typing import Any, BinaryIO

from zoo_registry.errors import ModelError, ReleaseInvalid

MANIFEST = "manifest.json"
SIGNATURE = "model.sig"
SCHEMA = 1
FETCH_AGAIN = "fetch the release again (zoo pull NAME@VERSION)"
MAX_BYTES = 1 << 20
"""A manifest above 1 MiB is not one of ours."""

PICKLES = (".pkl", ".pickle", ".pth", ".ckpt", ".joblib", ".dill")

# No separators, no leading dot or dash, ASCII only: the same name on every file system.
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def write_manifest(folder: str | Path) -> Path:
    """Write ``manifest.json`` over every file that is in a release folder now.

    Args:
        folder: The release folder; it must be flat and hold ordinary files only.

    Returns:
        Path of the manifest.

    Raises:
        ReleaseInvalid: The folder is missing, or holds a link, a subfolder or an unportable name.
    """
    folder = Path(folder)
    files = {n: {"size": _size(folder / n), "sha256": _sha256(folder / n)} for n in _listing(folder)}
    _check_names(list(files), str(folder))
    path = folder / MANIFEST
    path.write_text(json.dumps({"schema": SCHEMA, "files": files}, indent=2, sort_keys=True) + "\n")
    return path


def verify_manifest(folder: str | Path) -> dict[str, dict[str, Any]]:
    """Check that a release folder holds exactly the files of its manifest, byte for byte.

    Args:
        folder: The release folder.

    Returns:
        File name to ``{"size": bytes, "sha256": hexadecimal}``.

    Raises:
        ReleaseInvalid: A file is missing, extra, truncated or changed, or the manifest is not one.
    """
    folder = Path(folder)
    present = _listing(folder)
    if not (folder / MANIFEST).is_file():
        raise ReleaseInvalid(f"{folder} has no {MANIFEST}; a release is a folder with one, {FETCH_AGAIN}.")
    with open(folder / MANIFEST, "rb") as stream:
        files = parse_manifest(stream.read(MAX_BYTES + 1), str(folder / MANIFEST))
    if missing := sorted(files.keys() - present):
        raise ReleaseInvalid(f"{folder} lacks {', '.join(missing)} of its manifest; {FETCH_AGAIN}.")
    if extra := sorted(present - files.keys()):
        raise ReleaseInvalid(f"{folder} has {', '.join(extra)}, not in its manifest; remove what you added.")
    for name, expected in files.items():
        check_file(folder / name, expected)
    return files


def check_file(path: Path, expected: dict[str, Any]) -> None:
    """Compare one file with its line of the manifest.

    Raises:
        ReleaseInvalid: Size or sha256 differ; names the file, what was expected and what is there.
    """
    if (size := _size(path)) != expected["size"]:
        raise ReleaseInvalid(f"{path}: expected {expected['size']} bytes, got {size}; {FETCH_AGAIN}.")
    if (digest := _sha256(path)) != expected["sha256"]:
        raise ReleaseInvalid(f"{path}: expected sha256 {expected['sha256']}, got {digest}; {FETCH_AGAIN}.")


def check_same(stream: BinaryIO, manifest: bytes, release: str, where: str) -> None:
    """Check that a version which is somewhere already is the same, to the byte.

    Args:
        stream: The manifest that is offered for it.
        manifest: The manifest that it has.
        release: ``name@version``.
        where: Where it is already.

    Raises:
        ModelError: It has other bytes.
    """
    if stream.read(len(manifest) + 1) != manifest:
        raise ModelError(
            f"{release} is already in {where} with other bytes; a version never changes, export it again with a "
            "higher version."
        )


def parse_manifest(document: bytes, source: str) -> dict[str, dict[str, Any]]:
    """Read a manifest that may come from anywhere.

    Args:
        document: Its bytes.
        source: Where they came from, for the error text.

    Returns:
        File name to ``{"size": bytes, "sha256": hexadecimal}``; every name is safe to write to.

    Raises:
        ReleaseInvalid: Not a manifest, a newer schema, or a name that could leave the folder.
    """
    if len(document) > MAX_BYTES:
        raise ReleaseInvalid(f"{source} is above {MAX_BYTES} bytes; this is no manifest, {FETCH_AGAIN}.")
    try:
        raw = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise ReleaseInvalid(f"{source} is not valid JSON ({error}); {FETCH_AGAIN}.") from None
    schema = raw.get("schema") if isinstance(raw, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise ReleaseInvalid(f"{source} has schema {schema}, this version reads {SCHEMA}; upgrade atomzoo.")
    files = raw.get("files") if isinstance(raw, dict) else None
    if schema == SCHEMA and type(schema) is int and isinstance(files, dict) and all(map(_is_line, files.values())):
        _check_names(list(files), source)
        return files
    raise ReleaseInvalid(f"{source} is not a manifest of schema {SCHEMA}; {FETCH_AGAIN}.")


def _is_line(line: object) -> bool:
    if not isinstance(line, dict) or line.keys() != {"size", "sha256"}:
        return False
    size, sha256 = line["size"], line["sha256"]
    return type(size) is int and size >= 0 and isinstance(sha256, str) and bool(_SHA256.fullmatch(sha256))


def _check_names(names: list[str], source: str) -> None:
    if pickles := sorted(n for n in names if n.lower().endswith(PICKLES)):
        raise ReleaseInvalid(f"{source} lists {pickles[0]}, a pickle, which runs code when opened; a release has none.")
    reserved = {MANIFEST, SIGNATURE}
    if bad := sorted(n for n in names if not _FILE_NAME.fullmatch(n) or n in reserved):
        raise ReleaseInvalid(f"{source} lists the file name {bad[0]!r}; allowed are letters, digits, '.', '_' and '-'.")
    if len({n.lower() for n in names}) != len(names):
        raise ReleaseInvalid(f"{source} lists file names that differ only in upper and lower case.")


def _listing(folder: Path) -> set[str]:
    """Names of the files that a manifest must cover; refuses everything that is not an ordinary file."""
    if not folder.is_dir():
        raise ReleaseInvalid(f"{folder} is not a folder; a release is a folder with a {MANIFEST}.")
    for path in folder.iterdir():
        if not stat.S_ISREG(path.lstat().st_mode):
            raise ReleaseInvalid(f"{path} is not an ordinary file; a release holds no links and no folders.")
    return {path.name for path in folder.iterdir()} - {MANIFEST, SIGNATURE}


def _size(path: Path) -> int:
    return path.stat().st_size


def _sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
