"""Errors that a user can cause or cure: each says what was given, what is allowed and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ZooError(Exception):
    """Base of all errors that zoo raises on purpose; its text is one line made for the user."""

    exit_code = 1


class StructureError(ZooError):
    """A structure that the model cannot or must not be asked about."""


class DataError(ZooError):
    """A data set that could not be fetched, read or believed."""


class TrainingError(ZooError):
    """A training run that cannot go on; what it has saved is kept."""


class ExportError(ZooError):
    """An exported file that does not agree with its model, so it was not written."""


class UsageError(ZooError):
    """Wrong options or arguments."""

    exit_code = 2


class ModelError(ZooError):
    """A model that could not be had or loaded."""

    exit_code = 3


class ModelNotFound(ModelError):
    """No release of that name or version."""


class ReleaseInvalid(ModelError):
    """A release whose files are not what its manifest says, or whose metadata cannot be read."""


class HubUnreachable(ModelError):
    """A hub that does not answer, or answers with something else than files."""


class MissingDependency(ModelError):
    """A part of zoo was asked for whose third-party package is not installed."""


class YankedWarning(UserWarning):
    """A version that its publisher has taken back; its bytes are still there."""


def close_matches(given: str, allowed: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for a near miss, followed by what is allowed.

    Args:
        given: What the user wrote.
        allowed: All valid words.
    """
    words = sorted(allowed)
    near = difflib.get_close_matches(given, words, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"{hint} Allowed: {', '.join(words)}" if words else hint
