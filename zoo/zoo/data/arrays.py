"""Folders of ``.npy`` files that are written as streams and become visible only when they are complete."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from zoo_registry.errors import DataError

SCHEMA = 1


def unfinished(path: Path) -> Path:
    """Return a name beside ``path`` that nobody else uses, for what is not complete yet."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}")


class NpyStream:
    """An ``.npy`` file that grows along its first axis, hashed as it is written."""

    def __init__(self, path: Path, dtype: str, shape: tuple[int, ...] = ()):
        self.dtype, self.shape, self.rows = np.dtype(dtype), shape, 0
        self._file = open(path, "wb")  # noqa: SIM115 - closed by close()
        self._hash = hashlib.sha256(f"{self.dtype.str}{list(shape)}".encode())
        self._header = self._file.write(self._make_header())

    def _make_header(self) -> bytes:
        buffer = io.BytesIO()
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.rows, *self.shape)}
        np.lib.format.write_array_header_1_0(buffer, header)
        return buffer.getvalue()

    def append(self, values: np.ndarray) -> None:
        """Append ``values [m, *shape]``, cast to the file's dtype."""
        block = np.ascontiguousarray(values, dtype=self.dtype).reshape(-1, *self.shape)
        self._hash.update(block.data if block.size else b"")
        self._file.write(block.data if block.size else b"")
        self.rows += len(block)

    def close(self) -> str:
        """Finish the header, force the file to disk and return the sha256 of its contents."""
        header = self._make_header()
        if len(header) != self._header:
            raise DataError(f"{self._file.name}: numpy {np.__version__} cannot grow .npy files; install numpy>=1.26.")
        self._file.seek(0)
        self._file.write(header)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._hash.hexdigest()

    def abandon(self) -> None:
        """Close without finishing."""
        self._file.close()


class FolderBuilder:
    """A folder that is built beside its final name and renamed when complete; a failure leaves nothing.

    Args:
        folder: Final name.
        replace: Whether an existing folder is replaced; otherwise the one that was there first stays.
    """

    def __init__(self, folder: Path, replace: bool):
        self.folder, self.replace = folder, replace
        self.temporary = unfinished(folder)
        self.streams: dict[str, NpyStream] = {}

    def __enter__(self) -> FolderBuilder:
        try:
            self.temporary.mkdir(parents=True)
        except OSError as error:
            raise DataError(f"Cannot write {self.folder} ({error}); copy the data to a folder of your own.") from None
        return self

    def stream(self, name: str, dtype: str, shape: tuple[int, ...] = ()) -> NpyStream:
        """Open a new array of the folder."""
        self.streams[name] = NpyStream(self.temporary / f"{name}.npy", dtype, shape)
        return self.streams[name]

    def finish(self, meta: dict[str, Any], drop: tuple[str, ...] = ()) -> None:
        """Close all arrays, write ``meta.json`` with the sha256 of the contents, and show the folder."""
        digests = {name: stream.close() for name, stream in self.streams.items()}
        for name in drop:
            del digests[name]
            (self.temporary / f"{name}.npy").unlink()
        lines = "".join(f"{name} {digest}\n" for name, digest in sorted(digests.items()))
        meta = {"schema": SCHEMA, **meta, "sha256": hashlib.sha256(lines.encode()).hexdigest()}
        with open(self.temporary / "meta.json", "w", encoding="utf-8") as file:
            json.dump(meta, file, indent=2, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        if self.replace and self.folder.exists():
            old = unfinished(self.folder)
            self.folder.rename(old)
            self.temporary.rename(self.folder)
            shutil.rmtree(old)
            return
        try:
            self.temporary.rename(self.folder)
        except OSError:
            if not (self.folder / "meta.json").exists():
                raise
            shutil.rmtree(self.temporary)  # another process was first, with the same contents

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            for stream in self.streams.values():
                stream.abandon()
            shutil.rmtree(self.temporary, ignore_errors=True)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise DataError(f"The disk is full, so {self.folder} was not written; free some space.") from None
