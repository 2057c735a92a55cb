"""A hub in whatever fsspec opens: ``s3://bucket/prefix``, ``gs://``, ``az://``, ``sftp://`` and others."""

from __future__ import annotations

from typing import Any, BinaryIO, cast

from zoo_registry.errors import HubUnreachable, MissingDependency, ModelError, ModelNotFound
from zoo_registry.hubs import INDEX, MAX_BYTES, YANKED, Reading, read_yanked, scheme, write_index, write_yanked
from zoo_registry.manifest import MANIFEST, SIGNATURE, check_same
from zoo_registry.metadata import NAME_PATTERN, VERSION_PATTERN
from zoo_registry.release import Release


class BucketHub:
    """See `zoo_registry.hubs.Hub`.

    Args:
        files: ``fsspec.AbstractFileSystem``.
        root: Path of the hub in it.
        location: What the user wrote.
    """

    namespace = ""

    def __init__(self, files: Any, root: str, location: str) -> None:
        self.location = location
        self._files = files
        self._root = root.rstrip("/")

    def releases(self) -> dict[str, list[str]]:
        """Return all names with their versions: of what has a manifest, which is written last."""
        found: dict[str, list[str]] = {}
        self._call("invalidate_cache")
        for path in self._call("glob", f"{self._root}/*/*/{MANIFEST}"):
            name, version = path.split("/")[-3:-1]
            if NAME_PATTERN.fullmatch(name) and VERSION_PATTERN.fullmatch(version):
                found.setdefault(name, []).append(version)
        return found

    def open(self, name: str, version: str, file: str) -> BinaryIO:
        """Open one file of a release for reading."""
        return self._open(f"{name}/{version}/{file}")

    def revision(self, name: str, version: str) -> None:
        """Return None: a bucket has no commits."""

    def publish(self, release: Release) -> None:
        """Add a release; the same bytes again are fine, other bytes are refused."""
        name, version = release.metadata.name, release.metadata.version
        manifest = (release.path / MANIFEST).read_bytes()
        if version in self.releases().get(name, ()):
            with self.open(name, version, MANIFEST) as stream:
                check_same(stream, manifest, str(release), f"hub {self.location!r}")
        else:
            order = sorted(release.path.iterdir(), key=lambda path: (path.name == MANIFEST, path.name != SIGNATURE))
            for path in order:
                self._write(f"{name}/{version}/{path.name}", path.read_bytes())
        self._write(INDEX, write_index(self.releases()))

    def yanked(self, name: str) -> dict[str, str]:
        """Return the versions that should not be used any more, each with the reason."""
        try:
            with self._open(f"{name}/{YANKED}") as stream:
                return read_yanked(stream.read(MAX_BYTES + 1), f"{self.location}/{name}/{YANKED}")
        except ModelNotFound:
            return {}

    def yank(self, name: str, version: str, reason: str) -> None:
        """Mark a version; its bytes stay."""
        self._write(f"{name}/{YANKED}", write_yanked(self.yanked(name) | {version: reason}))

    def _open(self, path: str) -> BinaryIO:
        stream = self._call("open", f"{self._root}/{path}", "rb")
        return cast(BinaryIO, Reading(stream, f"hub {self.location!r}"))

    def _write(self, path: str, content: bytes) -> None:
        self._call("pipe_file", f"{self._root}/{path}", content)

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self._files, method)(*arguments)
        except FileNotFoundError:
            raise ModelNotFound(f"{arguments[0]} is not on hub {self.location!r}.") from None
        except Exception as error:  # those of all the clients below share no base class, and may quote credentials
            raise HubUnreachable(f"hub {self.location!r} failed ({type(error).__name__})") from None


def open_hub(location: str) -> BucketHub:
    """Return the hub at a URL that fsspec understands.

    Raises:
        MissingDependency: fsspec, or its driver for this scheme, is not installed.
        ModelError: No such scheme.
    """
    kind = scheme(location)
    try:
        import fsspec  # type: ignore[import-untyped]
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        if kind not in fsspec.available_protocols():
            raise ModelError(f"hub {location!r}: {kind}:// is unknown; give a folder, https://, hf:// or s3://.")
        files, root = url_to_fs(location)
    except ImportError as error:
        need = "fsspec" if error.name == "fsspec" else f"'fsspec[{kind}]'"
        raise MissingDependency(f"hub {location!r} needs a package that is not here; pip install {need}") from None
    except (ValueError, OSError) as error:
        raise ModelError(f"hub {location!r} cannot be opened ({type(error).__name__}); check hub=.") from None
    return BucketHub(files, root, location)
