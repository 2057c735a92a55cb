"""A hub on any web server: a read-only copy of a folder that `zoo publish` wrote, found by its ``index.json``."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any, BinaryIO, NoReturn, cast
from urllib.parse import urlsplit

from zoo_registry.errors import HubUnreachable, ModelError, ModelNotFound
from zoo_registry.hubs import INDEX, MAX_BYTES, YANKED, Reading, read_index, read_yanked
from zoo_registry.release import Release

TIMEOUT = 30.0  # s, without a byte
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class HttpsHub:
    """See `zoo_registry.hubs.Hub`."""

    namespace = ""

    def __init__(self, location: str) -> None:
        self.location = location
        self._opener = urllib.request.build_opener(_SafeRedirects)

    def releases(self) -> dict[str, list[str]]:
        """Return all names with their versions."""
        try:
            with self._open(INDEX) as stream:
                return read_index(stream.read(MAX_BYTES + 1), f"{self.location}/{INDEX}")
        except ModelNotFound:
            raise ModelError(f"hub {self.location!r} has no {INDEX}; check hub= or ZOO_HUB.") from None

    def open(self, name: str, version: str, file: str) -> BinaryIO:
        """Open one file of a release for reading."""
        return self._open(f"{name}/{version}/{file}")

    def revision(self, name: str, version: str) -> None:
        """Return None: a web server has no commits."""

    def yanked(self, name: str) -> dict[str, str]:
        """Return the versions that should not be used any more, each with the reason."""
        try:
            with self._open(f"{name}/{YANKED}") as stream:
                return read_yanked(stream.read(MAX_BYTES + 1), f"{self.location}/{name}/{YANKED}")
        except ModelNotFound:
            return {}

    def publish(self, release: Release) -> None:
        """Refuse: a web server is read-only."""
        self._refuse()

    def yank(self, name: str, version: str, reason: str) -> None:
        """Refuse: a web server is read-only."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ModelError(f"hub {self.location!r} is read-only; give the folder that the web server serves as hub=.")

    def _open(self, path: str) -> BinaryIO:
        url = f"{self.location.rstrip('/')}/{path}"
        request = urllib.request.Request(url, headers={"User-Agent": "atomzoo", "Accept-Encoding": "identity"})
        try:
            stream = Reading(self._opener.open(request, timeout=TIMEOUT), url)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in (404, 410):
                raise ModelNotFound(f"{url} is not there.") from None
            raise HubUnreachable(f"{url} answered with HTTP {error.code}") from None
        except (OSError, HTTPException, ValueError) as error:
            raise HubUnreachable(f"cannot reach {url} ({getattr(error, 'reason', error)})") from None
        return cast(BinaryIO, stream)


def open_hub(location: str) -> HttpsHub:
    """Return the hub at an ``https://`` URL; ``http://`` only on this machine.

    Raises:
        ModelError: Plain http, or a URL with a query.
    """
    check_url(location)
    return HttpsHub(location)


def check_url(url: str) -> None:
    """Refuse a URL whose answer anybody on the way could change, or which could hold a secret."""
    plain = re.split("[?#]", url)[0]
    try:
        parts = urlsplit(url)
        good = url.isascii() and url.isprintable() and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ModelError("the URL of the hub must be https://host[:port]/path in ASCII, other letters as %XX.")
    if plain != url:
        raise ModelError(f"hub {plain!r} must be a plain https:// URL, without '?' and '#'.")
    if parts.scheme.lower() != "https" and parts.hostname not in LOOPBACK:
        raise ModelError(f"hub {url!r} must be https://; plain http can be changed on the way.")


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urlsplit(newurl).scheme != "https" and urlsplit(newurl).hostname not in LOOPBACK:
            fp.close()
            raise urllib.error.URLError("it leads away from https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
