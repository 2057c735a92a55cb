"""Every class of bad input to every command on structures: one line, the right exit code, nothing else lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import read, write

from zoo_registry.release import Release

GOOD = "2\n\nH 0 0 0\nF 0 0 0.95\n"
FILES = {
    "empty": b"",
    "blank": b"\n\n\n",
    "text": b"this is no structure\nat all\n",
    "binary": bytes(range(256)) * 8,
    "truncated": b"3\n\nH 0 0 0\n",
    "word for a number": b"1\n\nH 0 a 0\n",
    "no element": b"1\n\nXq 0 0 0\n",
    "ghost atom": b"1\n\nX 0 0 0\n",
    "wrong count": b"1\n\nH 0 0 0\nH 0 0 1\n",
    "no atoms": b"0\n\n",
    "unknown element": b"1\n\nU 0 0 0\n",
    "coordinate not a number": b"1\n\nH 0 0 nan\n",
    "coordinate infinite": b"1\n\nH 0 0 inf\n",
    "coordinate absurd": b"1\n\nH 0 0 1e9\n",
    "overlapping atoms": b"2\n\nH 0 0 0\nH 0 0 0.1\n",
    "same place": b"2\n\nH 0 0 0\nH 0 0 0\n",
    "another charge": b"1\ncharge=1\nH 0 0 0\n",
    "another spin": b"1\nspin_multiplicity=3\nH 0 0 0\n",
    "charge no number": b"1\ncharge=plus\nH 0 0 0\n",
    "flat cell": b'1\nLattice="3 0 0 0 3 0 3 3 0"\nH 0 0 0\n',
    "periodic without a cell": b'1\npbc="T T T"\nH 0 0 0\n',
    "tiny cell": b'2\nLattice=".5 0 0 0 .5 0 0 0 .5"\nH 0 0 0\nH .2 .2 .2\n',
    "not utf-8": b"1\nname=\xff\xfe\nH 0 0 0\n",
}
# What follows a readable structure is another one, so its file has a good one before the bad.
READ = {"wrong count"}


@pytest.fixture
def files(pair_hub: Release) -> dict[str, Path]:
    for name, content in FILES.items():
        Path(f"{name}.xyz").write_bytes(content)
    write("good.xyz", molecule("CH4"))
    return {name: Path(f"{name}.xyz") for name in FILES}


def test_predict_answers_all_that_is_good(zoo: Callable, files: dict[str, Path]) -> None:
    words = [word for path in files.values() for word in (path, "good.xyz")]
    code, out, err = zoo("predict", "model=pair-test", *words, "absent.xyz", ".", "good.xyz", "--json", "output=o.csv")
    told = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    good = [one for one in told if one["file"] == "good.xyz"]
    assert len(good) == len(FILES) + 1
    assert all(one["energy"] == good[0]["energy"] for one in good)
    bad = [one for one in told if one["file"] != "good.xyz" and "error" in one]
    assert {one["file"] for one in bad} == {*map(str, files.values()), "absent.xyz", "."}
    assert all(one["error"]["type"] == "StructureError" and "\n" not in one["error"]["message"] for one in bad)
    assert "Traceback" not in err
    assert len([line for line in err.splitlines() if "warning" not in line]) == len(bad)
    assert len(Path("o.csv").read_text(encoding="utf-8").splitlines()) == 1 + len(told)


def test_a_bad_structure_in_a_file_loses_none_of_it_that_can_be_read(zoo: Callable, files: dict[str, Path]) -> None:
    readable = {"unknown element", "coordinate not a number", "another charge", "flat cell", "no atoms"}
    for name in readable:
        Path("mixed.xyz").write_bytes(GOOD.encode() + FILES[name] + GOOD.encode())
        code, out, _ = zoo("predict", "model=pair-test", "mixed.xyz", "--json")
        told = [json.loads(line) for line in out.splitlines()]
        assert code == 1
        assert ["error" in one for one in told] == [False, True, False]
        assert told[0]["energy"] == told[2]["energy"]


def test_relax_relaxes_all_that_is_good(zoo: Callable, files: dict[str, Path]) -> None:
    words = [word for path in files.values() for word in (path, "good.xyz")]
    code, out, err = zoo("relax", "model=pair-test", *words, "--json", "output=r.extxyz", "steps=1", "fmax=1e9")
    told = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert sum("error" not in one and one["file"] == "good.xyz" for one in told) == len(FILES)
    assert {one["file"] for one in told if "error" in one} == set(map(str, files.values()))
    assert "Traceback" not in err
    assert sum("zoo_energy" in atoms.info for atoms in read("r.extxyz", ":")) >= len(FILES)


@pytest.mark.parametrize("command", ["md", "vibrations"])
def test_simulations_say_in_one_line_and_in_json_what_is_wrong(
    zoo: Callable, files: dict[str, Path], command: str
) -> None:
    for name, path in files.items():
        if name in READ:
            continue
        code, out, err = zoo(command, "model=pair-test", path, "--json")
        assert code == 1, name
        told = json.loads(out)
        assert told["error"]["type"] == "StructureError"
        assert told["file"] == str(path)
        assert told["error"]["message"] in " ".join(err.split()) or "\0" in err
        assert "Traceback" not in err
    for words, expected, kind in (
        (["good.xyz", "model=absent-model"], 3, "ModelNotFound"),
        (["good.xyz", "model=pair-test", "device=cuda"], 3, "BackendUnavailable"),
        (["good.xyz", "model=pair-test", "dtype=float16"], 2, "UsageError"),
    ):
        code, out, err = zoo(command, *words, "--json")
        assert code == expected
        assert json.loads(out)["error"]["type"] == kind
        assert len(err.splitlines()) == 1
    assert zoo(command, "model=pair-test", "absent.xyz")[0] == 2
    assert zoo(command, "model=pair-test", ".")[0] == 2
    assert not Path("md.traj").exists()


WRONG = {
    "md": ["ensemble=nvt", "steps=3", "timestep=0", "temperature=-1", "trajectory=a.xyz", "seed=-1", "steps=many"],
    "vibrations": ["fmax=0", "displacement=-1", "output=a.gif", "symmetry_number=0", "dipole=absent-model"],
    "relax": ["optimizer=newton", "fmax=nan", "steps=0", "output=a.csv"],
    "predict": ["output=a.txt", "threads=0", "backend=tpu", "properties=mass", "output=good.xyz", "model=,"],
}


@pytest.mark.parametrize("command", WRONG)
def test_wrong_options_are_one_line(zoo: Callable, files: dict[str, Path], command: str) -> None:
    for word in WRONG[command]:
        code, _, err = zoo(command, "model=pair-test", "good.xyz", word)
        assert code == (3 if "absent-model" in word else 2), word
        assert len(err.splitlines()) == 1
        assert "Traceback" not in err


def test_spectrum_says_in_one_line_and_in_json_what_is_wrong(zoo: Callable, files: dict[str, Path]) -> None:
    write("still.traj", [molecule("H2O")] * 20)
    moving = molecule("H2O")
    moving.set_velocities(np.ones((3, 3)))
    write("few.traj", [moving] * 3)
    write("mixed.traj", [moving, Atoms("H", momenta=[[1, 1, 1]])] * 10)
    write("crystal.traj", bulk("C"))
    for path in [*files.values(), *map(Path, ("still.traj", "few.traj", "mixed.traj", "crystal.traj"))]:
        code, out, err = zoo("spectrum", path, "frame_time=1", "--json")
        assert code == 1, path
        assert json.loads(out)["error"]["type"] == "StructureError"
        assert len(err.splitlines()) == 1
    for words, expected in (
        (["few.traj", "plot=a.gif"], 2),
        (["few.traj", "output=a.txt"], 2),
        (["few.traj", "dipole=absent-model"], 3),
        (["few.traj", "dipole=pair-test"], 3),
        (["absent.traj"], 2),
    ):
        code, _, err = zoo("spectrum", *words, "frame_time=1")
        assert code == expected, words
        assert len(err.splitlines()) == 1
    assert not Path("spectrum.csv").exists()
