"""Releases in one file: read as if it came from a stranger."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from zoo_registry.archive import read_archive, write_archive
from zoo_registry.cache import contents, prune
from zoo_registry.errors import ModelError, ModelNotFound, ReleaseInvalid, UsageError
from zoo_registry.release import open_release
from zoo_registry.store import resolve

PLACE = "schnet-tiny/1.0.0"


@pytest.fixture
def archive(release: Path, tmp_path: Path) -> Path:
    path = tmp_path / "bundle.tar"
    write_archive(path, [("", open_release(release))])
    return path


def add(path: Path, name: str, content: bytes = b"x", **facts: object) -> None:
    with tarfile.open(path, "a:") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        for key, value in facts.items():
            setattr(member, key, value)
        archive.addfile(member, io.BytesIO(content))


def test_what_was_bundled_is_what_is_imported_to_the_byte(archive, release, cache) -> None:
    assert [str(imported) for imported in read_archive(archive, cache)] == ["schnet-tiny@1.0.0"]
    folder = resolve("schnet-tiny").path
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {p.name: p.read_bytes() for p in release.iterdir()}
    assert read_archive(archive, cache)[0].path == folder


def test_the_same_releases_give_the_same_bytes(archive, release, tmp_path) -> None:
    os.utime(release / "zoo.json", times=(1, 1))
    write_archive(tmp_path / "again.tar", [("", open_release(release))])
    assert (tmp_path / "again.tar").read_bytes() == archive.read_bytes()
    with pytest.raises(UsageError, match="give another output="):
        write_archive(archive, [])


NAMES = [
    "../evil",
    "../../a/1.0.0/evil",
    "/tmp/evil",
    f"{PLACE}/../../../evil",
    f"./{PLACE}/evil",
    f"{PLACE}//evil",
    "schnet-tiny/evil",
    "schnet-tiny/1.0/evil",
    "Schnet/1.0.0/evil",
    "_hf/../../a/1.0.0/evil",
    "_hf/../x/schnet-tiny/1.0.0/evil",
    "other/owner/repo/schnet-tiny/1.0.0/evil",
    "C:\\evil",
    "evil",
]


@pytest.mark.parametrize("name", NAMES)
def test_guarantee_08_an_archive_with_a_hostile_name_is_refused_whole(archive, cache, tmp_path, name) -> None:
    add(archive, name)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ReleaseInvalid, match="no file of a release; not imported"):
        read_archive(archive, cache)
    assert sorted(tmp_path.rglob("*")) == before


KINDS = {"symlink": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE, "device": tarfile.CHRTYPE, "folder": tarfile.DIRTYPE}


@pytest.mark.parametrize("kind", KINDS)
def test_guarantee_08_an_archive_with_a_link_is_refused_whole(archive, cache, kind) -> None:
    add(archive, f"{PLACE}/evil", b"", type=KINDS[kind], linkname="/etc/passwd")
    with pytest.raises(ReleaseInvalid, match="no file of a release; not imported"):
        read_archive(archive, cache)
    assert not cache.exists()


def test_guarantee_08_a_file_twice_in_an_archive_is_refused(archive, cache) -> None:
    add(archive, f"{PLACE}/zoo.json")
    with pytest.raises(ReleaseInvalid, match=r"zoo\.json', which is no file of a release"):
        read_archive(archive, cache)


def test_guarantee_08_bombs_are_not_unpacked(archive, cache, tmp_path, monkeypatch) -> None:
    add(archive, f"{PLACE}/bomb", b"\0" * 5_000_000)  # in no manifest, so never copied
    read_archive(archive, cache)
    assert not (cache / PLACE / "bomb").exists()
    with tarfile.open(tmp_path / "small.tar.gz", "w:gz") as packed:
        packed.add(archive, f"{PLACE}/zoo.json")
    with pytest.raises(ReleaseInvalid, match="is not an archive of zoo bundle"):
        read_archive(tmp_path / "small.tar.gz", cache)
    monkeypatch.setattr("zoo_registry.archive.MAX_MEMBERS", 3)
    with pytest.raises(ReleaseInvalid, match="not imported"):
        read_archive(archive, cache)


def test_an_archive_that_lost_bytes_is_refused_and_the_cache_stays_clean(archive, cache) -> None:
    whole = archive.read_bytes()
    for end in (0, 100, 512, 1000, 2048, len(whole) - 10240):
        archive.write_bytes(whole[:end])
        with pytest.raises((ReleaseInvalid, ModelNotFound)):
            read_archive(archive, cache)
        assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_an_archive_that_is_damaged_between_two_releases_is_refused_whole(
    release, make_release, tmp_path, cache
) -> None:
    path = tmp_path / "two.tar"
    second = make_release(tmp_path / "other", name="wacsf-tiny")
    write_archive(path, [("", open_release(release)), ("", open_release(second))])
    whole = path.read_bytes()
    with tarfile.open(path) as archive:
        start = archive.getmember("wacsf-tiny/1.0.0/README.md").offset
        last = archive.getmembers()[-1]
    end = last.offset_data + (last.size + 511) // 512 * 512
    header = whole[start : start + 512]
    damaged = [
        whole[:start],
        whole[:end],
        whole[: end + 512],
        whole[: start + 100],
        whole[:start] + b"\0" * 512 + whole[start + 512 :],
        whole[:start] + b"x" * 512 + whole[start + 512 :],
        whole[:start] + header[:124] + b"\xff" * 12 + header[136:] + whole[start + 512 :],
        whole + b"more",
    ]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ReleaseInvalid):
            read_archive(path, cache)
        assert not cache.exists()
    path.write_bytes(whole[: end + 1024])
    assert len(read_archive(path, cache)) == 2


def test_a_release_that_is_named_twice_is_bundled_once_and_nothing_half_written_stays(
    release, archive, tmp_path, monkeypatch
) -> None:
    opened = open_release(release)
    write_archive(tmp_path / "twice.tar", [("", opened), ("", opened)])
    assert (tmp_path / "twice.tar").read_bytes() == archive.read_bytes()

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(tarfile.TarFile, "addfile", full)
    with pytest.raises(UsageError, match="no space left on device"):
        write_archive(tmp_path / "half.tar", [("", opened)])
    assert list(tmp_path.glob("half.tar*")) == []
    with pytest.raises(UsageError, match="give another output="):
        write_archive(archive / "below-a-file.tar", [])


def test_guarantee_01_an_archive_cannot_change_a_version_that_is_here(archive, cache, make_release) -> None:
    folder = make_release(cache, weights=b"v" * 999)
    with pytest.raises(ModelError, match=r"schnet-tiny@1\.0\.0 is already in .* with other bytes"):
        read_archive(archive, cache)
    assert (folder / "model.safetensors").read_bytes() == b"v" * 999


def test_prune_keeps_the_newest_of_each_name_and_tells_what_it_removed(cache, make_release) -> None:
    for version in ("1.9.0", "1.10.0"):
        make_release(cache, version=version)
        make_release(cache / "_hf/zoo/schnet-tiny", version=version)
    make_release(cache, name="wacsf-tiny")
    assert {release.label: release.newest for release in contents()} == {
        "schnet-tiny@1.9.0": False,
        "schnet-tiny@1.10.0": True,
        "wacsf-tiny@1.0.0": True,
        "hf://zoo/schnet-tiny@1.9.0": False,
        "hf://zoo/schnet-tiny@1.10.0": True,
    }
    assert all(release.size == sum(p.stat().st_size for p in release.path.iterdir()) for release in contents())
    assert [release.label for release in prune()] == ["schnet-tiny@1.9.0", "hf://zoo/schnet-tiny@1.9.0"]
    assert [release.newest for release in contents()] == [True] * 3
    assert prune() == []


def test_prune_removes_what_killed_pulls_left_of_names_and_of_repositories(cache) -> None:
    old, young = ([root / f".partial-{age}" for root in (cache, cache / "_hf/zoo/schnet-tiny")] for age in "01")
    for folder in (*old, *young):
        folder.mkdir(parents=True)
    for folder in old:
        os.utime(folder, times=(1, 1))
    prune()
    assert [folder.exists() for folder in (*old, *young)] == [False, False, True, True]
