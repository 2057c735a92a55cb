"""hf:// by the real huggingface_hub client over HTTP, against a small hub on the loopback that speaks its protocol."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from zoo_registry.archive import namespace_of, read_archive, write_archive
from zoo_registry.errors import HubUnreachable, ModelError, ModelNotFound, ReleaseInvalid, YankedWarning
from zoo_registry.listing import list_releases
from zoo_registry.store import origin, publish, pull, resolve, yank

# The client's own, of its HTTP library.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

TOKEN = "hf_thisIsTheSecretOfTheTests"
LFS = (".safetensors", ".onnx", ".pt")
REPO = "hf://zoo/schnet-tiny"


@dataclass
class Repo:
    private: bool = False
    gated: bool = False
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes]) -> str:
        oid = hashlib.sha1(repr((len(self.commits), sorted(files))).encode()).hexdigest()
        self.commits.append((oid, files))
        return oid

    def files(self, revision: str) -> dict[str, bytes] | None:
        commit = {"main": self.commits[-1][0]}.get(revision) or self.tags.get(revision, revision)
        return dict(self.commits).get(commit)


class Hub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.cdn = f"http://localhost:{self.server_port}/cdn/"  # another host: it must never see a token
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, bool]] = []
        self.status = 0  # answer everything with it


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def handle_one(self) -> None:
        hub, path = self.server, unquote(urlsplit(self.path).path)
        sent = self.headers.get("Authorization")
        hub.requests.append((self.command, path, sent is not None))
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = b""
            while size := int(self.rfile.readline(), 16):
                self.body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        if hub.status:
            return self.send(hub.status, {"error": f"it was {sent}"})
        if path.startswith("/cdn/"):
            return self.send(400 if sent else 200, hub.blobs[path[5:]])
        if path.startswith("/lfs/"):
            good = hashlib.sha256(self.body).hexdigest() == path[5:]
            hub.blobs[path[5:]] = self.body
            return self.send(200 if good else 400, {})
        known = sent == f"Bearer {TOKEN}"
        if sent and not known:
            return self.send(401, {"error": f"Invalid credentials {sent}"})
        if self.command != "GET" and self.command != "HEAD" and not known:
            return self.send(401, {"error": "log in"})
        if path == "/api/repos/create":
            wanted = json.loads(self.body)
            name = f"{wanted['organization']}/{wanted['name']}"
            if name in hub.repos:
                return self.send(409, {"error": "You already created this model repo", "url": f"{hub.url}/{name}"})
            hub.repos[name] = Repo()
            hub.repos[name].commit({".gitattributes": b"*.onnx filter=lfs\n"})
            return self.send(200, {"url": f"{hub.url}/{name}", "name": name, "id": name})
        if path == "/api/validate-yaml":
            return self.send(200, {"errors": [], "warnings": []})
        words = path.removeprefix("/api/models").strip("/").split("/")
        repo = hub.repos.get("/".join(words[:2]).removesuffix(".git"))
        if repo is None or (repo.private and not known):
            return self.send(404 if known else 401, {"error": "no"}, {"X-Error-Code": "RepoNotFound"})
        if repo.gated:
            return self.send(403, {"error": "no"}, {"X-Error-Code": "GatedRepo"})
        return getattr(self, f"on_{words[2].replace('-', '_')}")(repo, words[3:])

    do_GET = do_HEAD = do_POST = do_PUT = handle_one

    def on_refs(self, repo: Repo, _: list[str]) -> None:
        tags = [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": c} for n, c in repo.tags.items()]
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.commits[-1][0]}
        self.send(200, {"branches": [main], "tags": tags, "converts": []})

    def on_tree(self, repo: Repo, words: list[str]) -> None:
        files = repo.files(words[0]) or {}
        self.send(200, [{"type": "file", "oid": "0" * 40, "size": len(b), "path": p} for p, b in files.items()])

    def on_preupload(self, repo: Repo, _: list[str]) -> None:
        paths = [file["path"] for file in json.loads(self.body)["files"]]
        modes = {path: "lfs" if path.endswith(LFS) else "regular" for path in paths}
        self.send(200, {"files": [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in modes.items()]})

    def on_info(self, repo: Repo, _: list[str]) -> None:
        objects = [
            {**o, "actions": {"upload": {"href": f"{self.server.url}/lfs/{o['oid']}"}}}
            for o in json.loads(self.body)["objects"]
        ]
        self.send(200, {"transfer": "basic", "objects": objects})

    def on_commit(self, repo: Repo, words: list[str]) -> None:
        head, files = repo.commits[-1]
        files = dict(files)
        for line in self.body.splitlines():
            item = json.loads(line)
            key, value = item["key"], item["value"]
            if key == "header" and value.get("parentCommit", head) != head:
                return self.send(412, {"error": "the branch moved"})
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.server.blobs[value["oid"]]
            elif key == "deletedFile":
                del files[value["path"]]
        oid = repo.commit(files)
        self.send(200, {"success": True, "commitOid": oid, "commitUrl": f"{self.server.url}/zoo/x/commit/{oid}"})

    def on_tag(self, repo: Repo, words: list[str]) -> None:
        tag = json.loads(self.body)["tag"]
        if tag in repo.tags:
            return self.send(409, {"error": "Tag reference exists already"})
        repo.tags[tag] = words[0]
        self.send(200, {})

    def on_resolve(self, repo: Repo, words: list[str]) -> None:
        files, path = repo.files(words[0]), words[1]
        if files is None or path not in files:
            code = "RevisionNotFound" if files is None else "EntryNotFound"
            return self.send(404, {"error": "no"}, {"X-Error-Code": code, "X-Repo-Commit": words[0]})
        content, commit = files[path], {"X-Repo-Commit": words[0]}
        if not path.endswith(LFS):
            blob = b"blob %d\0%s" % (len(content), content)
            return self.send(200, content, {**commit, "ETag": f'"{hashlib.sha1(blob).hexdigest()}"'})
        digest = hashlib.sha256(content).hexdigest()
        linked = {
            "X-Linked-Size": str(len(content)),
            "X-Linked-ETag": f'"{digest}"',
            "Location": self.server.cdn + digest,
        }
        self.server.blobs.setdefault(digest, content)
        self.send(302, b"", {**commit, **linked})

    def send(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    constants = pytest.importorskip("huggingface_hub.constants")
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    for name in ("HF_HUB_OFFLINE", "ZOO_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def repo(server: Hub, release: Path) -> Repo:
    publish(release, REPO)
    return server.repos["zoo/schnet-tiny"]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_was_published_is_tagged_and_comes_back_to_the_byte(server, repo, release, cache) -> None:
    assert repo.tags.keys() == {"v1.0.0"}
    server.requests.clear()
    pulled = pull(REPO)
    assert pulled.path == cache / "_hf/zoo/schnet-tiny/schnet-tiny/1.0.0"
    assert content(pulled.path) == content(release)
    # Read at the commit: a tag that moves meanwhile cannot mix two releases.
    read = [path.split("/")[4] for _, path, _ in server.requests if "/resolve/" in path]
    assert set(read) == {repo.tags["v1.0.0"], "main"}
    assert [path for _, path, _ in server.requests if "/resolve/main/" in path] == [
        f"/zoo/schnet-tiny/resolve/main/{y}" for y in ["yanked.json"]
    ]


@pytest.mark.parametrize("address", [REPO, f"{REPO}@1.0.0", f"{REPO}@v1.0.0"])
def test_guarantee_07_a_cached_repository_opens_with_no_socket(server, repo, address, monkeypatch) -> None:
    path = pull(REPO).path

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    assert resolve(address).path == path
    assert resolve("schnet-tiny", hub=REPO).path == path
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert pull(f"{REPO}@1.0.0").path == path
    with pytest.raises(ModelError, match=rf"HF_HUB_OFFLINE is set; with a network: zoo pull {REPO}@2\.0\.0 "):
        pull(f"{REPO}@2.0.0")


def test_guarantee_01_a_tagged_version_never_changes(server, repo, release, tmp_path, make_release) -> None:
    commits = len(repo.commits)
    publish(release, REPO)
    assert len(repo.commits) == commits
    with pytest.raises(ModelError, match=r"already in hub 'hf://zoo/schnet-tiny' with other bytes"):
        publish(make_release(tmp_path / "other", weights=b"v" * 999), REPO)
    assert len(repo.commits) == commits


def test_a_new_version_leaves_the_old_one_as_it_was(repo, release, tmp_path, make_release) -> None:
    newer = make_release(tmp_path / "newer", version="1.1.0", weights=b"v" * 9)
    (newer / "README.md").unlink()
    (newer / "CARD.md").write_text("other")
    from zoo_registry.manifest import write_manifest

    write_manifest(newer)
    publish(newer, REPO)
    assert content(pull(f"{REPO}@1.0.0").path) == content(release)
    assert content(pull(f"{REPO}@1.1.0").path) == content(newer)
    assert "README.md" not in repo.commits[-1][1]
    with pytest.raises(ModelNotFound, match=r"has no schnet-tiny@1\.2\.0.*schnet-tiny@1\.1\.0"):
        pull(f"{REPO}@1.2.0")


@pytest.mark.parametrize("files", [{"model.safetensors": b"hers"}, {"manifest.json": b"{}"}, {"LICENSE": b""}])
def test_a_repository_with_the_files_of_others_is_left_as_it_is(server, release, files) -> None:
    other = server.repos["zoo/schnet-tiny"] = Repo()
    other.commit({"README.md": b"hers", **files})
    with pytest.raises(ModelError, match="holds files that zoo did not write; give an empty one"):
        publish(release, REPO)
    assert (len(other.commits), other.tags) == (1, {})


def test_a_new_version_replaces_the_files_of_the_last_one_and_no_others(repo, tmp_path, make_release) -> None:
    repo.commit({**repo.commits[-1][1], "hers.txt": b"hers", "model.sig": b"of the last version"})
    publish(make_release(tmp_path / "newer", version="1.1.0"), REPO)
    assert repo.commits[-1][1]["hers.txt"] == b"hers"
    assert "model.sig" not in repo.commits[-1][1]


def test_a_repository_holds_one_model(repo, tmp_path, make_release) -> None:
    with pytest.raises(ModelError, match=r"holds schnet-tiny; wacsf-tiny needs a repository of its own"):
        publish(make_release(tmp_path / "other", name="wacsf-tiny"), REPO)


def test_guarantee_13_the_owner_is_part_of_the_name(server, repo, tmp_path, make_release) -> None:
    publish(make_release(tmp_path / "other", weights=b"v" * 999), "hf://mallory/schnet-tiny")
    assert pull("hf://mallory/schnet-tiny").file("model.safetensors").read_bytes() == b"v" * 999
    assert pull(REPO).file("model.safetensors").read_bytes() == b"w" * 999
    with pytest.raises(ModelNotFound, match=r"Allowed: hf://mallory/schnet-tiny, hf://zoo/schnet-tiny"):
        resolve("schnet-tiny")
    names = [(entry.name, entry.where) for entry in list_releases()]
    assert names == [("hf://mallory/schnet-tiny", "cache"), ("hf://zoo/schnet-tiny", "cache")]


def test_guarantee_25_a_private_repository_needs_the_token_and_no_text_shows_it(
    server, repo, monkeypatch, capfd
) -> None:
    repo.private = True
    texts = []
    for token in (None, "hf_thisTokenIsOfNobody", TOKEN):
        monkeypatch.setenv("HF_TOKEN", token or "")
        try:
            texts.append(str(pull(REPO)))
        except ModelError as error:
            texts += [str(error), repr(error.__cause__)]
    assert texts[-1] == "schnet-tiny@1.0.0"
    assert "is private and the token" in texts[0]
    repo.gated = True
    server.requests.clear()
    with pytest.raises(ModelError, match="is gated; accept its terms") as caught:
        pull(f"{REPO}@3.0.0")
    texts.append(str(caught.value))
    server.status = 500
    with pytest.raises(HubUnreachable, match=rf"HTTP 500; try again later with: zoo pull {REPO}@4\.0\.0") as caught:
        pull(f"{REPO}@4.0.0")
    texts.append(str(caught.value))
    assert not any("hf_this" in text or "\n" in text for text in [*texts, *capfd.readouterr()])


def test_guarantee_25_a_token_goes_to_the_hub_and_to_no_other_host(server, repo) -> None:
    pull(REPO)
    assert {sent for _, path, sent in server.requests if path.startswith("/cdn/")} == {False}
    assert {sent for _, path, sent in server.requests if "/resolve/" in path} == {True}
    with pytest.raises(ModelError) as caught:
        pull(f"hf://user:{TOKEN}@zoo/schnet-tiny")
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("damage", [b"v" * 999, b"w" * 998, b"", b"<html>", b"w" * 500 + b"\0" * 499])
def test_guarantee_03_a_damaged_file_on_the_hub_is_named_and_not_kept(server, repo, cache, damage) -> None:
    dict(repo.commits)[repo.tags["v1.0.0"]]["model.safetensors"] = damage
    with pytest.raises(ReleaseInvalid, match=r"model\.safetensors: expected .* got"):
        pull(REPO)
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_guarantee_12_a_moved_tag_does_not_pass_the_lock(server, repo, release, tmp_path, make_release) -> None:
    from zoo_registry.lock import describe

    first = resolve(REPO)
    line = describe(first, *origin(REPO, first))
    assert (line.hub, line.revision) == (REPO, repo.tags["v1.0.0"])
    repo.tags["v1.0.0"] = repo.commit(content(make_release(tmp_path / "moved", weights=b"v" * 999)))
    assert pull(f"{REPO}@1.0.0", manifest_sha256=line.manifest).path == first.path
    import shutil

    shutil.rmtree(first.path)
    with pytest.raises(ReleaseInvalid, match=rf"expected manifest\.json with sha256 {line.manifest}, got"):
        pull(f"{REPO}@1.0.0", manifest_sha256=line.manifest)
    with pytest.raises(ModelNotFound):
        resolve("schnet-tiny@1.0.0")


def test_guarantee_12_a_yanked_version_comes_only_to_who_names_it_and_with_the_reason(
    repo, tmp_path, make_release
) -> None:
    publish(make_release(tmp_path / "newer", version="1.1.0"), REPO)
    yank("schnet-tiny@1.1.0", "forces of fluorine are wrong", REPO)
    assert str(pull(REPO)) == "schnet-tiny@1.0.0"
    with pytest.warns(YankedWarning, match=r"schnet-tiny@1\.1\.0 was yanked: forces of fluorine are wrong"):
        assert str(pull(f"{REPO}@1.1.0")) == "schnet-tiny@1.1.0"
    assert list_releases(REPO, remote=True)[1].description.startswith("yanked: forces of fluorine")


def test_two_who_publish_at_once_do_not_overwrite_each_other(server, repo, tmp_path, make_release, monkeypatch) -> None:
    answer = Handler.on_preupload

    def meanwhile(self: Handler, repo: Repo, words: list[str]) -> None:
        repo.commit({**repo.commits[-1][1], "hers": b""})
        answer(self, repo, words)

    monkeypatch.setattr(Handler, "on_preupload", meanwhile)
    with pytest.raises(ModelError, match="changed by somebody else meanwhile; publish again"):
        publish(make_release(tmp_path / "newer", version="1.1.0"), REPO)
    assert repo.tags.keys() == {"v1.0.0"}
    assert "hers" in repo.commits[-1][1]


def test_a_bundle_of_a_repository_opens_under_its_name_on_another_machine(
    repo, server, tmp_path, monkeypatch, cache
) -> None:
    release = pull(REPO)
    assert namespace_of(release, cache) == "_hf/zoo/schnet-tiny"
    write_archive(tmp_path / "bundle.tar", [("_hf/zoo/schnet-tiny", release)])
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "elsewhere"))
    server.status = 500
    read_archive(tmp_path / "bundle.tar", tmp_path / "elsewhere")
    assert content(resolve(REPO).path) == content(release.path)
