"""What the Tab key offers, asked for as the shells do it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from zoo_registry import store
from zoo_runtime import cli

BUNDLED = sorted(path.name for path in store.BUNDLED.iterdir())


@pytest.fixture
def offered(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Ask with the variables by which a shell asks, and return what it is told."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))

    def ask(shell: str, **variables: str) -> str:
        for name, value in ({"_ZOO_COMPLETE": f"complete_{shell}"} | variables).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as stop:
            cli.run([])
        out, complaints = capsys.readouterr()
        assert (stop.value.code, complaints) == (0, "")
        return out

    return ask


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("zoo pred", ["predict"]),
        ("zoo predict ", [f"model={name}" for name in BUNDLED]),
        ("zoo predict mo", [f"model={name}" for name in BUNDLED]),
        ("zoo predict model =", BUNDLED),
        ("zoo predict model = sch", [name for name in BUNDLED if name.startswith("sch")]),
        ("zoo predict model = schnet-qm9,wacsf-q", ["schnet-qm9,wacsf-qm9"]),
        ("zoo md model = schnet-qm9 mol.xyz temp", ["temperature="]),
        ("zoo md mol.xyz ens", ["ensemble=nve", "ensemble=langevin", "ensemble=npt"]),
        ("zoo md mol.xyz fric", ["friction=10.0"]),
        ("zoo relax --device c", ["cpu", "cuda"]),
        ("zoo relax --fm", ["--fmax"]),
        ("zoo info wacsf-q", ["wacsf-qm9"]),
        ("zoo lock wacsf-qm9 schnet-s", ["schnet-si"]),
        ("zoo predict model = schnet-qm9 ", []),  # the place of a file, which the shell completes
        ("zoo nonsense x", []),
    ],
)
def test_bash_which_cuts_words_at_the_sign_gets(line: str, expected: list[str], offered: Callable[..., str]) -> None:
    words = line.split()
    assert offered("bash", COMP_WORDS=line, COMP_CWORD=str(len(words) - (not line.endswith(" ")))).split() == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("zoo predict model=wacsf-q", "model=wacsf-qm9"),
        ("zoo predict model=schnet-qm9 dtype=float6", "dtype=float64"),
        ("zoo predict json=t", "json=true"),
    ],
)
def test_fish_which_keeps_words_whole_gets(line: str, expected: str, offered: Callable[..., str]) -> None:
    told = offered("fish", _TYPER_COMPLETE_ARGS=line, _TYPER_COMPLETE_FISH_ACTION="get-args")
    assert [row.partition("\t")[0] for row in told.splitlines()] == [expected]


def test_commands_of_other_rooms_complete_what_they_say(
    offered: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    training = EntryPoint("train", "zoo.cli:register", cli.ENTRY_POINTS)
    monkeypatch.setattr(cli, "entry_points", lambda group: [training])
    assert offered("bash", COMP_WORDS="zoo train recipe = wacsf-q", COMP_CWORD="4").startswith("wacsf-qm9\n")
    assert offered("bash", COMP_WORDS="zoo data prepare qm", COMP_CWORD="3") == "qm9\n"


def test_zsh_gets_whole_words_with_what_they_mean(offered: Callable[..., str]) -> None:
    assert '"model=wacsf-qm9"' in offered("zsh", _TYPER_COMPLETE_ARGS="zoo predict model=w")
    assert '"vibrations":"Frequencies' in offered("zsh", _TYPER_COMPLETE_ARGS="zoo vib")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_script_for_bash_completes_a_line(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The shell is named, instead of looked for among the parents of this process.
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    script = """
    eval "$(zoo --show-completion bash)"
    COMP_WORDS=(zoo predict model = wacsf-q) COMP_CWORD=4
    _zoo_completion zoo
    echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "wacsf-qm9\n", "")
