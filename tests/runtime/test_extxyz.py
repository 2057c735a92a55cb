from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import iread, read, write

from zoo_registry.errors import StructureError
from zoo_runtime import extxyz
from zoo_runtime.extxyz import read_extxyz
from zoo_runtime.frames import read_frames

TWO = "H 0 0 0\nH 0 0 1\n"
LATTICE = 'Lattice="5 0 0 0 5.5 0 1 0 6"'
FRAMES = {
    "plain": f"2\n\n{TWO}",
    "words": f"2\ngdb 12 hello world\n{TWO}",
    "entries": f"2\ncharge=1 name=foo T=300 x=1.5e3 y=-1e-3 z=1. b=T c=F d=true e=0x10 f=1_0 g=nan h=+3 i=007\n{TWO}",
    "plain entries": f'2\nfoo=bar E=-1.5 n=3 v="1 2.5 3" w="1 2 3" b="T F" REF_energy=-2.5 zero=-0.0\n{TWO}',
    "arrays": f'2\nm="1 2 3 4 5 6 7 8 9.5" s="a b c" js="_JSON [[1,2],[3,4]]" n2=[1,2,3] c="1,2" e="x\\"y"\n{TWO}',
    "lattice": f"2\n{LATTICE} Properties=species:S:1:pos:R:3 energy=-1.5\n{TWO}",
    "periodic in two directions": f'2\n{LATTICE} pbc="T F T"\n{TWO}',
    "pbc without a lattice": f'2\npbc="T T F"\n{TWO}',
    "results and references": (
        f"2\n{LATTICE} Properties=species:S:1:pos:R:3:forces:R:3:REF_forces:R:3:tags:I:1:chosen:L:1 energy=-1 "
        'REF_energy=-2.5 stress="1 2 3 4 5 6 7 8 9" virial="1 2 3 4 5 6 7 8 9" dipole="1 2 3"\n'
        "H 0 0 0 1 2 3 1 2 3 1 T\nH 0 0 1 1 2 3 1 2 3 2 F\n"
    ),
    "numbers and charges": "2\nProperties=Z:I:1:pos:R:3:charge:R:1\n1 0 0 0 .5\n1 0 0 1 .5\n",
    "initial charges": "1\nProperties=species:S:1:pos:R:3:initial_charges:R:1:momenta:R:3\nH 0 0 0 .5 1 2 3\n",
    "fixed atoms": "2\nProperties=species:S:1:pos:R:3:move_mask:L:1\nH 0 0 0 T\nH 0 0 1 F\n",
    "labels": "2\nProperties=species:S:1:pos:R:3:label:S:1\nH 0 0 0 ab\nH 0 0 1 c\n",
    "cell at the end": f"2\nhello\n{TWO}VEC1 5 0 0\nVEC2 0 5 0\nVEC3 0 0 5\n1\n\nHe 0 0 0\n",
    "lower case": "2\n\nh 0 0 0\nHE 0 0 1\n",
    "more columns than described": "2\n\nH 0 0 0 0.1\nH 0 0 1 0.2\n",
    "carriage returns": "2\r\nenergy=1.0\r\nH 0 0 0\r\nH 0 0 1\r\n",
    "no end of line": "2\nenergy=1.0\nH 0 0 0\nH 0 0 1",
    "empty lines at the end": f"2\n\n{TWO}\n\n",
    "not ASCII": f"2\nname=Åå note=é\n{TWO}",
    "twice": f"2\na=1 a=2.5\n{TWO}",
    "large numbers": f"2\na=99999999999 b=99999999999999999999 d=1e300\n{TWO}",
    "no atoms": '0\nLattice="5 0 0 0 5 0 0 0 5"\n1\n\nH 0 0 0\n',
    "tabs": "2\na=1\tb=2\nH\t0\t0\t0\nH 0 0 1\n",
    "every digit": "1\n\nH 0.1234567890123456789 1e-320 12345678901234567.891\n",
    "coordinates that are no numbers": "1\n\nH 0 nan inf\n",
}


