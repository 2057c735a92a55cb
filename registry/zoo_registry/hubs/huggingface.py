"""A hub that is one model repository on Hugging Face: ``hf://owner/repo``, each version at the tag ``v<version>``.

The tag is looked up once and everything is read at the commit that it stood for, so a moved tag cannot mix two
releases. Tokens are found and sent by huggingface_hub (``hf auth login`` or ``HF_TOKEN``); none passes through here.
"""

from __future__ import annotations

import io
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, BinaryIO

from zoo_registry.errors import HubUnreachable, ModelError, ModelNotFound, ReleaseInvalid
from zoo_registry.hubs import MAX_BYTES, YANKED, read_yanked, write_yanked
from zoo_registry.manifest import MANIFEST, SIGNATURE, check_same, parse_manifest
from zoo_registry.metadata import VERSION_PATTERN, Metadata
from zoo_registry.release import METADATA, Release
from zoo_registry.versions import newest

NAMESPACE = "_hf"
BRANCH = "main"
REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
# What a new repository may hold before its first release.
_FRESH = {".gitattributes", "README.md", YANKED}


class HuggingFaceHub:
    """See `zoo_registry.hubs.Hub`.

    Args:
        repository: ``owner/repo``.
        location: What the user wrote.
    """

    def __init__(self, repository: str, location: str) -> None:
        self.location = location
        self.namespace = f"{NAMESPACE}/{repository}"
        self._repository = repository

    def releases(self) -> dict[str, list[str]]:
        """Return the one name of the repository with its versions."""
        if not self._commits:
            return {}
        with self.open("", newest(self._commits), METADATA) as stream:
            name = Metadata.from_json(stream.read(MAX_BYTES), f"{self.location}/{METADATA}").name
        return {name: list(self._commits)}

    def open(self, name: str, version: str, file: str) -> BinaryIO:
        """Fetch one file at the commit of its version, and open it."""
        return self._open(file, self._commits[version])

    def revision(self, name: str, version: str) -> str | None:
        """Return the commit that holds a version."""
        return self._commits.get(version)

    def publish(self, release: Release) -> None:
        """Commit a release and tag it; the same bytes again are fine, other bytes are refused."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        name, version = release.metadata.name, release.metadata.version
        with _errors(self.location):
            self._api.create_repo(self._repository, exist_ok=True)
        self._forget()
        if (there := self.releases()) and name not in there:
            raise ModelError(f"{self.location} holds {next(iter(there))}; {name} needs a repository of its own.")
        if version in self._commits:
            self._check_same(release)
            return
        additions = [CommitOperationAdd(path.name, path) for path in sorted(release.path.iterdir())]
        with _errors(self.location):
            head = self._head()
            old = self._replaced(head) - {addition.path_in_repo for addition in additions}
            done = self._api.create_commit(
                self._repository,
                [*additions, *map(CommitOperationDelete, sorted(old))],
                commit_message=f"{release}",
                parent_commit=head,
            )
            self._api.create_tag(self._repository, tag=f"v{version}", revision=done.oid)
        self._forget()
        self._check_same(release)

    def yanked(self, name: str) -> dict[str, str]:
        """Return the versions that should not be used any more, each with the reason."""
        try:
            with self._open(YANKED, BRANCH) as stream:
                return read_yanked(stream.read(MAX_BYTES + 1), f"{self.location}/{YANKED}")
        except ModelNotFound:
            return {}

    def yank(self, name: str, version: str, reason: str) -> None:
        """Mark a version on the branch; its tag and its bytes stay."""
        from huggingface_hub import CommitOperationAdd

        content = write_yanked(self.yanked(name) | {version: reason})
        with _errors(self.location):
            self._api.create_commit(
                self._repository,
                [CommitOperationAdd(YANKED, content)],
                commit_message=f"yank {name}@{version}",
                parent_commit=self._head(),
            )

    @cached_property
    def _api(self) -> Any:
        from huggingface_hub import HfApi

        return HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="atomzoo")

    @cached_property
    def _commits(self) -> dict[str, str]:
        with _errors(self.location):
            tags = self._api.list_repo_refs(self._repository).tags
        versions = {tag.name.removeprefix("v"): tag.target_commit for tag in tags if tag.name.startswith("v")}
        return {version: commit for version, commit in versions.items() if VERSION_PATTERN.fullmatch(version)}

    def _forget(self) -> None:
        self.__dict__.pop("_commits", None)

    def _head(self) -> str:
        branches = self._api.list_repo_refs(self._repository).branches
        return next(str(branch.target_commit) for branch in branches if branch.name == BRANCH)

    def _replaced(self, head: str) -> set[str]:
        """Files of the release that is on the branch now; those of anybody else stay."""
        present = set(self._api.list_repo_files(self._repository, revision=head))
        try:
            if MANIFEST in present:
                with self._open(MANIFEST, head) as stream:
                    return present & {*parse_manifest(stream.read(MAX_BYTES), self.location), SIGNATURE}
            foreign = not self._commits and bool(present - _FRESH)
        except ReleaseInvalid:
            foreign = True
        if foreign:
            raise ModelError(f"{self.location}: the repository holds files that zoo did not write; give an empty one.")
        return set()

    def _check_same(self, release: Release) -> None:
        manifest = (release.path / MANIFEST).read_bytes()
        with self.open(release.metadata.name, release.metadata.version, MANIFEST) as stream:
            check_same(stream, manifest, str(release), f"hub {self.location!r}")

    def _open(self, file: str, revision: str) -> BinaryIO:
        # A folder of its own, and not the client's cache: that one is shared, locked and checked by size only.
        folder = tempfile.TemporaryDirectory(prefix="zoo-")
        try:
            with _errors(self.location), _without_bars():
                path = self._api.hf_hub_download(self._repository, file, revision=revision, local_dir=folder.name)
            return _Download(path, folder)
        except BaseException:
            folder.cleanup()
            raise


class _Download(io.BufferedReader):
    """A file whose folder goes when it is closed."""

    def __init__(self, path: str, folder: tempfile.TemporaryDirectory[str]) -> None:
        super().__init__(io.FileIO(path))
        self._folder = folder

    def close(self) -> None:
        super().close()
        self._folder.cleanup()


@contextmanager
def _without_bars() -> Iterator[None]:
    """Keep the client from a bar for every file: whoever asked for the release shows one for all."""
    from huggingface_hub import utils

    shown = not utils.are_progress_bars_disabled()
    try:
        if shown:
            utils.disable_progress_bars()
        yield
    finally:
        if shown:
            utils.enable_progress_bars()


@contextmanager
def _errors(location: str) -> Iterator[None]:
    """Turn the client's errors into ours; their texts are not repeated, since they quote requests."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError:
        raise ModelError(f"{location} is gated; accept its terms on its page, then hf auth login.") from None
    except errors.RepositoryNotFoundError:
        raise ModelNotFound(
            f"{location} does not exist, or is private and the token (hf auth login, or HF_TOKEN) has no access to it."
        ) from None
    except errors.LocalEntryNotFoundError:
        raise HubUnreachable(f"cannot reach {location}") from None
    except (errors.EntryNotFoundError, errors.RevisionNotFoundError):
        raise ModelNotFound(f"{location} lacks a file of the release; the release on the hub is not whole.") from None
    except errors.HfHubHTTPError as error:
        code = error.response.status_code
        if code in (401, 403):
            raise ModelError(f"{location}: the token (hf auth login, or HF_TOKEN) may not do this.") from None
        if code in (409, 412):
            raise ModelError(f"{location} was changed by somebody else meanwhile; publish again.") from None
        raise HubUnreachable(f"{location} answered with HTTP {code}") from None
    except ModelError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise HubUnreachable(f"cannot reach {location} ({type(error).__name__})") from None


def open_hub(location: str) -> HuggingFaceHub:
    """Return the hub of ``hf://owner/repo``.

    Raises:
        ModelError: Not an address of that form.
    """
    repository = location[len("hf://") :].rstrip("/")
    if not REPOSITORY.fullmatch(repository) or ".." in repository:
        # Not repeated: it may hold a token.
        raise ModelError("a hub on Hugging Face is written hf://owner/repo, with letters, digits, '.', '_' and '-'.")
    return HuggingFaceHub(repository, location)
