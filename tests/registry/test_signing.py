"""Signatures by the OpenSSF model-signing library, with keys, offline."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from zoo_registry.errors import MissingDependency, ModelError, ReleaseInvalid, UsageError
from zoo_registry.lock import describe, read_lock, write_lock
from zoo_registry.manifest import write_manifest
from zoo_registry.release import open_release
from zoo_registry.signing import check_signature, is_trusted, sign, trusted_keys
from zoo_registry.store import hub_of, origin, publish, pull, pull_locked, resolve


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two pairs of keys: mine and hers."""
    pytest.importorskip("model_signing")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("keys")
    pem = serialization.Encoding.PEM
    for name in ("mine", "hers"):
        key = ec.generate_private_key(ec.SECP256R1())
        plain = serialization.NoEncryption()
        public = serialization.PublicFormat.SubjectPublicKeyInfo
        (folder / name).write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
        (folder / f"{name}.pem").write_bytes(key.public_key().public_bytes(pem, public))
    return folder


@pytest.fixture
def signed(release: Path, keys: Path) -> Path:
    sign(release, keys / "mine")
    return release


@pytest.fixture
def trusting(tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CONFIG", str(tmp_path / "config"))
    (tmp_path / "config/trusted-keys").mkdir(parents=True)
    shutil.copy(keys / "mine.pem", tmp_path / "config/trusted-keys")


def test_a_signature_names_the_key_that_made_it_and_travels(signed, keys, hub) -> None:
    publish(signed, str(hub))
    release = pull("schnet-tiny", str(hub))
    assert check_signature(release, [keys / "hers.pem", keys / "mine.pem"]) == keys / "mine.pem"
    with pytest.raises(ReleaseInvalid, match=r"does not fit its files and any of the keys hers\.pem"):
        check_signature(release, [keys / "hers.pem"])


def test_a_version_that_was_published_unsigned_does_not_pass_for_signed(release, keys, hub) -> None:
    publish(release, str(hub))
    sign(release, keys / "mine")
    with pytest.raises(ModelError, match="without signature, and stays as it is; sign the next version"):
        publish(release, str(hub))


def change(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"v" * 999)


DAMAGE = {
    "changed": change,
    "missing": lambda folder: (folder / "README.md").unlink(),
    "extra": lambda folder: (folder / "model.pt").write_bytes(b"x"),
    "unseen": lambda folder: (folder / "LICENSE").write_bytes(b""),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_changed_missing_or_extra_file_breaks_the_signature(signed, keys, kind) -> None:
    DAMAGE[kind](signed)
    write_manifest(signed)  # an attacker writes the manifest anew
    with pytest.raises(ReleaseInvalid, match="its signature does not fit"):
        check_signature(open_release(signed), [keys / "mine.pem"])


def test_a_signature_of_another_release_does_not_fit(signed, keys, make_release, tmp_path) -> None:
    other = make_release(tmp_path / "other", version="1.0.1")
    shutil.copy(signed / "model.sig", other)
    with pytest.raises(ReleaseInvalid, match="its signature does not fit"):
        check_signature(open_release(other), [keys / "mine.pem"])


@pytest.mark.parametrize("content", [b"", b"{}", b"<html>", b'{"dsseEnvelope": {}}', b"\xff" * 99])
def test_what_is_no_signature_is_refused_in_one_line(signed, keys, content) -> None:
    (signed / "model.sig").write_bytes(content)
    with pytest.raises(ReleaseInvalid, match="its signature does not fit") as caught:
        check_signature(open_release(signed), [keys / "mine.pem"])
    assert "\n" not in str(caught.value)


def test_a_release_without_signature_or_a_check_without_key_says_so(release, keys, tmp_path) -> None:
    opened = open_release(release)
    with pytest.raises(ReleaseInvalid, match=r"is not signed: it has no model\.sig"):
        check_signature(opened, [keys / "mine.pem"])
    with pytest.raises(UsageError, match="no key to check the signature with"):
        check_signature(opened, [])
    (release / "model.sig").write_bytes(b"x")
    with pytest.raises(UsageError, match="is not a public key"):
        check_signature(opened, [release / "zoo.json"])
    with pytest.raises(UsageError, match="cannot sign with"):
        sign(release, keys / "mine.pem")
    assert sorted(p.name for p in release.parent.iterdir()) == ["1.0.0"]


def test_without_the_library_the_error_has_the_line_that_installs_it(release, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(MissingDependency, match=r"pip install 'atomzoo\[sign\]'"):
        sign(release, "key")


@pytest.mark.usefixtures("trusting")
def test_guarantee_10_code_is_trusted_when_it_is_bundled_vouched_for_or_signed_by_a_key_of_the_user(
    signed, make_release, bundled, cache, keys
) -> None:
    assert [key.name for key in trusted_keys()] == ["mine.pem"]
    assert is_trusted(open_release(signed))
    (signed / "model.sig").unlink()
    assert not is_trusted(open_release(signed))
    assert is_trusted(replace(open_release(signed), trusted=True))
    sign(signed, keys / "hers")
    assert not is_trusted(open_release(signed))
    sign(signed, keys / "mine")
    opened = open_release(signed)
    change(signed)  # after it was opened
    assert not is_trusted(opened)
    make_release(cache)
    assert not is_trusted(resolve("schnet-tiny"))
    make_release(bundled)
    assert is_trusted(resolve("schnet-tiny"))


def test_unsigned_releases_never_load_the_library(release) -> None:
    script = (
        "import sys; from zoo_registry.release import open_release; from zoo_registry.signing import is_trusted; "
        f"assert not is_trusted(open_release({str(release)!r})); assert 'model_signing' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": ":".join(sys.path)}, check=True)


def test_a_lock_file_says_what_it_locks_and_comes_back(release, tmp_path) -> None:
    line = describe(open_release(release), "/hub", None)
    write_lock(tmp_path / "zoo.lock", [line])
    assert read_lock(tmp_path / "zoo.lock") == [line]
    assert line.files.keys() == {"zoo.json", "model.safetensors", "README.md"}


def test_guarantee_12_other_bytes_under_a_locked_version_are_refused(release, hub, cache, make_release) -> None:
    line = describe(open_release(release), str(hub), None)
    make_release(hub, weights=b"v" * 999)
    with pytest.raises(ReleaseInvalid, match=rf"expected manifest\.json with sha256 {line.manifest}, got .*not used"):
        pull("schnet-tiny@1.0.0", str(hub), line.manifest)
    assert not (cache / "schnet-tiny" / "1.0.0").exists()
    make_release(cache, weights=b"v" * 999)
    with pytest.raises(ReleaseInvalid, match="expected manifest"):
        pull("schnet-tiny@1.0.0", str(hub), line.manifest)


GOOD = {"name": "a", "version": "1.0.0", "hub": None, "revision": None, "manifest": "0" * 64, "files": {}}


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ("<html>", "is not a lock file"),
        ("[]", "is not a lock file"),
        ('{"schema": 2}', "has schema 2, this version reads 1; upgrade"),
        (json.dumps({"schema": 1, "releases": [{"name": "a"}]}), "write it again with zoo lock"),
        (json.dumps({"schema": 1, "releases": [GOOD | {"manifest": "short"}]}), "write it again with zoo lock"),
        (json.dumps({"schema": 1, "releases": [GOOD | {"manifest": None}]}), "write it again with zoo lock"),
    ],
)
def test_what_is_no_lock_file_is_refused_in_one_line(tmp_path, document, text) -> None:
    (tmp_path / "zoo.lock").write_text(document)
    with pytest.raises(Exception, match=text) as caught:
        read_lock(tmp_path / "zoo.lock")
    assert "\n" not in str(caught.value)