def assert_same(a: Atoms, b: Atoms) -> None:
    assert a.info.keys() == b.info.keys()
    results = [(atoms.calc.results if atoms.calc else {}) for atoms in (a, b)]
    assert results[0].keys() == results[1].keys()
    assert a.arrays.keys() == b.arrays.keys()
    for one, two in ((a.info, b.info), (a.arrays, b.arrays), results):
        for name in one:
            assert type(one[name]) is type(two[name])
            np.testing.assert_array_equal(one[name], two[name])
            assert getattr(one[name], "dtype", None) == getattr(two[name], "dtype", None)
    assert (a.cell.array == b.cell.array).all()
    assert (a.pbc == b.pbc).all()
    assert repr(a.constraints) == repr(b.constraints)


@pytest.mark.parametrize("text", FRAMES.values(), ids=FRAMES.keys())
def test_every_frame_is_read_as_ase_reads_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.xyz"
    path.write_bytes(text.encode())
    mine, expected = [atoms for atoms, _ in read_extxyz(path)], list(iread(path, ":"))
    assert len(mine) == len(expected) > 0
    for a, b in zip(mine, expected, strict=True):
        assert_same(a, b)


def test_what_ase_and_zoo_write_is_read_without_the_reader_of_ase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crystal = bulk("C", cubic=True)
    crystal.info["REF_energy"] = -7.5
    crystal.arrays["REF_forces"] = np.ones((8, 3))
    write(tmp_path / "a.extxyz", [molecule("CH3CH2OH"), crystal])
    expected = read(tmp_path / "a.extxyz", ":")
    monkeypatch.setattr(extxyz, "_any", None)
    for (a, _), b in zip(read_extxyz(tmp_path / "a.extxyz"), expected, strict=True):
        assert_same(a, b)


BROKEN = {
    "a word for a number": "1\n\nH 0 a 0\n",
    "hexadecimal": "1\n\nH 0 0x1p3 0\n",
    "no element": "1\n\nXq 0 0 0\n",
    "too few columns": "2\n\nH 0 0\nH 0 0 1\n",
    "too few here, too many there": "2\n\nH 0 0\nH 0 0 1 2\n",
    "too short": "3\n\nH 0 0 0\n",
    "far too short": "99999999999\n\nH 0 0 0\n",
    "negative": "-1\n\nH 0 0 0\n",
    "no lattice": '1\nLattice="1 2 3"\nH 0 0 0\n',
    "no text": "\x00\x01\x02\n\n",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_frame_loses_none_before_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.xyz"
    path.write_text(FRAMES["plain"] * 3 + text)
    *good, bad = read_frames([path])
    assert [len(frame.structure) for frame in good] == [2, 2, 2]
    assert isinstance(bad.structure, StructureError)
    assert "cannot read structure 3" in str(bad.structure)


@pytest.mark.parametrize("name", ["a.extxyz", "a.traj", "a.json", "a.extxyz.gz"])
def test_reading_goes_on_where_it_stopped(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write(path, [Atoms("H", [[k, 0, 0]]) for k in range(5)])
    files = [path, tmp_path / "absent.xyz", path]
    whole = list(read_frames(files))
    assert len(whole) == 11
    for k, frame in enumerate(whole):
        rest = list(read_frames(files, frame.next))
        assert [(f.file, f.index) for f in rest] == [(f.file, f.index) for f in whole[k + 1 :]]
        if rest and isinstance(rest[0].structure, Atoms):
            assert rest[0].structure.positions[0, 0] == rest[0].index


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"

    def peak(n: int) -> int:
        path.write_text(f"1\nenergy=-1.5\nH 0 0 {n}\n" * n)
        tracemalloc.start()
        assert sum(1 for _ in read_frames([path])) == n
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(10)
    assert peak(4000) < 1.5 * peak(400)


def test_frames_after_an_empty_line_are_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "two.extxyz"
    path.write_text(f"\n2\n\n{TWO}\n\n2\n\n{TWO}\n")
    assert [len(atoms) for atoms, _ in read_extxyz(path)] == [2, 2]
