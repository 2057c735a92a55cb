"""Pull and publish: whole or not at all, and one version has one content for ever."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zoo_registry import install, store
from zoo_registry.errors import ModelError, ModelNotFound, ReleaseInvalid
from zoo_registry.listing import list_releases
from zoo_registry.manifest import write_manifest
from zoo_registry.store import publish, pull, resolve


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.glob(".*")]


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )


STUCK_PULL = """
import os, sys, time
from zoo_registry import install
from zoo_registry.hubs.directory import DirectoryHub
from zoo_registry.store import pull

def stop():
    print("stuck", flush=True)
    time.sleep(60)

hub, left = sys.argv[1], int(sys.argv[2])
opened = DirectoryHub.open
def open_some(self, name, version, file):
    global left
    left -= 1
    return opened(self, name, version, file) if left >= 0 else stop()
DirectoryHub.open = open_some
install.os.rename = lambda *_: stop()
pull("schnet-tiny", hub)
"""


@pytest.mark.parametrize("files_copied", [0, 1, 2, 3, 99])
def test_guarantee_04_kill_9_at_any_point_of_a_pull_leaves_nothing_loadable(
    hub, cache, make_release, files_copied
) -> None:
    make_release(hub)
    with start(STUCK_PULL, str(hub), str(files_copied)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "stuck\n"
        assert len(leftovers(cache)) == 1  # the pull was under way
        process.kill()
    with pytest.raises(ModelNotFound):
        resolve("schnet-tiny")
    assert list_releases() == []
    assert str(pull("schnet-tiny", str(hub))) == "schnet-tiny@1.0.0"


EAGER_PULL = """
import sys
from zoo_registry.store import pull
print("ready", flush=True)
sys.stdin.readline()
print(pull("schnet-tiny", sys.argv[1]), flush=True)
"""


def test_guarantee_05_eight_processes_that_pull_at_once_all_get_the_release(hub, cache, make_release) -> None:
    make_release(hub, weights=os.urandom(3_000_000))
    processes = [start(EAGER_PULL, str(hub)) for _ in range(8)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    answers = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
    for process in processes:
        answers.append(process.communicate()[0])
    assert answers == ["schnet-tiny@1.0.0\n"] * 8
    assert [path.name for path in cache.iterdir()] == ["schnet-tiny"]
    assert resolve("schnet-tiny").path == cache / "schnet-tiny" / "1.0.0"


def test_guarantee_05_what_another_process_put_there_meanwhile_is_not_moved_away(
    hub, cache, make_release, monkeypatch
) -> None:
    make_release(hub)
    look = store._kept

    def other_then(*words):
        found = look(*words)
        make_release(cache)  # the other process, after this one found nothing
        return found

    monkeypatch.setattr(store, "_kept", other_then)
    monkeypatch.setattr(install, "move_aside", lambda *_: pytest.fail("a release that others read was moved"))
    assert pull("schnet-tiny", str(hub)).path == cache / "schnet-tiny" / "1.0.0"


def test_guarantee_05_the_slower_of_two_pulls_takes_the_release_of_the_faster(
    hub, cache, make_release, monkeypatch
) -> None:
    make_release(hub)
    rename = os.rename

    def other_first(source: Path, target: Path) -> None:
        make_release(cache)
        rename(source, target)

    monkeypatch.setattr(install.os, "rename", other_first)
    assert pull("schnet-tiny", str(hub)).path == cache / "schnet-tiny" / "1.0.0"
    assert leftovers(cache) == []


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "flipped": (flip, "expected sha256"),
    "truncated": (lambda path: os.truncate(path, 10), "expected 999 bytes, got 10"),
    "empty": (lambda path: os.truncate(path, 0), "expected 999 bytes, got 0"),
    "endless": (lambda path: os.truncate(path, 1 << 26), "longer than its manifest says"),
    "web page": (lambda path: path.write_text("<html>"), "expected 999 bytes, got 6"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_guarantee_03_a_damaged_hub_is_named_and_the_cache_stays_clean(hub, cache, make_release, kind: str) -> None:
    damage, message = DAMAGE[kind]
    damage(make_release(hub) / "model.safetensors")
    with pytest.raises(ReleaseInvalid, match=rf"model\.safetensors.*{message}") as caught:
        pull("schnet-tiny", str(hub))
    assert ".partial" not in str(caught.value)
    assert leftovers(cache) == []
    assert list_releases() == []


def test_a_file_that_vanished_from_the_hub_is_named_and_the_cache_stays_clean(hub, cache, make_release) -> None:
    (make_release(hub) / "model.safetensors").unlink()
    with pytest.raises(ModelNotFound, match=r"model\.safetensors is not there"):
        pull("schnet-tiny", str(hub))
    assert leftovers(cache) == []


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "..\\evil"])
def test_guarantee_08_a_hostile_manifest_writes_nothing_outside(hub, cache, tmp_path, make_release, name: str) -> None:
    manifest = make_release(hub) / "manifest.json"
    raw = json.loads(manifest.read_bytes())
    raw["files"][name] = {"size": 4, "sha256": "0" * 64}
    manifest.write_text(json.dumps(raw))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ReleaseInvalid, match="lists the file name"):
        pull("schnet-tiny", str(hub))
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before and cache not in path.parents] == [cache]


def test_guarantee_08_a_link_on_the_hub_is_not_followed(hub, tmp_path, make_release) -> None:
    folder = make_release(hub)
    (tmp_path / "secret").write_bytes(b"w" * 999)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(tmp_path / "secret")
    with pytest.raises(ReleaseInvalid, match="not an ordinary file"):
        pull("schnet-tiny", str(hub))


def test_another_model_under_the_asked_name_is_not_installed(hub, cache, make_release) -> None:
    make_release(hub, name="wacsf-tiny").parent.rename(hub / "schnet-tiny")
    with pytest.raises(ReleaseInvalid, match=r"holds wacsf-tiny@1\.0\.0"):
        pull("schnet-tiny", str(hub))
    assert list_releases() == []


def test_pull_replaces_a_damaged_cached_copy(hub, cache, make_release) -> None:
    make_release(hub)
    flip(make_release(cache) / "model.safetensors")
    with pytest.raises(ReleaseInvalid, match=r"expected sha256.*zoo pull"):
        resolve("schnet-tiny", str(hub))
    pull("schnet-tiny", str(hub))
    assert resolve("schnet-tiny").file("model.safetensors").read_bytes() == b"w" * 999
    assert leftovers(cache) == []


def test_a_release_that_is_cached_is_not_fetched_again(hub, cache, make_release) -> None:
    folder = make_release(cache)
    assert pull("schnet-tiny@1.0.0", "/no/such/hub").path == folder


def test_a_pull_removes_what_killed_pulls_left_but_not_what_is_under_way(hub, cache, make_release) -> None:
    make_release(hub)
    for name, age in ((".partial-old", 2 * 86400), (".partial-young", 60)):
        (cache / name).mkdir(parents=True)
        os.utime(cache / name, times=(time.time() - age,) * 2)
    pull("schnet-tiny", str(hub))
    assert leftovers(cache) == [".partial-young"]


def test_guarantee_06_others_can_read_what_one_user_pulled(hub, make_release) -> None:
    make_release(hub)
    mask = os.umask(0o022)
    try:
        release = pull("schnet-tiny", str(hub))
    finally:
        os.umask(mask)
    assert release.path.stat().st_mode & 0o777 == 0o755
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in release.path.iterdir())


def test_a_signature_travels_with_the_release(hub, make_release) -> None:
    (make_release(hub) / "model.sig").write_bytes(b"signed")
    assert pull("schnet-tiny", str(hub)).file("model.sig").read_bytes() == b"signed"


def test_what_was_published_can_be_pulled_and_published_again(hub, release) -> None:
    publish(release, str(hub))
    assert str(publish(release, str(hub))) == "schnet-tiny@1.0.0"
    assert (pull("schnet-tiny", str(hub)).path / "manifest.json").read_bytes() == (
        release / "manifest.json"
    ).read_bytes()
    assert leftovers(hub) == []


def test_guarantee_01_a_published_version_never_changes(hub, release, tmp_path, make_release) -> None:
    publish(release, str(hub))
    other = make_release(tmp_path / "other", weights=b"v" * 999)
    with pytest.raises(ModelError, match=r"schnet-tiny@1\.0\.0 is already in .*hub .* higher version"):
        publish(other, str(hub))
    assert (hub / "schnet-tiny/1.0.0/model.safetensors").read_bytes() == b"w" * 999


def test_a_damaged_release_is_not_published(hub, release) -> None:
    flip(release / "model.safetensors")
    with pytest.raises(ReleaseInvalid, match="expected sha256"):
        publish(release, str(hub))
    assert list(hub.iterdir()) == []


def test_a_mistyped_hub_is_not_made(tmp_path, release) -> None:
    for action in (
        lambda: publish(release, str(tmp_path / "hbu")),
        lambda: pull("a-b", str(tmp_path / "hbu")),
    ):
        with pytest.raises(ModelError, match="is not a folder"):
            action()
    assert not (tmp_path / "hbu").exists()


def test_release_with_new_files_is_publishable_only_after_its_manifest(hub, release) -> None:
    (release / "golden.json").write_text("{}")
    with pytest.raises(ReleaseInvalid, match=r"golden\.json, not in its manifest"):
        publish(release, str(hub))
    write_manifest(release)
    publish(release, str(hub))
