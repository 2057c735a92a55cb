"""Names lead to exactly one release, or to an error that says what there is."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from zoo_registry.errors import ModelError, ModelNotFound, ReleaseInvalid
from zoo_registry.listing import list_releases
from zoo_registry.store import pull, resolve


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("where", ["bundled", "cache"])
def test_guarantee_07_a_release_on_this_machine_needs_no_network_and_no_hub(
    tmp_path: Path, make_release, where: str
) -> None:
    folder = make_release(tmp_path / where)
    assert resolve("schnet-tiny").path == folder
    assert resolve("schnet-tiny@1.0.0", hub="/no/such/hub").path == folder
    assert [entry.where for entry in list_releases()] == [where]


def test_no_version_means_the_newest_on_this_machine_in_semantic_order(bundled, cache, make_release) -> None:
    for version in ("1.9.0", "1.10.0", "0.99.99"):
        make_release(bundled, version=version)
    assert resolve("schnet-tiny").metadata.version == "1.10.0"
    make_release(cache, version="2.0.0")
    assert resolve("schnet-tiny").metadata.version == "2.0.0"
    assert resolve("schnet-tiny@1.9.0").metadata.version == "1.9.0"


def test_the_wheel_goes_before_the_cache_for_the_same_version(bundled, cache, make_release) -> None:
    make_release(cache)
    folder = make_release(bundled)
    assert resolve("schnet-tiny").path == folder


def test_a_missing_release_is_pulled_from_the_hub_and_then_stays(hub, cache, make_release) -> None:
    source = make_release(hub)
    release = resolve("schnet-tiny", hub=str(hub))
    assert release.path == cache / "schnet-tiny" / "1.0.0"
    assert {p.name: p.read_bytes() for p in release.path.iterdir()} == {
        p.name: p.read_bytes() for p in source.iterdir()
    }
    assert resolve("schnet-tiny") == release


def test_guarantee_12_a_newer_version_on_the_hub_never_replaces_a_local_one_unasked(hub, cache, make_release) -> None:
    make_release(cache)
    make_release(hub, version="1.1.0")
    assert resolve("schnet-tiny", hub=str(hub)).metadata.version == "1.0.0"
    assert pull("schnet-tiny", hub=str(hub)).metadata.version == "1.1.0"
    assert resolve("schnet-tiny").metadata.version == "1.1.0"


def test_the_hub_can_be_named_by_environment_and_by_url(hub, make_release, monkeypatch) -> None:
    make_release(hub)
    make_release(hub, version="1.1.0")
    monkeypatch.setenv("ZOO_HUB", str(hub))
    assert resolve("schnet-tiny@1.0.0").metadata.version == "1.0.0"
    assert pull("schnet-tiny", hub=hub.as_uri()).metadata.version == "1.1.0"


def test_a_path_opens_the_release_there(release, monkeypatch) -> None:
    assert resolve(str(release)).path == release
    monkeypatch.chdir(release.parent)
    assert str(resolve("./1.0.0")) == str(resolve("1.0.0")) == "schnet-tiny@1.0.0"


def test_guarantee_13_an_unknown_name_gives_the_near_one_and_the_list_and_fetches_nothing(
    hub, cache, make_release
) -> None:
    make_release(cache)
    make_release(cache, name="wacsf-tiny")
    with pytest.raises(ModelNotFound, match=r"did you mean 'schnet-tiny'\? Allowed: schnet-tiny, wacsf-tiny; give"):
        resolve("schnet-tny")
    make_release(hub, name="schnet-hubbed")
    with pytest.raises(ModelNotFound, match=r"hub .* no model 'schnet-hubed'; did you mean 'schnet-hubbed'"):
        resolve("schnet-hubed", hub=str(hub))
    assert sorted(p.name for p in cache.iterdir()) == ["schnet-tiny", "wacsf-tiny"]


def test_an_unknown_version_gives_those_that_exist(hub, cache, make_release) -> None:
    make_release(cache)
    with pytest.raises(ModelNotFound, match=r"no schnet-tiny@3\.0\.0 on this machine.*Allowed: schnet-tiny@1\.0\.0"):
        resolve("schnet-tiny@3.0.0")
    make_release(hub, version="2.0.0")
    with pytest.raises(ModelNotFound, match=r"hub .* has no schnet-tiny@3\.0\.0.*schnet-tiny@2\.0\.0"):
        resolve("schnet-tiny@3.0.0", hub=str(hub))


def test_with_nothing_anywhere_the_error_says_where_to_look() -> None:
    with pytest.raises(ModelNotFound, match=r"no model 'schnet-tiny' on this machine.*set ZOO_HUB"):
        resolve("schnet-tiny")
    with pytest.raises(ModelError, match="no hub is named"):
        pull("schnet-tiny")
    assert list_releases() == []


NO_NAMES = [
    "",
    "@",
    "a@",
    "a@1",
    "a@latest",
    "..",
    "a\\b",
    "a\0b",
    "-a",
    "a-",
    "A",
    "a b",
    "a@1.0.0\n",
    "a" * 300,
]


@pytest.mark.parametrize("name", NO_NAMES)
def test_guarantee_08_what_is_no_name_is_refused_before_any_file_is_touched(name: str) -> None:
    for action in (resolve, pull):
        with pytest.raises(ModelNotFound, match="not a model name"):
            action(name)


@pytest.mark.parametrize("path", ["no/such", "../schnet-tiny", "/", "a/\0", "a/" + "b" * 300, "~nobody-here/x"])
def test_a_path_without_release_is_refused(path: str) -> None:
    with pytest.raises(ModelError):
        resolve(path)


def test_a_path_of_one_file_asks_for_the_folder(release: Path) -> None:
    with pytest.raises(ModelError, match="give the release folder"):
        resolve(str(release / "model.safetensors"))


def test_an_address_that_names_no_model_or_no_hub_says_what_to_write() -> None:
    with pytest.raises(ModelError, match=r"hf://owner/repo@\.\.\. needs a version"):
        resolve("hf://owner/repo@main")
    with pytest.raises(ModelError, match=r"is written name\[@version\] with hub=https://"):
        resolve("https://example.org/hub")
    with pytest.raises(ModelError, match="three slashes"):
        resolve("schnet-tiny", hub="file://host/hub")


def test_a_folder_of_another_name_is_not_taken_for_the_release(cache, make_release) -> None:
    make_release(cache, name="wacsf-tiny").parent.rename(cache / "schnet-tiny")
    with pytest.raises(ReleaseInvalid, match=r"should be schnet-tiny@1\.0\.0 but holds wacsf-tiny@1\.0\.0"):
        resolve("schnet-tiny")


def test_the_list_shows_each_release_once_where_it_is_nearest(bundled, cache, hub, make_release) -> None:
    for place in (bundled, cache, hub):
        make_release(place)
    make_release(cache, version="1.10.0")
    make_release(hub, version="1.9.0")
    entries = list_releases(str(hub))
    assert [(e.version, e.where) for e in entries] == [
        ("1.0.0", "bundled"),
        ("1.9.0", str(hub)),
        ("1.10.0", "cache"),
    ]
    assert entries[0].description == "A made-up model of hydrogen."
    assert entries[0].metrics["test/energy_mae"] == {"value": 0.01, "unit": "eV", "n": 10}


def test_one_damaged_release_does_not_hide_the_others_from_the_list(cache, make_release) -> None:
    (make_release(cache) / "zoo.json").write_text("{")
    make_release(cache, name="wacsf-tiny")
    assert [e.description[:14] for e in list_releases()] == ["cannot be read", "A made-up mode"]


LOAD_WITHOUT_WRITING = """
import os, sys
from zoo_registry.listing import list_releases
from zoo_registry.store import resolve
WRITES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.utime", "os.link", "os.symlink"}
def refuse(event, args):
    flags = args[2] if event == "open" else 0
    if event in WRITES or (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        os.write(2, f"{event} {args}".encode())
        os._exit(9)
sys.addaudithook(refuse)
sys.dont_write_bytecode = True
print(resolve("schnet-tiny"), len(list_releases()))
"""


def test_guarantee_06_loading_from_a_shared_cache_writes_nothing_at_all(cache, make_release) -> None:
    folder = make_release(cache)
    for path in (*folder.iterdir(), folder, folder.parent, cache):
        path.chmod(0o555 if path.is_dir() else 0o444)
    command = [sys.executable, "-c", LOAD_WITHOUT_WRITING]
    path = os.pathsep.join(sys.path)
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    for path in (cache, folder.parent, folder):
        path.chmod(0o755)
    assert done.stderr == ""
    assert done.stdout.startswith("schnet-tiny@1.0.0")


def test_a_cache_that_cannot_be_written_is_one_line_that_names_it(hub, tmp_path, make_release, monkeypatch) -> None:
    make_release(hub)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ModelError, match=r"cannot copy to .*file/cache.*ZOO_CACHE") as caught:
        pull("schnet-tiny", hub=str(hub))
    assert "\n" not in str(caught.value)
