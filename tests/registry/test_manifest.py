"""A release is exactly what its manifest says, byte for byte."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from zoo_registry.errors import ReleaseInvalid
from zoo_registry.manifest import verify_manifest, write_manifest
from zoo_registry.release import open_release


def test_an_untouched_release_opens(release: Path) -> None:
    opened = open_release(release)
    assert str(opened) == "schnet-tiny@1.0.0"
    assert opened.metadata.cutoff == 5.0
    assert opened.file("model.safetensors").read_bytes() == b"w" * 999


def test_a_file_that_the_release_lacks_is_named_with_those_it_has(release: Path) -> None:
    with pytest.raises(ReleaseInvalid, match=r"no model\.onnx; it has README\.md, .*zoo\.json"):
        open_release(release).file("model.onnx")


def test_a_file_outside_the_release_cannot_be_asked_for(release: Path) -> None:
    (release.parent / "secret").write_text("x")
    with pytest.raises(ReleaseInvalid, match=r"no \.\./secret"):
        open_release(release).file("../secret")


@pytest.mark.parametrize("name", ["zoo.json", "model.safetensors", "README.md"])
def test_guarantee_03_one_flipped_bit_in_any_file_is_found(release: Path, name: str) -> None:
    content = bytearray((release / name).read_bytes())
    content[len(content) // 2] ^= 1
    (release / name).write_bytes(content)
    with pytest.raises(ReleaseInvalid, match=rf"{name}: expected sha256 [0-9a-f]{{64}}, got [0-9a-f]{{64}}"):
        open_release(release)


@pytest.mark.parametrize("length", [0, 1, 998])
def test_guarantee_03_a_truncated_file_is_found(release: Path, length: int) -> None:
    os.truncate(release / "model.safetensors", length)
    with pytest.raises(ReleaseInvalid, match=f"safetensors: expected 999 bytes, got {length}"):
        open_release(release)


def test_guarantee_03_a_zero_filled_tail_is_found(release: Path) -> None:
    (release / "model.safetensors").write_bytes(b"w" * 500 + b"\0" * 499)
    with pytest.raises(ReleaseInvalid, match="expected sha256"):
        open_release(release)


def test_guarantee_02_a_missing_file_is_found(release: Path) -> None:
    (release / "README.md").unlink()
    with pytest.raises(ReleaseInvalid, match=r"lacks README\.md"):
        open_release(release)


def test_guarantee_02_an_extra_file_is_found(release: Path) -> None:
    (release / "model.pkl").write_bytes(b"")
    with pytest.raises(ReleaseInvalid, match=r"model\.pkl, not in its manifest"):
        open_release(release)


def test_a_release_without_manifest_does_not_open(release: Path) -> None:
    (release / "manifest.json").unlink()
    with pytest.raises(ReleaseInvalid, match=r"no manifest\.json"):
        open_release(release)


def test_a_release_without_metadata_does_not_open(release: Path) -> None:
    (release / "zoo.json").unlink()
    write_manifest(release)
    with pytest.raises(ReleaseInvalid, match=r"no zoo\.json"):
        open_release(release)


def test_a_signature_stands_beside_the_manifest_and_not_in_it(release: Path) -> None:
    (release / "model.sig").write_bytes(b"signed")
    open_release(release)
    write_manifest(release)
    assert "model.sig" not in verify_manifest(release)


def test_writing_the_manifest_twice_gives_the_same_bytes(release: Path) -> None:
    before = (release / "manifest.json").read_bytes()
    assert write_manifest(release).read_bytes() == before


@pytest.mark.parametrize("target", ["file", "folder"])
def test_guarantee_08_a_link_in_a_release_is_refused(release: Path, target: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"w" * 999)
    (tmp_path / "folder").mkdir()
    (release / "model.safetensors").unlink()
    (release / "model.safetensors").symlink_to(tmp_path / target)
    with pytest.raises(ReleaseInvalid, match="not an ordinary file"):
        open_release(release)
    with pytest.raises(ReleaseInvalid, match="not an ordinary file"):
        write_manifest(release)


HOSTILE = [
    "../x",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "..",
    ".",
    "",
    "a\0b",
    "C:x",
    ".hidden",
    "-rf",
    "x" * 300,
    "é",
]


@pytest.mark.parametrize("name", [*HOSTILE, "manifest.json", "model.sig"])
def test_guarantee_08_a_manifest_cannot_name_a_file_that_leaves_or_hides(release: Path, name: str) -> None:
    manifest = json.loads((release / "manifest.json").read_bytes())
    manifest["files"][name] = {"size": 0, "sha256": "0" * 64}
    (release / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ReleaseInvalid, match="lists the file name"):
        open_release(release)


def test_guarantee_08_names_that_collide_on_some_file_systems_are_refused(release: Path) -> None:
    (release / "readme.MD").write_text("")
    with pytest.raises(ReleaseInvalid, match="upper and lower case"):
        write_manifest(release)


@pytest.mark.parametrize("name", ["model.pkl", "MODEL.PKL", "weights.pth", "last.ckpt", "x.joblib"])
def test_guarantee_09_a_release_that_lists_a_pickle_is_refused(release: Path, name: str) -> None:
    (release / name).write_bytes(b"")
    with pytest.raises(ReleaseInvalid, match="a pickle, which runs code"):
        write_manifest(release)
    manifest = json.loads((release / "manifest.json").read_bytes())
    manifest["files"][name] = {"size": 0, "sha256": "0" * 64}
    (release / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ReleaseInvalid, match="a pickle, which runs code"):
        open_release(release)


def test_guarantee_14_a_newer_manifest_says_upgrade(release: Path) -> None:
    (release / "manifest.json").write_text('{"schema": 2, "files": {}}')
    with pytest.raises(ReleaseInvalid, match=r"schema 2, this version reads 1; upgrade"):
        open_release(release)


LINE = {"size": 1, "sha256": "0" * 64}
BROKEN = [
    "",
    "<!DOCTYPE html>",
    "[]",
    "null",
    "{}",
    '{"schema": true, "files": {}}',
    '{"schema": 1}',
    '{"schema": 1, "files": []}',
    json.dumps({"schema": 1, "files": {"a": None}}),
    json.dumps({"schema": 1, "files": {"a": {**LINE, "size": -1}}}),
    json.dumps({"schema": 1, "files": {"a": {**LINE, "size": True}}}),
    json.dumps({"schema": 1, "files": {"a": {**LINE, "sha256": "00"}}}),
    json.dumps({"schema": 1, "files": {"a": {**LINE, "more": 1}}}),
    "[" * 100_000,
    " " * 2_000_000,
]


@pytest.mark.parametrize("document", BROKEN, ids=range(len(BROKEN)))
def test_what_is_no_manifest_is_refused_in_one_line(release: Path, document: str) -> None:
    (release / "manifest.json").write_text(document)
    with pytest.raises(ReleaseInvalid, match=r"manifest\.json is") as caught:
        open_release(release)
    assert "\n" not in str(caught.value)


def test_a_release_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReleaseInvalid, match="not a folder"):
        open_release(tmp_path / "nowhere")
