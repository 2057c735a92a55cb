"""Hubs on a web server and in a bucket."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from zoo_registry.errors import (
    HubUnreachable,
    MissingDependency,
    ModelError,
    ModelNotFound,
    ReleaseInvalid,
    YankedWarning,
)
from zoo_registry.hubs.https import check_url
from zoo_registry.listing import list_releases
from zoo_registry.store import publish, pull, resolve, yank


class Handler(SimpleHTTPRequestHandler):
    disable_nagle_algorithm = True
    answer: Any = None

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if Handler.answer is None:
            return super().do_GET()
        status, headers, body = Handler.answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def mirror(hub: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(hub)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setattr(Handler, "answer", None)
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[str]:
    fsspec = pytest.importorskip("fsspec")
    yield f"memory://{tmp_path.name}"
    fsspec.filesystem("memory").store.clear()


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_on_any_web_server_is_a_hub(hub, release, mirror, make_release, tmp_path) -> None:
    publish(release, str(hub))
    publish(make_release(tmp_path / "newer", version="1.1.0"), str(hub))
    assert files(pull("schnet-tiny@1.0.0", mirror).path) == files(release)
    assert resolve("schnet-tiny@1.1.0", mirror).metadata.version == "1.1.0"
    assert [(entry.version, entry.where) for entry in list_releases(mirror, remote=True)] == [
        ("1.0.0", mirror),
        ("1.1.0", mirror),
    ]
    with pytest.raises(ModelNotFound, match=r"has no schnet-tiny@2\.0\.0"):
        pull("schnet-tiny@2.0.0", mirror)
    with pytest.raises(ModelError, match="read-only; give the folder"):
        publish(release, mirror)


def test_guarantee_12_a_model_of_which_all_is_yanked_is_not_pulled_without_a_version(hub, cache, make_release) -> None:
    for version in ("1.0.0", "1.1.0"):
        make_release(hub, version=version)
        yank(f"schnet-tiny@{version}", f"reason of {version}", str(hub))
    with pytest.raises(ModelNotFound, match=r"1\.0\.0: reason of 1\.0\.0; .*1\.1\.0: reason of 1\.1\.0"):
        pull("schnet-tiny", str(hub))
    assert not cache.exists()


def test_guarantee_12_a_yanked_version_in_the_cache_is_told(hub, cache, make_release) -> None:
    make_release(hub)
    make_release(hub, version="1.1.0")
    pull("schnet-tiny", str(hub))
    yank("schnet-tiny@1.1.0", "wrong cell", str(hub))
    with pytest.warns(YankedWarning, match=r"1\.1\.0 was yanked: wrong cell; schnet-tiny without .*remove .*/1\.1\.0"):
        assert str(pull("schnet-tiny", str(hub))) == "schnet-tiny@1.0.0"
    with pytest.warns(YankedWarning, match=r"1\.1\.0 was yanked: wrong cell"):
        pull("schnet-tiny@1.1.0", str(hub))
    assert str(pull("schnet-tiny@1.1.0", "/no/such/hub")) == "schnet-tiny@1.1.0"
    assert str(pull("schnet-tiny@1.0.0", str(hub))) == "schnet-tiny@1.0.0"


def test_a_yanked_version_is_told_by_the_web_server_too(hub, release, mirror, make_release, tmp_path) -> None:
    publish(release, str(hub))
    publish(make_release(tmp_path / "newer", version="1.1.0"), str(hub))
    yank("schnet-tiny@1.1.0", "wrong cell", str(hub))
    assert str(pull("schnet-tiny", mirror)) == "schnet-tiny@1.0.0"
    with pytest.warns(YankedWarning, match="wrong cell"):
        pull("schnet-tiny@1.1.0", mirror)


@pytest.mark.parametrize("reason", ["", " ", "two\nlines", "\x1b[2J"])
def test_a_yank_takes_a_version_that_is_there_and_a_reason(hub, release, reason) -> None:
    publish(release, str(hub))
    with pytest.raises(ModelError, match="takes name@version and a reason in one line"):
        yank("schnet-tiny@1.0.0", reason, str(hub))
    with pytest.raises(ModelNotFound, match=r"has no schnet-tiny@3\.0\.0"):
        yank("schnet-tiny@3.0.0", "reason", str(hub))


HTML = (200, {"Content-Length": "6"}, b"<html>")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (HTML, "is not what a hub has there"),
        ((200, {"Content-Length": "999"}, b'{"schema"'), "is not what a hub has there"),
        ((200, {}, b'{"schema": 2}'), "schema 2, this version reads 1"),
        ((200, {}, b'{"schema": 1, "releases": []}'), "is not an index"),
        ((200, {}, b'{"schema": 1, "releases": {"../x": ["1.0.0"], "a": ["..", 3]}}'), "has no model 'schnet-tiny'"),
        ((404, {}, b""), r"has no index\.json; check hub="),
        ((503, {}, b""), "answered with HTTP 503; try again later with: zoo pull schnet-tiny hub="),
        ((302, {"Location": "http://example.org/"}, b""), "leads away from https"),
        ((302, {"Location": "file:///etc/passwd"}, b""), "answered with HTTP 302"),
    ],
)
def test_guarantee_03_what_is_no_hub_is_one_line_and_nothing_is_kept(mirror, cache, monkeypatch, answer, text) -> None:
    monkeypatch.setattr(Handler, "answer", answer)
    with pytest.raises(ModelError, match=text) as caught:
        pull("schnet-tiny", mirror)
    assert "\n" not in str(caught.value)
    assert not cache.exists()


def test_guarantee_03_a_body_that_breaks_off_is_named_and_not_kept(hub, release, mirror, cache) -> None:
    publish(release, str(hub))
    path = hub / "schnet-tiny/1.0.0/model.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ReleaseInvalid, match=r"model\.safetensors: expected 999 bytes, got 500"):
        pull("schnet-tiny", mirror)
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_a_server_that_is_gone_is_one_line_with_the_command_for_later() -> None:
    with pytest.raises(HubUnreachable, match=r"cannot reach .* zoo pull schnet-tiny@1\.0\.0 hub=http://127\.0\.0\.1:9"):
        pull("schnet-tiny@1.0.0", "http://127.0.0.1:9")


@pytest.mark.parametrize("url", ["http://example.org/hub", "https://example.org/hub?token=hf_secret"])
def test_a_url_that_can_be_changed_on_the_way_or_holds_a_secret_is_refused(url) -> None:
    with pytest.raises(ModelError, match="must be") as caught:
        check_url(url)
    assert "hf_secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["https", "s3", "sftp", "file"])
def test_guarantee_25_a_password_in_a_url_is_refused_and_not_repeated(scheme) -> None:
    with pytest.raises(ModelError, match="no user name and no password") as caught:
        pull("schnet-tiny", f"{scheme}://me:hf_secret@example.org/hub")
    assert "hf_secret" not in str(caught.value)


@pytest.mark.parametrize("switch", ["ZOO_OFFLINE", "HF_HUB_OFFLINE"])
def test_guarantee_07_offline_an_uncached_release_fails_at_once_with_the_command(monkeypatch, switch) -> None:
    monkeypatch.setenv(switch, "1")
    for hub in ("https://example.org/hub", "memory://hub"):
        with pytest.raises(ModelError, match=rf"{switch} is set; with a network: zoo pull schnet-tiny hub={hub} "):
            resolve("schnet-tiny", hub)


def test_a_bucket_is_a_hub(bucket, release, make_release, tmp_path) -> None:
    publish(release, bucket)
    publish(release, bucket)
    assert files(pull("schnet-tiny", bucket).path) == files(release)
    publish(make_release(tmp_path / "newer", version="1.10.0"), bucket)
    yank("schnet-tiny@1.10.0", "wrong cell", bucket)
    assert [e.description[:6] for e in list_releases(bucket, remote=True)] == ["A made", "yanked"]
    with pytest.raises(ModelError, match="with other bytes; a version never changes"):
        publish(make_release(tmp_path / "other", weights=b"v"), bucket)


def test_guarantee_04_a_release_in_a_bucket_appears_with_its_manifest_which_comes_last(
    bucket, release, monkeypatch
) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    write = MemoryFileSystem.pipe_file

    def until_the_last_file(self: Any, path: str, *arguments: Any, **more: Any) -> None:
        if path.endswith("zoo.json"):
            raise ConnectionError("hf_secret")
        write(self, path, *arguments, **more)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", until_the_last_file)
    with pytest.raises(HubUnreachable, match="failed \\(ConnectionError\\)"):
        publish(release, bucket)
    with pytest.raises(ModelNotFound, match="has no model 'schnet-tiny'"):
        pull("schnet-tiny", bucket)
    monkeypatch.undo()


def test_a_scheme_that_nothing_serves_is_told_and_a_missing_driver_with_its_line(monkeypatch) -> None:
    with pytest.raises(ModelError, match=r"nosuch:// is unknown; give a folder"):
        pull("schnet-tiny", "nosuch://bucket/x")
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    with pytest.raises(MissingDependency, match=r"pip install 'fsspec\[s3\]'"):
        pull("schnet-tiny", "s3://bucket/x")


SECRETS = [
    "https://user:s3cret@example.org/hub",
    " https://user:s3cret@example.org/hub",
    "simplecache::https://user:s3cret@example.org/hub",
    "a::b://s3cret/hub",
    " s3://s3cret/hub",
    "S3://user:s3cret@bucket",
    "https://user:s3cret/more@example.org/hub",
    "https://example.org/hub#s3cret",
    "https://example.org/hub?token=s3cret",
    "hf://user:s3cret@owner/repo",
    "file://user:s3cret@host/hub",
]


@pytest.mark.parametrize("location", SECRETS)
def test_guarantee_25_a_secret_anywhere_in_a_url_is_refused_and_not_repeated(location) -> None:
    for model, hub in (("schnet-tiny", location), (location, None)):
        for action in (pull, resolve):
            with pytest.raises(ModelError) as caught:
                action(model, hub)
            assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "location", ["http://[bad", "https://localhost:x/", "https://example.org/hüb", "https://a/b\n"]
)
def test_what_is_no_url_is_one_line(location) -> None:
    with pytest.raises(ModelError, match="the URL of the hub must be") as caught:
        pull("schnet-tiny", location)
    assert "\n" not in str(caught.value)


class Broken:
    def read(self, *_: object) -> bytes:
        raise RuntimeError("Authorization: s3cret")

    def close(self) -> None:
        pass


@pytest.mark.parametrize("version", ["", "@1.0.0"])
def test_guarantee_25_a_bucket_that_breaks_off_is_one_line_without_the_clients_text(
    bucket, release, monkeypatch, version
) -> None:
    fsspec = pytest.importorskip("fsspec")
    publish(release, bucket)
    monkeypatch.setattr(fsspec.filesystem("memory"), "open", lambda *_: Broken())
    with pytest.raises(HubUnreachable, match=r"broke off \(RuntimeError\); try again later with: zoo pull") as caught:
        pull(f"schnet-tiny{version}", bucket)
    assert "s3cret" not in str(caught.value)


def test_a_web_server_that_breaks_off_is_one_line(hub, release, mirror, monkeypatch, cache) -> None:
    from http.client import HTTPResponse, IncompleteRead

    def breaks(*_: object) -> bytes:
        raise IncompleteRead(b"half")

    publish(release, str(hub))
    pull("schnet-tiny", mirror)
    monkeypatch.setattr(HTTPResponse, "read", breaks)
    for path in ("schnet-tiny", "schnet-tiny@2.0.0"):
        with pytest.raises(HubUnreachable, match=r"index\.json broke off \(IncompleteRead\); try again later"):
            pull(path, mirror)


def test_publishing_again_to_a_bucket_repairs_its_index(bucket, release) -> None:
    fsspec = pytest.importorskip("fsspec")
    publish(release, bucket)
    memory = fsspec.filesystem("memory")
    index = f"{bucket}/index.json".removeprefix("memory:/")
    whole = memory.cat_file(index)
    memory.rm(index)
    publish(release, bucket)
    assert memory.cat_file(index) == whole
