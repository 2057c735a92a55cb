"""A release: one verified folder that holds a model in every form that hosts need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zoo_registry.errors import ReleaseInvalid
from zoo_registry.manifest import FETCH_AGAIN, verify_manifest
from zoo_registry.metadata import Metadata

METADATA = "zoo.json"


@dataclass(frozen=True)
class Release:
    """A release whose files were found to be what its manifest says.

    Attributes:
        path: Its folder.
        metadata: Its ``zoo.json``.
        trusted: Whether files of it that are code may be run: it came with zoo, or the user said so. A signature is
            looked at only where one is needed, see `zoo_registry.signing.is_trusted`.
    """

    path: Path
    metadata: Metadata
    trusted: bool = False

    def __str__(self) -> str:
        return self.metadata.label

    def file(self, name: str) -> Path:
        """Return the path of one file, for example ``model.onnx``.

        Raises:
            ReleaseInvalid: The release has no such file.
        """
        present = sorted(path.name for path in self.path.iterdir())
        if name not in present:
            raise ReleaseInvalid(f"{self} has no {name}; it has {', '.join(present)}.")
        return self.path / name


def open_release(path: str | Path, expected: str | None = None) -> Release:
    """Open a release folder after checking every file of it.

    Args:
        path: The folder that holds ``manifest.json`` and ``zoo.json``.
        expected: ``name@version`` that it must be, if that is known.

    Raises:
        ReleaseInvalid: A file is missing, extra or changed, the metadata cannot be read, or it is not
            the model that was expected.
    """
    path = Path(path)
    try:
        if METADATA not in verify_manifest(path):
            raise ReleaseInvalid(f"{path} has no {METADATA} in its manifest; {FETCH_AGAIN}.")
        document = (path / METADATA).read_bytes()
    except OSError as error:
        raise ReleaseInvalid(f"{path} cannot be read ({error}); check its permissions.") from None
    release = Release(path, Metadata.from_json(document, str(path / METADATA)))
    if expected not in (None, str(release)):
        raise ReleaseInvalid(f"{path} should be {expected} but holds {release}; {FETCH_AGAIN}.")
    return release
