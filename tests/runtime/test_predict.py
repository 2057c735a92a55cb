from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.db import connect
from ase.io import read, write
from filelock import FileLock

import zoo_registry
import zoo_runtime
from zoo_registry.release import Release
from zoo_runtime import output, progress
from zoo_runtime.frames import Frame

N = 40


@pytest.fixture
def many(pair_hub: Release, monkeypatch: pytest.MonkeyPatch) -> list[Atoms]:
    """Put 40 structures into many.extxyz, one of them with an unknown element; a batch is 8, saved after 3."""
    structures = [molecule("CH4"), molecule("H2O"), bulk("C"), molecule("SiH4"), molecule("CH3OH")] * (N // 5)
    for seed, atoms in enumerate(structures):
        atoms.rattle(0.01, seed=seed)
    write("many.extxyz", structures)
    monkeypatch.setattr("zoo_runtime.model.BATCH_STRUCTURES", 8)
    monkeypatch.setattr(output, "SAVE_STRUCTURES", 3)
    return structures


def contents(name: str) -> object:
    if not name.endswith(".db"):
        return Path(name).read_text(encoding="utf-8")
    rows = list(connect(name).select())
    return [(row.data["zoo_frame"], row.numbers.tolist(), row.key_value_pairs, row.positions.tolist()) for row in rows]


def stop_after(monkeypatch: pytest.MonkeyPatch, count: int) -> pytest.MonkeyPatch:
    write = output.Output.write

    def interrupted(self: output.Output, frame: Frame, results: list) -> None:
        write(self, frame, results)
        if self.done >= count:
            raise KeyboardInterrupt

    monkeypatch.setattr(output.Output, "write", interrupted)
    return monkeypatch


SUFFIXES = [".jsonl", ".json", ".csv", ".extxyz", ".db"]


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_stopped_run_goes_on_and_its_file_is_that_of_an_undisturbed_one(
    zoo: Callable, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    words = ["predict", "model=pair-test", "many.extxyz"]
    assert zoo(*words, f"output=whole{suffix}")[0] == 1  # silane is refused
    part, journal = Path(f".parts{suffix}.part"), Path(f".parts{suffix}.journal")
    with monkeypatch.context() as patch:
        stop_after(patch, 17)
        assert zoo(*words, f"output=parts{suffix}")[0] == 130
    assert part.exists()
    assert not Path(f"parts{suffix}").exists()
    journal.write_text(journal.read_text()[:-4])  # as if it had been killed while it wrote
    if suffix != ".db":
        with part.open("ab") as stream:
            stream.write(b'{"file": "man')
    code, _, err = zoo(*words, f"output=parts{suffix}")
    assert code == 1
    assert f"zoo: parts{suffix}: goes on after 12 structures of a run that was stopped" in err
    assert contents(f"parts{suffix}") == contents(f"whole{suffix}")
    assert not part.exists()
    assert not journal.exists()


@pytest.mark.usefixtures("many")
def test_what_another_command_left_is_not_touched(zoo: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, 17)
        zoo("predict", "model=pair-test", "many.extxyz", "output=o.jsonl")
    before = Path(".o.jsonl.part").read_bytes()
    code, out, err = zoo("predict", "model=pair-test", "many.extxyz", "output=o.jsonl", "properties=energy")
    assert (code, out) == (2, "")
    assert "other models; repeat that command" in err
    with Path("many.extxyz").open("a") as stream:
        stream.write("1\n\nH 0 0 0\n")
    assert "other files" in zoo("predict", "model=pair-test", "many.extxyz", "output=o.jsonl")[2]
    assert Path(".o.jsonl.part").read_bytes() == before


@pytest.mark.usefixtures("many")
def test_two_processes_do_not_write_one_file(zoo: Callable) -> None:
    with FileLock(".o.csv.lock"):
        code, out, err = zoo("predict", "model=pair-test", "many.extxyz", "output=o.csv")
    assert (code, out) == (2, "")
    assert "another process" in err
    assert not Path("o.csv").exists()


@pytest.fixture
def child() -> Iterator[list[subprocess.Popen]]:
    children: list[subprocess.Popen] = []
    yield children
    for process in children:
        process.kill()
        process.communicate()


def test_a_killed_run_loses_nothing_that_was_saved(zoo: Callable, pair_hub: Release, child: list) -> None:
    structures = [molecule("CH3CH2OH") for _ in range(3000)]
    for seed, atoms in enumerate(structures):
        atoms.rattle(0.05, seed=seed)
    write("long.extxyz", structures)
    roots = [str(Path(module.__file__).parents[1]) for module in (zoo_runtime, zoo_registry)]
    words = ["predict", "model=pair-test", "long.extxyz", "output=o.jsonl"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from zoo_runtime.cli import main; main()", *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(roots)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    child.append(process)
    journal = Path(".o.jsonl.journal")
    while not (journal.exists() and len(journal.read_text().splitlines()) > 4):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    saved = json.loads(journal.read_text().splitlines()[-1])[1]
    code, _, err = zoo(*words)
    assert code == 0
    assert f"goes on after {saved:,} structures" in err
    told = [json.loads(line) for line in Path("o.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [one["frame"] for one in told] == list(range(3000))
    expected = zoo_runtime.load("pair-test").predict(structures[::500])
    assert [one["energy"]["value"] for one in told[::500]] == pytest.approx([p.energy for p in expected], abs=1e-5)


def test_a_database_keeps_everything_apart_from_what_the_input_said(zoo: Callable, many: list[Atoms]) -> None:
    atoms = molecule("CH4")
    atoms.info["note"] = "kept"
    atoms.set_array("REF_forces", np.ones((5, 3)))
    write("in.extxyz", [atoms, bulk("C")])
    assert zoo("predict", "model=pair-test", "in.extxyz", "output=o.db")[0] == 0
    first, second = connect("o.db").select()
    expected = zoo_runtime.load("pair-test").predict([atoms, bulk("C")])
    assert first.zoo_energy == pytest.approx(expected[0].energy)
    assert first.get("energy") is None
    np.testing.assert_allclose(first.data["zoo_forces"], expected[0].forces, atol=1e-6)
    assert first.data["info"]["note"] == "kept"
    assert (first.data["arrays"]["REF_forces"] == 1).all()
    np.testing.assert_allclose(second.data["zoo_stress"], expected[1].stress, atol=1e-6)
    assert first.zoo_model == "pair-test@1.0.0"


@pytest.mark.usefixtures("pair_hub")
def test_a_database_takes_numbers_lists_and_words(zoo: Callable) -> None:
    comment = 'Properties=species:S:1:pos:R:3:name:S:1 charge=0 frame=3 flags="T F"'
    Path("odd.extxyz").write_text(f"2\n{comment}\nH 0 0 0 a\nC 0 0 1.1 b\n")
    assert zoo("predict", "model=pair-test", "odd.extxyz", "output=o.db")[0] == 0
    (row,) = connect("o.db").select()
    assert (row.data["info"]["frame"], list(row.data["info"]["flags"])) == (3, [True, False])
    assert list(row.data["arrays"]["name"]) == ["a", "b"]


@pytest.mark.usefixtures("pair_hub")
def test_a_run_that_goes_on_remembers_what_failed_before(zoo: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    write("some.extxyz", [molecule("SiH4"), *[molecule("CH4")] * 9])
    monkeypatch.setattr(output, "SAVE_STRUCTURES", 1)
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        assert zoo("predict", "model=pair-test", "some.extxyz", "output=o.jsonl")[0] == 130
    assert zoo("predict", "model=pair-test", "some.extxyz", "output=o.jsonl")[0] == 1


def test_models_stand_side_by_side_each_with_its_own_errors(
    zoo: Callable, many: list[Atoms], make_release: Callable[..., Release]
) -> None:
    make_release(name="silicon-test", species=[1, 6, 8, 14], metrics={})
    words = ["predict", "model=pair-test,silicon-test", "many.extxyz"]
    code, out, err = zoo(*words, "--json", "output=o.csv")
    told = [json.loads(line)["models"] for line in out.splitlines()]
    assert code == 1
    assert [["error" in one[name] for one in told[:5]] for name in ("pair-test", "silicon-test")] == [
        [False, False, False, True, False],
        [False] * 5,
    ]
    assert told[0]["pair-test"]["energy"] != told[1]["pair-test"]["energy"]
    alone = [json.loads(line) for line in zoo("predict", "model=silicon-test", "many.extxyz", "--json")[1].splitlines()]
    assert [one["silicon-test"]["energy"]["value"] for one in told] == [one["energy"]["value"] for one in alone]
    assert err.count("pair-test: pair-test does not know Si") == N // 5
    with Path("o.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert rows[3]["pair-test energy (eV)"] == ""
    assert "does not know Si" in rows[3]["pair-test error"]
    assert float(rows[3]["silicon-test energy (eV)"]) == told[3]["silicon-test"]["energy"]["value"]
    assert "pair-test ± test MAE (eV)" in rows[0]
    assert "silicon-test ± test MAE (eV)" not in rows[0]
    zoo(*words, "output=o.extxyz")
    structures = read("o.extxyz", ":")
    assert {"zoo_silicon_test_energy", "zoo_pair_test_error"} <= structures[3].info.keys()
    assert structures[0].arrays["zoo_pair_test_forces"].shape == (5, 3)
    out = zoo(*words)[1]
    assert "silicon-test energy (eV)" in out
    assert out.count("backend:") == 2


def test_two_versions_of_a_model_are_told_apart(zoo: Callable, many: list[Atoms], make_release: Callable) -> None:
    make_release(version="1.1.0")
    code, out, _ = zoo("predict", "model=pair-test@1.0.0,pair-test@1.1.0", "many.extxyz", "--json")
    assert json.loads(out.splitlines()[0])["models"].keys() == {"pair-test@1.0.0", "pair-test@1.1.0"}
    code, _, err = zoo("predict", "model=pair-test@1.0.0,pair-test@1.0.0", "many.extxyz")
    assert code == 2
    assert "names pair-test@1.0.0 twice" in err
    assert zoo("predict", "model=pair-test,,", "many.extxyz")[0] == 2


def test_a_committee_shows_its_spread(zoo: Callable, many: list[Atoms], monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo_runtime.prediction import Prediction
    from zoo_runtime.report import Source, cells, columns, footnote

    metadata = zoo_runtime.load("pair-test").metadata
    outputs = {
        "energy": metadata.outputs["energy"],
        "energy_spread": metadata.outputs["energy"],
        "forces": metadata.outputs["forces"],
        "forces_spread": {**metadata.outputs["energies"], "unit": "eV/Å"},
    }
    metadata.outputs.clear()
    metadata.outputs.update(outputs)
    source = Source(metadata, "native", list(outputs))
    spreads = {"energy_spread": 0.02, "forces_spread": np.array([0.1, 0.3, 0.2])}
    shown = Prediction(energy=-1.5, forces=np.eye(3), properties=spreads)
    found = dict(zip([column.title for column in columns(source)], cells(columns(source), shown), strict=True))
    assert found == {
        "energy (eV)": -1.5,
        "± test MAE (eV)": 0.0123,
        "± committee spread (eV)": 0.02,
        "max |force| (eV/Å)": 1.0,
        "max committee spread of forces (eV/Å)": 0.3,
    }
    assert "pair-test@1.0.0" in footnote(source)


def test_a_gpu_that_is_missing_is_an_error(zoo: Callable, many: list[Atoms]) -> None:
    code, out, err = zoo("predict", "model=pair-test", "many.extxyz", "device=cuda")
    assert (code, out) == (3, "")
    assert "device=cuda" in err
    assert zoo("predict", "model=pair-test", "many.extxyz", "device=gpu")[0] == 2


@pytest.mark.usefixtures("many")
def test_a_long_table_is_printed_as_it_comes(zoo: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = zoo("predict", "model=pair-test", "many.extxyz")[1]
    monkeypatch.setattr("zoo_runtime.table.LONGEST", 25)
    assert zoo("predict", "model=pair-test", "many.extxyz")[1] == whole
    assert len(whole.splitlines()) == N + 3


def test_a_terminal_shows_rate_and_time_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    results = [(Frame("a", k, Atoms("H"), (0, k + 1), (k + 1) / 4), []) for k in range(4)]
    assert list(progress.follow(results, 1)) == results
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    shown = []
    for result in progress.follow(results, 1, done=10):
        time.sleep(0.15)
        shown.append(result)
    assert shown == results
    err = capsys.readouterr().err
    assert "structures" in err
    assert "/s" in err
    assert "left" in err
