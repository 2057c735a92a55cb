"""What is no address of a repository is refused before anything is sent."""

from __future__ import annotations

import socket

import pytest

from zoo_registry.errors import ModelError
from zoo_registry.store import pull


@pytest.mark.parametrize(
    "address", ["hf://zoo", "hf://", "hf://a/b/c", "hf://../x", "hf://a/..", "hf://a/b c", "hf://a\\b/c"]
)
def test_guarantee_08_what_is_no_repository_is_refused_before_any_request(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "socket", lambda *_, **__: pytest.fail("a socket was opened"))
    with pytest.raises(ModelError, match=r"is written hf://owner/repo"):
        pull(address)