WRONG_LINES = [
    ("name", 1),
    ("name", "../x"),
    ("version", None),
    ("version", "latest"),
    ("hub", 1),
    ("hub", "https://a\x1b[2J"),
    ("revision", []),
    ("manifest", None),
    ("files", None),
    ("files", ["zoo.json"]),
    ("files", {"zoo.json": 1}),
]


@pytest.mark.parametrize(("key", "value"), WRONG_LINES)
def test_a_lock_file_with_a_wrong_field_is_refused(release, tmp_path, key, value) -> None:
    write_lock(tmp_path / "zoo.lock", [describe(open_release(release), None, None)])
    document = json.loads((tmp_path / "zoo.lock").read_bytes())
    document["releases"][0][key] = value
    (tmp_path / "zoo.lock").write_text(json.dumps(document))
    with pytest.raises(ModelError, match="is not a lock file of schema 1"):
        read_lock(tmp_path / "zoo.lock")


@pytest.mark.parametrize("place", ["bundled", "cache"])
def test_guarantee_12_a_locked_release_of_no_hub_is_found_here_whatever_hub_is_set(
    tmp_path, make_release, monkeypatch, place
) -> None:
    folder = make_release(tmp_path / place)
    line = describe(open_release(folder), None, None)
    for hub in ("hf://owner/repo", "/no/such/hub", "https://user:s3cret@example.org"):
        monkeypatch.setenv("ZOO_HUB", hub)
        assert pull_locked(line).path == folder
    with pytest.raises(ReleaseInvalid, match=r"expected manifest\.json with sha256 0000"):
        pull_locked(replace(line, manifest="0" * 64))


def test_a_release_of_a_repository_keeps_its_hub_in_the_lock_without_network(cache, make_release, monkeypatch) -> None:
    make_release(cache / "_hf/zoo/schnet-tiny")
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    release = resolve("hf://zoo/schnet-tiny")
    with pytest.raises(ModelError, match="ZOO_OFFLINE is set"):
        origin("hf://zoo/schnet-tiny", release)
    assert hub_of("hf://zoo/schnet-tiny", release) == "hf://zoo/schnet-tiny"


@pytest.mark.usefixtures("trusting")
def test_a_trusted_key_that_cannot_be_read_does_not_hide_the_others(signed, tmp_path) -> None:
    folder = tmp_path / "config/trusted-keys"
    (folder / "a-broken.pem").write_text("no key")
    assert check_signature(open_release(signed), trusted_keys()) == folder / "mine.pem"
    assert is_trusted(open_release(signed))
    with pytest.raises(UsageError, match=r"a-broken\.pem is not a public key"):
        check_signature(open_release(signed), [folder / "a-broken.pem"])
