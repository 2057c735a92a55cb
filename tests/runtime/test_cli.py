from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import typer
from ase.build import bulk, molecule
from ase.io import read, write

import zoo_runtime
from zoo_registry.release import Release
from zoo_runtime import cli

ETHANOL = Path(__file__).parents[2] / "examples" / "ethanol.xyz"


@pytest.fixture
def release(make_release: Callable[..., Release], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    made = make_release()
    monkeypatch.setenv("ZOO_HUB", str(tmp_path / "hub"))
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    write("mixed.extxyz", [molecule("CH4"), molecule("SiH4"), bulk("C"), molecule("H2O")])
    return made


@pytest.mark.usefixtures("release")
def test_predict_shows_energy_with_its_unit_and_test_error(zoo: Callable, release: Release) -> None:
    code, out, err = zoo("predict", "model=pair-test", ETHANOL)
    assert (code, err) == (0, "")
    title, row, *notes = out.splitlines()
    expected = zoo_runtime.load(release.path).predict(read(ETHANOL))
    for word in ("energy (eV)", "± test MAE (eV)", "max |force| (eV/Å)"):
        assert word in title
    assert row.split()[1:] == [
        "0",
        "C2H6O",
        f"{expected.energy:.6f}",
        "0.0123",
        f"{np.linalg.norm(expected.forces, axis=1).max():.4f}",
    ]
    assert "test MAE: energy 0.0123 eV (n = 10,831)" in notes[0]
    assert "pair-test@1.0.0" in notes[0]
    assert "onnxruntime" in notes[1]


@pytest.mark.usefixtures("release")
def test_predict_draws_a_table_on_a_terminal(zoo: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = zoo("predict", "model=pair-test", ETHANOL)
    assert code == 0
    assert "─" in out
    assert "C2H6O" in out
    assert "energy (eV)" in out


@pytest.mark.usefixtures("release")
def test_json_lines_keep_the_order_and_the_place_of_what_failed(zoo: Callable) -> None:
    Path("broken.xyz").write_text("3\n\nH 0 0 0\nC 0 nonsense\n")
    code, out, err = zoo("predict", "--json", "model=pair-test", "mixed.extxyz", "broken.xyz", ETHANOL)
    told = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert [(Path(t["file"]).name, t["frame"]) for t in told] == [
        *(("mixed.extxyz", k) for k in range(4)),
        ("broken.xyz", 0),
        ("ethanol.xyz", 0),
    ]
    assert ["error" in t for t in told] == [False, True, False, False, True, False]
    assert told[1]["error"]["type"] == "StructureError"
    assert "does not know Si" in told[1]["error"]["message"]
    assert "energy" not in told[1]
    good = told[0]
    assert (good["formula"], good["model"], good["backend"]) == ("CH4", "pair-test@1.0.0", "onnx")
    assert good["energy"]["unit"] == "eV"
    assert good["energy"]["test_error"] == {"kind": "MAE", "value": 0.0123, "unit": "eV", "n": 10831}
    assert np.shape(good["forces"]["value"]) == (5, 3)
    assert good["warnings"] == []
    assert "stress" not in good
    assert np.shape(told[2]["stress"]["value"]) == (3, 3)
    assert len(err.splitlines()) == 2


@pytest.mark.usefixtures("release")
def test_properties_chooses(zoo: Callable) -> None:
    _, out, _ = zoo("predict", "--json", "model=pair-test", "properties=energy,forces", ETHANOL)
    assert {"energy", "forces"} == json.loads(out).keys() & {"energy", "energies", "forces", "stress"}
    code, out, err = zoo("predict", "model=pair-test", "properties=energy,force", ETHANOL)
    assert (code, out) == (2, "")
    assert "did you mean 'forces'" in err


@pytest.mark.usefixtures("release")
@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_json_files_hold_what_json_lines_show(zoo: Callable, suffix: str) -> None:
    _, shown, _ = zoo("predict", "--json", "model=pair-test", "mixed.extxyz", f"output=out{suffix}")
    text = Path(f"out{suffix}").read_text(encoding="utf-8")
    told = json.loads(text) if suffix == ".json" else [json.loads(line) for line in text.splitlines()]
    assert told == [json.loads(line) for line in shown.splitlines()]
    assert len(told) == 4


@pytest.mark.usefixtures("release")
def test_csv_has_units_in_its_titles_and_full_precision(zoo: Callable, release: Release) -> None:
    zoo("predict", "model=pair-test", "mixed.extxyz", "output=out.csv")
    with Path("out.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    expected = zoo_runtime.load(release.path).predict(read("mixed.extxyz", ":"), errors="return")
    assert float(rows[0]["energy (eV)"]) == expected[0].energy
    assert rows[1]["energy (eV)"] == ""
    assert rows[1]["error"] == str(expected[1])
    assert [row["formula"] for row in rows] == ["CH4", "H4Si", "C2", "H2O"]
    assert {"± test MAE (eV)", "max |force| (eV/Å)", "warnings"} <= rows[0].keys()


@pytest.mark.usefixtures("release")
def test_extxyz_holds_predictions_beside_what_the_input_said(zoo: Callable, release: Release) -> None:
    atoms = molecule("CH4")
    atoms.info["note"] = "kept"
    atoms.set_array("forces", np.ones((5, 3)))  # ASE reads these as the reference forces of the file
    write("in.extxyz", [atoms, molecule("SiH4"), bulk("C")])
    code, _, _ = zoo("predict", "model=pair-test", "in.extxyz", "output=out.extxyz")
    assert code == 1
    first, second, third = read("out.extxyz", ":")
    expected = zoo_runtime.load(release.path).predict(atoms)
    assert first.info["zoo_energy"] == pytest.approx(expected.energy, abs=1e-6)
    np.testing.assert_allclose(first.arrays["zoo_forces"], expected.forces, atol=1e-7)
    assert first.info["zoo_units"] == "energy eV, energies eV, forces eV/Angstrom"
    assert first.info["zoo_model"] == "pair-test@1.0.0"
    assert first.info["note"] == "kept"
    assert (first.get_forces() == 1).all()
    assert "does not know Si" in second.info["zoo_error"]
    assert "zoo_energy" not in second.info
    stress = zoo_runtime.load(release.path).predict(bulk("C")).stress
    assert np.abs(stress).max() > 1
    np.testing.assert_allclose(third.info["zoo_stress"], stress.ravel(), atol=1e-7)


@pytest.mark.usefixtures("release")
def test_an_output_appears_whole_or_not_at_all(zoo: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("out.csv").write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr("zoo_runtime.writers.cells", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            cli.run(["predict", "model=pair-test", "mixed.extxyz", "output=out.csv"])
    assert Path("out.csv").read_text() == "old"
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []
    zoo("predict", "model=pair-test", "mixed.extxyz", "output=out.csv")
    assert Path("out.csv").read_text(encoding="utf-8").startswith("file,")


@pytest.mark.usefixtures("release")
def test_a_file_with_an_equals_sign_is_read(zoo: Callable) -> None:
    write("T=300@1.xyz", molecule("CH4"))
    code, out, _ = zoo("predict", "model=pair-test", "T=300@1.xyz")
    assert code == 0
    assert "T=300@1.xyz" in out


@pytest.mark.usefixtures("release")
def test_a_warning_is_told_once_and_stands_beside_every_number(
    zoo: Callable, make_release: Callable[..., Release]
) -> None:
    make_release(name="molecules-test", periodic=False)
    write("many.extxyz", [molecule("CH4")] * 2 + [bulk("C")] * 3)
    code, out, err = zoo("predict", "--json", "model=molecules-test", "many.extxyz")
    assert code == 0
    assert [len(json.loads(line)["warnings"]) for line in out.splitlines()] == [0, 0, 1, 1, 1]
    assert err.count("molecules only") == 1
    assert "many.extxyz, frame 2" in err


USAGE = {
    "no model": (["predict", ETHANOL], "--model"),
    "slip": (["predict", "modle=pair-test", ETHANOL], "did you mean 'model'"),
    "slip with dashes": (["predict", "--modle", "pair-test", ETHANOL], "--modle"),
    "no file": (["predict", "model=pair-test"], "files"),
    "unknown suffix": (
        ["predict", "model=pair-test", ETHANOL, "output=o.txt"],
        ".extxyz, .xyz, .json, .jsonl, .csv, .db",
    ),
    "output is an input": (["predict", "model=pair-test", "mixed.extxyz", "output=mixed.extxyz"], "input files"),
    "no such folder": (["predict", "model=pair-test", ETHANOL, "output=no/o.csv"], "No such file"),
    "unknown backend": (["predict", "model=pair-test", ETHANOL, "backend=onx"], "did you mean 'onnx'"),
    "unknown command": (["predcit"], "predict"),
    "unknown option": (["--nonsense"], "--nonsense"),
}


@pytest.mark.usefixtures("release")
@pytest.mark.parametrize(("words", "text"), USAGE.values(), ids=USAGE.keys())
def test_wrong_usage_is_one_line_and_exit_code_2(zoo: Callable, words: list[object], text: str) -> None:
    code, out, err = zoo(*words)
    assert (code, out) == (2, "")
    assert text in err
    assert len(err.splitlines()) == 1


@pytest.mark.usefixtures("release")
@pytest.mark.parametrize(
    "words",
    [
        ["predict", "model=absent-model", ETHANOL],
        ["predict", "model=./absent", ETHANOL],
        ["predict", "model=pair-test", "backend=torchscript", ETHANOL],
        ["predict", "model=pair-test@9.0.0", ETHANOL],
        ["info", "absent-model"],
        ["pull", "absent-model"],
    ],
    ids=lambda words: " ".join(map(str, words[:-1])),
)
def test_a_model_that_cannot_be_had_is_one_line_and_exit_code_3(zoo: Callable, words: list[object]) -> None:
    code, out, err = zoo(*words)
    assert (code, out) == (3, "")
    assert len(err.splitlines()) == 1


def test_list_info_and_pull(zoo: Callable, release: Release, tmp_path: Path) -> None:
    code, out, _ = zoo("list")
    assert code == 0
    assert out.splitlines()[0].split() == ["name", "version", "where", "test", "error", "description"]
    assert "pair-test 1.0.0" in " ".join(out.split())
    assert "energy_mae 0.0123 eV (n = 10,831)" in out
    code, out, _ = zoo("pull", "pair-test")
    assert code == 0
    assert Path(out.strip()).is_relative_to(tmp_path / "cache")
    assert "cache" in zoo("list")[1]
    code, out, _ = zoo("info", "model=pair-test")
    assert code == 0
    for text in ("pair-test@1.0.0", "forces (eV/Å)", "H C N O F", "3 Å", "onnxruntime", "model.onnx", "MIT"):
        assert text in out
    code, out, _ = zoo("info", "pair-test", "--json")
    assert out.encode() == release.file("zoo.json").read_bytes()


def test_list_without_any_model_says_what_to_do(zoo: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ZOO_HUB", raising=False)
    monkeypatch.setattr("zoo_registry.store.BUNDLED", tmp_path / "bundled")
    code, out, err = zoo("list")
    assert (code, out) == (0, "")
    assert "ZOO_HUB" in err


def test_help_and_version(zoo: Callable) -> None:
    assert "predict" in zoo()[1]
    assert "predict" in zoo("-h")[1]
    assert "output" in zoo("predict", "--help")[1]
    code, out, _ = zoo("--version")
    assert code == 0
    assert out[0].isdigit()


def register_room(app: typer.Typer) -> None:
    @app.command()
    def cultivate(seed: int = 0) -> None:
        """Grow something."""
        typer.echo(f"seed {seed}")

    @app.command()
    def harvest() -> None:
        """Need what is not installed."""
        import a_library_that_is_not_there  # noqa: F401


def test_other_rooms_join_by_entry_points(zoo: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "room", type(sys)("room"))
    sys.modules["room"].register = register_room
    points = [
        EntryPoint("grow", "room:register", cli.ENTRY_POINTS),
        EntryPoint("broken", "no_such_room:register", cli.ENTRY_POINTS),
    ]
    monkeypatch.setattr(cli, "entry_points", lambda group: points if group == "zoo.commands" else [])
    code, out, err = zoo("cultivate", "seed=3")
    assert (code, out) == (0, "seed 3\n")
    assert "no_such_room" in err
    code, _, err = zoo("harvest")
    assert code == 3
    assert "pip install 'atomzoo[grow]'" in err


def run_process(*words: object) -> subprocess.CompletedProcess[str]:
    roots = [str(Path(module.__file__).parents[1]) for module in (zoo_runtime, sys.modules["zoo_registry"])]
    code = "import sys; from zoo_runtime.cli import run; code = run(sys.argv[1:]); "
    code += "print(*(name for name in ('torch', 'onnxruntime', 'vesin') if name in sys.modules), file=sys.stderr); "
    return subprocess.run(
        [sys.executable, "-c", code + "sys.exit(code)", *map(str, words)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(roots)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.mark.usefixtures("release")
def test_a_molecule_is_predicted_without_torch() -> None:
    done = run_process("predict", "model=pair-test", ETHANOL)
    assert (done.returncode, done.stderr.split()) == (0, ["onnxruntime"])
    assert "C2H6O" in done.stdout
    done = run_process("predict", "model=pair-test", "mixed.extxyz")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    done = run_process("--help")
    assert (done.returncode, done.stderr.split()) == (0, [])


@pytest.mark.usefixtures("release")
def test_a_missing_file_or_a_folder_does_not_lose_the_others(zoo: Callable, tmp_path: Path) -> None:
    code, out, err = zoo("predict", "model=pair-test", ETHANOL, tmp_path / "no.xyz", tmp_path, ETHANOL, "--json")
    assert code == 1
    results = [json.loads(line) for line in out.splitlines()]
    assert ["error" in result for result in results] == [False, True, True, False]
    assert "does not exist" in results[1]["error"]["message"]
    assert "is a folder" in results[2]["error"]["message"]
    assert "Traceback" not in err


@pytest.mark.usefixtures("release")
def test_predictions_of_an_earlier_run_do_not_stay_in_the_output(zoo: Callable, tmp_path: Path) -> None:
    first, second, third = (tmp_path / f"{name}.extxyz" for name in ("first", "second", "third"))
    assert zoo("predict", "model=pair-test", ETHANOL, f"output={first}")[0] == 0
    assert zoo("predict", "model=pair-test", first, f"output={second}", "properties=energy")[0] == 0
    again = read(second)
    assert "zoo_energy" in again.info
    assert "zoo_forces" not in again.arrays
    again.info["charge"] = 1
    write(first, again)
    assert zoo("predict", "model=pair-test", first, f"output={third}")[0] == 1
    assert {name for name in read(third).info if name.startswith("zoo_")} == {"zoo_model", "zoo_error"}


@pytest.mark.usefixtures("release")
def test_a_table_without_a_number_is_refused(zoo: Callable) -> None:
    code, _, err = zoo("predict", "model=pair-test", ETHANOL, "properties=stress")
    assert code == 2
    assert "--json" in err
