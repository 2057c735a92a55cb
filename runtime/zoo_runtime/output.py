"""Files of predictions: they appear whole or not at all, and a run that was stopped goes on with the same command.

Results are written to a hidden file beside the output. Its journal says after which structure of which input it was how
long, so whatever is beyond the last line of the journal is cut off and computed again.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zoo_registry.errors import UsageError, ZooError
from zoo_runtime.frames import Frame, Place
from zoo_runtime.locks import locked
from zoo_runtime.report import Result, Source
from zoo_runtime.writers import WRITERS, Writer

SAVE_STRUCTURES = 50  # at the latest after so many results,
SAVE_SECONDS = 0.5  # or so long, they are safe


def check_output(path: Path, files: Sequence[Path]) -> None:
    """Refuse an output that cannot be meant, before anything is computed.

    Raises:
        UsageError: Unknown suffix, a folder, or one of the input files.
    """
    if path.suffix not in WRITERS:
        raise UsageError(f"output={path} has the suffix {path.suffix!r}. Allowed: {', '.join(WRITERS)}")
    if path.is_dir():
        raise UsageError(f"output={path} is a folder; give a file in it.")
    if path.resolve() in [file.resolve() for file in files]:
        raise UsageError(f"output={path} is one of the input files; choose another name.")


def command_of(files: Sequence[Path], models: Sequence[Source], **options: Any) -> dict[str, Any]:
    """Return what makes two runs the same: inputs as they are now, weights, properties and options."""
    stats = [file.stat() if file.is_file() else None for file in files]
    return {
        "files": [
            [str(file), stat and stat.st_size, stat and stat.st_mtime_ns]
            for file, stat in zip(files, stats, strict=True)
        ],
        "models": [
            [model.model, model.metadata.provenance.get("weights_sha256"), model.backend, list(model.names)]
            for model in models
        ],
        **options,
    }


class Output:
    """A file of results on its way.

    Args:
        path: Where it goes in the end.
        models: What is told.
        command: From `command_of`.

    Attributes:
        start: Where to go on reading.
        done: How many structures are in it already.
        failed: Whether any of them, or of those before an interruption, had an error.
    """

    def __init__(self, path: Path, models: Sequence[Source], command: dict[str, Any]) -> None:
        self.path = path
        self.part = path.with_name(f".{path.name}.part")
        self.journal = path.with_name(f".{path.name}.journal")
        self.start: Place = (0, 0)
        self.done = 0
        self.failed = False
        size = self._last(json.loads(json.dumps(command)))
        self._writer: Writer = WRITERS[path.suffix](self.part, models, size)
        self._journal = self.journal.open("a" if size else "w", encoding="utf-8")
        if not size:
            self._journal.write(json.dumps(command) + "\n")
        self._journalled = bool(size)
        self._unsaved = 0
        self._saved = time.monotonic()

    def write(self, frame: Frame, results: Sequence[Result]) -> None:
        """Add the results of one structure."""
        self._writer.write(frame, results)
        self.failed |= any(isinstance(result, ZooError) for result in results)
        self.start = frame.next
        self.done += 1
        self._unsaved += 1
        if self._unsaved >= SAVE_STRUCTURES or time.monotonic() - self._saved > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Make what was written outlive this process."""
        if self._unsaved:
            self._journal.write(json.dumps([self._writer.save(), self.done, *self.start, self.failed]) + "\n")
            self._journal.flush()
            self._journalled = True
        self._unsaved = 0
        self._saved = time.monotonic()

    def finish(self) -> None:
        """Put the whole file into its place."""
        self._writer.close(whole=True)
        self._journal.close()
        self.part.replace(self.path)
        self.journal.unlink()

    def stop(self) -> None:
        """Leave what the journal knows of, for the same command to go on; nothing where that is nothing."""
        self._writer.close(whole=False)
        self._journal.close()
        if not self._journalled:
            self.part.unlink(missing_ok=True)
            self.journal.unlink(missing_ok=True)

    def _last(self, command: dict[str, Any]) -> int:
        """Size of what an earlier run of the same command left, 0 if nothing."""
        if not (self.journal.exists() and self.part.exists()):
            return 0
        found: list[Any] = []
        for line in self.journal.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
            try:
                found.append(json.loads(line) if line.endswith("\n") else None)
            except ValueError:
                break
        if not found or not isinstance(found[0], dict):
            return 0
        if other := [key for key in command if found[0].get(key) != command[key]]:
            raise UsageError(
                f"{self.part} was left by a run with other {', '.join(other)}; repeat that command to go on with it, "
                "or delete the file, or choose another output=."
            )
        entries = [entry for entry in found[1:] if isinstance(entry, list) and len(entry) == 5]
        if not entries:
            return 0
        size, self.done, first, second, self.failed = entries[-1]
        self.start = (first, second)
        return int(size)


@contextmanager
def open_output(path: Path, models: Sequence[Source], command: dict[str, Any]) -> Iterator[Output]:
    """Give an output, which is renamed into its place at the end; what an interrupted run wrote is kept.

    Args:
        path: Its suffix, one of `WRITERS`, chooses the format.
        models: What is told.
        command: From `command_of`.

    Raises:
        UsageError: The file cannot be written, is being written by another process, or a run with other options left
            its part there.
    """
    try:
        with locked(path, "output"):
            output = Output(path, models, command)
            try:
                yield output
            except BaseException:
                output.stop()
                raise
            output.finish()
    except BrokenPipeError:
        raise  # of standard output, not of the file
    except OSError as error:
        raise UsageError(f"output={path} cannot be written ({error.strerror}); choose another place.") from error
    except sqlite3.Error as error:
        raise UsageError(f"output={path} cannot be written ({error}); choose another place.") from error
