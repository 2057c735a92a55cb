"""The commands that share models: verify, publish, yank, lock, bundle, import, search, cache."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from zoo_registry.manifest import write_manifest
from zoo_registry.release import Release, open_release
from zoo_runtime import cli
from zoo_runtime.commands.verify import check_golden
from zoo_runtime.graph import build

FRONT = "license: mit\nlibrary_name: atomzoo\ntags: [x]\ndatasets: [qm9]\nmodel-index: []\n"
CARD = f"---\n{FRONT}---\n\n# pair\x1b[2J-test\n"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> tuple[int, str, str]:
        code = cli.run([str(word) for word in words])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def make(make_release, backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Make a release that can be published; its numbers are those of the potential in numpy."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ZOO_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("ZOO_HUB", str(tmp_path / "shared"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shared").mkdir()

    def write(version: str = "1.0.0", error: float = 0.0, card: str = CARD) -> Path:
        release: Release = make_release(version=version, tolerance={"energy": 1e-5, "forces": 1e-4})
        structures = []
        for atoms in (molecule("CH4"), Atoms("H")):
            result = backend.compute(build([atoms], release.metadata.cutoff))
            entry = {"numbers": atoms.numbers.tolist(), "positions": atoms.positions.tolist()}
            entry |= {"cell": np.zeros((3, 3)).tolist(), "pbc": [False] * 3, "stress": None}
            entry |= {"energy": result["energy"][0] + error * len(atoms), "forces": result["forces"].tolist()}
            structures.append(entry)
        (release.path / "golden.json").write_text(json.dumps({"schema": 1, "structures": structures}))
        (release.path / "README.md").write_text(card)
        write_manifest(release.path)
        return release.path

    return write


def test_verify_tells_each_backend_that_reproduces_the_golden_numbers(run: Run, make) -> None:
    code, out, err = run("verify", make())
    assert (code, err) == (0, "")
    assert "onnx: 2 golden structures reproduced" in out
    assert "native: not checked: " in out


def test_guarantee_15_wrong_golden_numbers_are_named_and_stop_a_publication(run: Run, make, tmp_path) -> None:
    folder = make(error=2e-5)
    for command in ("verify", "publish"):
        code, _, err = run(command, folder)
        assert code == 3
        assert "on onnx: energy is" in err
        assert "at most 1e-05 is promised" in err
    assert list((tmp_path / "shared").iterdir()) == []


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"structures": []}', '{"structures": [1]}', '{"structures": [{}]}']
)
def test_what_are_no_golden_numbers_is_one_line(run: Run, make, content) -> None:
    folder = make()
    (folder / "golden.json").write_text(content)
    write_manifest(folder)
    code, _, err = run("verify", folder)
    assert code == 3
    assert err.count("\n") == 1
    assert "golden.json holds no structures" in err


DAMAGED = [
    ("energy", None),
    ("energy", float("nan")),
    ("energy", float("inf")),
    ("energy", 10**400),
    ("energy", [1.0]),
    ("energy", "much"),
    ("forces", None),
    ("forces", [[0.0, 0.0]]),
    ("forces", [[0.0, 0.0], [0.0]]),
    ("stress", [[float("nan")] * 3] * 3),
    ("positions", None),
    ("positions", [[0.0, 0.0, float("nan")]]),
    ("positions", [[0.0, 0.0, 0.0]] * 2),
    ("cell", None),
    ("cell", [1.0, 2.0]),
    ("pbc", None),
    ("pbc", [False]),
    ("numbers", None),
    ("numbers", []),
    ("numbers", [0]),
    ("numbers", [1.5]),
]


@pytest.mark.parametrize(("key", "value"), DAMAGED)
def test_guarantee_15_damaged_golden_numbers_are_one_line(run: Run, make, key, value) -> None:
    folder = make()
    golden = json.loads((folder / "golden.json").read_bytes())
    golden["structures"][1][key] = value
    (folder / "golden.json").write_text(json.dumps(golden))
    write_manifest(folder)
    code, _, err = run("verify", folder)
    assert (code, err.count("\n")) == (3, 1)
    assert "golden.json holds no structures with finite numbers" in err


def test_a_release_that_nothing_here_can_run_is_not_called_verified(make, monkeypatch) -> None:
    monkeypatch.setattr("zoo_runtime.backends.BACKENDS", {})
    with pytest.raises(Exception, match="its numbers were not checked"):
        list(check_golden(open_release(make())))


@pytest.mark.parametrize("card", ["", "# pair-test\n", CARD.replace("license:", "licence:"), CARD.replace("---", "--")])
def test_guarantee_26_a_release_without_a_full_card_is_not_published(run: Run, make, tmp_path, card) -> None:
    code, _, err = run("publish", make(card=card))
    assert code == 3
    assert "license" in err
    assert "in its front matter" in err
    assert list((tmp_path / "shared").iterdir()) == []


def test_what_was_published_and_signed_verifies_and_a_change_is_found(run: Run, make, tmp_path) -> None:
    pytest.importorskip("model_signing")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    Path("mine").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    Path("mine.pem").write_bytes(public)
    assert run("publish", make(), "sign=mine")[:2] == (0, "pair-test@1.0.0 is published\n")
    code, out, _ = run("verify", "pair-test", "--signature", "key=mine.pem")
    assert code == 0
    assert "signature: by mine.pem" in out
    assert run("verify", "pair-test", "--signature")[0] == 2
    (tmp_path / "config/trusted-keys").mkdir(parents=True)
    shutil.copy("mine.pem", tmp_path / "config/trusted-keys")
    assert run("verify", "pair-test", "--signature")[0] == 0
    folder = tmp_path / "cache/pair-test/1.0.0"
    (folder / "README.md").write_text("other")
    write_manifest(folder)
    code, _, err = run("verify", "pair-test", "--signature")
    assert code == 3
    assert "its signature does not fit" in err


def test_guarantee_01_a_published_version_never_changes(run: Run, make, tmp_path) -> None:
    folder = make()
    assert run("publish", folder)[0] == run("publish", folder)[0] == 0
    (folder / "README.md").write_text(CARD + "more")
    write_manifest(folder)
    code, _, err = run("publish", folder)
    assert code == 3
    assert "a version never changes" in err


def test_a_yanked_version_is_told_in_one_line_wherever_it_is_fetched(run: Run, make) -> None:
    for version in ("1.0.0", "1.1.0"):
        assert run("publish", make(version))[0] == 0
    assert run("yank", "pair-test@1.1.0", "reason=wrong sign of the stress")[:2] == (0, "pair-test@1.1.0 is yanked\n")
    code, out, err = run("pull", "pair-test@1.1.0")
    assert (code, err) == (0, "zoo: warning: pair-test@1.1.0 was yanked: wrong sign of the stress\n")
    code, out, _ = run("list", "--remote")
    assert "yanked: wrong sign of the stress" in out
    assert run("yank", "pair-test", "reason=x")[0] == 3


def test_guarantee_12_a_lock_brings_back_exactly_what_it_saw(run: Run, make, tmp_path, monkeypatch) -> None:
    assert run("publish", make())[0] == 0
    assert run("lock", "pair-test")[0] == 0
    assert run("publish", make("1.1.0"))[0] == 0
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "elsewhere"))
    monkeypatch.delenv("ZOO_HUB")
    code, out, _ = run("pull", "--locked")
    assert (code, out) == (0, f"{tmp_path / 'elsewhere/pair-test/1.0.0'}\n")
    shutil.rmtree(tmp_path / "elsewhere")
    folder = tmp_path / "shared/pair-test/1.0.0"
    (folder / "README.md").write_text("other")
    write_manifest(folder)
    code, _, err = run("pull", "--locked")
    assert code == 3
    assert "expected manifest.json with sha256" in err
    assert run("pull")[0] == run("pull", "pair-test", "--locked")[0] == run("pull", "--locked", "lock=no")[0] == 2


def test_a_bundle_carries_a_model_to_a_machine_without_hub(run: Run, make, tmp_path, monkeypatch) -> None:
    assert run("publish", make())[0] == 0
    assert run("bundle", "pair-test", "output=carry.tar")[:2] == (0, "carry.tar\n")
    assert run("bundle", "pair-test", "output=carry.tar")[0] == 2
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "elsewhere"))
    monkeypatch.delenv("ZOO_HUB")
    assert run("info", "pair-test")[0] == 3
    assert run("import", "carry.tar")[1] == f"{tmp_path / 'elsewhere/pair-test/1.0.0'}\n"
    assert run("info", "pair-test")[0] == 0


def test_cache_tells_sizes_and_makes_room(run: Run, make, tmp_path) -> None:
    for version in ("1.0.0", "1.1.0"):
        assert run("publish", make(version))[0] == 0
        assert run("pull", f"pair-test@{version}")[0] == 0
    code, out, _ = run("cache")
    assert code == 0
    assert out.splitlines()[2].endswith(f"in {tmp_path / 'cache'}")
    assert "pair-test@1.0.0" in run("cache", "--prune")[1]
    assert [path.name for path in (tmp_path / "cache/pair-test").iterdir()] == ["1.1.0"]


def test_search_finds_by_element_property_and_architecture(run: Run, make) -> None:
    assert run("publish", make())[0] == 0
    for words in (["element=F,N", "property=forces"], ["property=stress", "architecture=pair"]):
        code, out, _ = run("search", *words)
        assert code == 0
        assert "pair-test" in out
    for words in (["element=U"], ["property=charges", "element=Si"], ["architecture=painn"]):
        assert run("search", *words)[:2] == (1, "")
    code, _, err = run("search", "element=Qq")
    assert code == 2
    assert "'Qq' is no element" in err


@pytest.mark.parametrize("terminal", [False, True])
def test_the_card_is_shown_without_front_matter_and_without_control_characters(
    run: Run, make, monkeypatch, terminal
) -> None:
    folder = make()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    code, out, _ = run("info", folder, "--card")
    assert code == 0
    assert "pair[2J-test" in out
    assert "\x1b[2J" not in out
    assert "library_name" not in out


def test_what_a_hub_sends_cannot_steer_the_terminal(run: Run, make, tmp_path) -> None:
    folder = make()
    shutil.copytree(folder, tmp_path / "shared/pair-test/1.0.0")
    zoo_json = tmp_path / "shared/pair-test/1.0.0/zoo.json"
    zoo_json.write_text(
        json.dumps({**json.loads(zoo_json.read_text()), "\x07\x1b[2J": 1, "description": "\x07\x1b[31m"})
    )
    write_manifest(zoo_json.parent)
    code, out, err = run("pull", "pair-test")
    assert code == 3
    assert "unknown fields" in err
    assert not any("\x07" in text or "\x1b" in text for text in (out, err, *run("list")[1:]))


def test_a_download_shows_its_progress_on_a_terminal(run: Run, make, monkeypatch) -> None:
    assert run("publish", make())[0] == 0
    told: list[tuple[int, int]] = []
    import rich.progress

    update = rich.progress.Progress.update

    def spy(self: rich.progress.Progress, task: rich.progress.TaskID, completed: int, total: int) -> None:
        told.append((completed, total))
        update(self, task, completed=completed, total=total)

    monkeypatch.setattr(rich.progress.Progress, "update", spy)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    code, out, _ = run("pull", "pair-test")
    assert code == 0
    assert Path(out.strip()).is_dir()
    assert told[-1][0] == told[-1][1] > told[0][0] > 0


@pytest.mark.parametrize(
    ("hub", "shown"),
    [
        ("https://user:s3cret@example.org/hub", "(set, not shown)"),
        (" https://user:s3cret@example.org", "(set, not shown)"),
        ("https://example.org/hub?token=s3cret", "https://example.org/hub"),
        ("/data/hub", "/data/hub"),
    ],
)
def test_guarantee_25_doctor_shows_no_password_of_the_hub(run: Run, monkeypatch, hub, shown) -> None:
    monkeypatch.setenv("ZOO_HUB", hub)
    assert json.loads(run("doctor", "--json")[1])["models"]["hub"] == shown


def test_guarantee_12_a_lock_written_without_network_keeps_the_hub(run: Run, make, tmp_path, monkeypatch) -> None:
    shutil.copytree(make(), tmp_path / "cache/_hf/zoo/pair-test/pair-test/1.0.0")
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    code, _, err = run("lock", "hf://zoo/pair-test")
    assert code == 0
    assert "its commit is not written down" in err
    line = json.loads((tmp_path / "zoo.lock").read_bytes())["releases"][0]
    assert (line["hub"], line["revision"]) == ("hf://zoo/pair-test", None)
