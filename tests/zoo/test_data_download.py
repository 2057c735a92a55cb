"""Downloads against a server on this machine: what is resumed, what is refused, what is left behind."""

import hashlib
import http.server
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from zoo.data.download import RemoteFile, fetch
from zoo_registry.errors import DataError

BODY = bytes(range(256)) * (3 << 12)  # three blocks of a download
FACTS = {"size": len(BODY), "sha256": hashlib.sha256(BODY).hexdigest()}
PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


class Server(http.server.ThreadingHTTPServer):
    """Serves BODY in the ways that the paths name, and remembers what was asked for."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []
        self.release = threading.Event()

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        way = self.path.strip("/")
        wanted = self.headers.get("Range")
        self.server.asked.append((way, wanted))
        first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and way != "no-ranges" else 0
        body = {"page": PAGE, "damaged": BODY[:-1] + b"!"}.get(way, BODY)
        if way == "missing":
            return self.send_error(404)
        if way == "empty":
            return self.answer(202, b"")
        if first >= len(body):
            return self.send_error(416)
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - first))
        self.end_headers()
        stop = len(body)
        if way in ("flaky", "half", "stalls"):  # the connection ends early: a little later each time, or never
            stop = {"flaky": min(first + len(body) // 3, len(body))}.get(way, len(body) // 2)
        self.wfile.write(body[first:stop])
        if way == "stalls" and not first:
            self.wfile.flush()
            self.server.release.wait(30)

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.release.set()
        server.shutdown()
        thread.join()


def test_whole_file_once(server, tmp_path):
    path = tmp_path / "new" / "file"
    for _ in range(2):
        assert fetch([server.url("good")], path, **FACTS) == path
    assert path.read_bytes() == BODY
    assert server.asked == [("good", None)]
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_goes_on_where_it_stopped(server, tmp_path):
    (tmp_path / "file.part").write_bytes(BODY[:1000])
    fetch([server.url("good")], tmp_path / "file", **FACTS)
    assert (tmp_path / "file").read_bytes() == BODY
    assert server.asked == [("good", "bytes=1000-")]


def test_broken_connections_are_resumed(server, tmp_path):
    fetch([server.url("flaky")], tmp_path / "file", **FACTS)
    assert (tmp_path / "file").read_bytes() == BODY
    starts = [wanted for _, wanted in server.asked]
    assert starts == [None] + [f"bytes={k * (len(BODY) // 3)}-" for k in (1, 2)]


def test_server_that_cannot_resume_starts_again(server, tmp_path):
    (tmp_path / "file.part").write_bytes(BODY[:1000])
    fetch([server.url("no-ranges")], tmp_path / "file", **FACTS)
    assert (tmp_path / "file").read_bytes() == BODY


def test_bad_beginning_is_thrown_away(server, tmp_path):
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    fetch([server.url("good")], tmp_path / "file", **FACTS)
    assert (tmp_path / "file").read_bytes() == BODY
    assert server.asked == [("good", "bytes=1000-"), ("good", None)]


def test_too_long_a_part_is_thrown_away(server, tmp_path):
    for facts in (FACTS, {"sha256": FACTS["sha256"]}):  # known size: seen here; unknown: seen by the server
        (tmp_path / "file.part").write_bytes(BODY + b"more")
        fetch([server.url("good")], tmp_path / "file", **facts)
        assert (tmp_path / "file").read_bytes() == BODY
        (tmp_path / "file").unlink()


def test_truncated_download_is_refused_and_kept_for_later(server, tmp_path):
    with pytest.raises(DataError, match=f"connection ended after {len(BODY) // 2} of {len(BODY)} bytes"):
        fetch([server.url("half")], tmp_path / "file", **FACTS)
    assert [p.name for p in tmp_path.iterdir()] == ["file.part"]
    fetch([server.url("good")], tmp_path / "file", **FACTS)
    assert server.asked[-1] == ("good", f"bytes={len(BODY) // 2}-")


def test_wrong_checksum_is_refused(server, tmp_path):
    with pytest.raises(DataError, match=f"expected sha256 {FACTS['sha256']}, got"):
        fetch([server.url("damaged")], tmp_path / "file", **FACTS)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="expected md5"):
        fetch([server.url("damaged")], tmp_path / "file", md5=hashlib.md5(BODY).hexdigest())


@pytest.mark.parametrize(
    ("way", "message"),
    [("page", "sent a web page"), ("missing", "HTTP Error 404"), ("empty", "HTTP 202 instead of the file")],
)
def test_answers_that_are_not_the_file(server, tmp_path, way, message):
    with pytest.raises(DataError, match=message):
        fetch([server.url(way)], tmp_path / "file", **FACTS)
    assert list(tmp_path.iterdir()) == []


def test_a_web_page_does_not_cost_what_has_arrived(server, tmp_path):
    (tmp_path / "file.part").write_bytes(BODY[:10])
    with pytest.raises(DataError):
        fetch([server.url("page")], tmp_path / "file", size=len(BODY))
    with pytest.raises(DataError):
        fetch([server.url("missing")], tmp_path / "file", **FACTS)
    fetch([server.url("good")], tmp_path / "file", **FACTS)
    assert (tmp_path / "file").read_bytes() == BODY


def test_mirrors_are_tried_in_order(server, tmp_path):
    closed = "http://127.0.0.1:9/nobody-listens"
    urls = [closed, *(server.url(way) for way in ("missing", "page", "damaged", "half", "good", "never"))]
    fetch(urls, tmp_path / "file", **FACTS)
    assert (tmp_path / "file").read_bytes() == BODY
    assert server.asked[-1] == ("good", f"bytes={len(BODY) // 2}-")
    with pytest.raises(DataError) as caught:
        fetch(urls[:3], tmp_path / "other", **FACTS)
    assert all(url in str(caught.value) for url in urls[:3])
    assert "\n" not in str(caught.value)


def test_a_local_file_that_is_wrong_is_not_overwritten(server, tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(DataError, match="is not file: expected 3145728 bytes, got 4"):
        RemoteFile("file", (server.url("good"),), **FACTS).fetch(tmp_path)
    assert (tmp_path / "file").read_bytes() == b"mine"
    assert server.asked == []


def test_killed_download_leaves_no_file_and_is_resumed(server, tmp_path):
    path, part = tmp_path / "file", tmp_path / "file.part"
    code = "import sys; from zoo.data.download import fetch; fetch([sys.argv[1]], sys.argv[2], size=int(sys.argv[3]))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [sys.executable, "-c", code, server.url("stalls"), str(path), str(len(BODY))]
    with subprocess.Popen(arguments, env=environment) as process:
        deadline = time.monotonic() + 60
        while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    arrived = part.stat().st_size
    assert 0 < arrived < len(BODY)
    assert not path.exists()
    fetch([server.url("good")], path, **FACTS)
    assert path.read_bytes() == BODY
    assert server.asked == [("stalls", None), ("good", f"bytes={arrived}-")]
