"""Input that would give wrong numbers stops LAMMPS with one line that says what to do."""

from __future__ import annotations

import json
import shutil
import struct

import pytest
from ase import Atoms
from ase.build import bulk, molecule

WATER = molecule("H2O", cell=[12.0] * 3, pbc=True)
COPPER = Atoms("SiCu", [[1, 1, 1], [3, 1, 1]], cell=[12.0] * 3, pbc=True)


@pytest.fixture
def refusal(lammps):
    """Run an input and return the one line by which LAMMPS stops."""

    def run(script: str, ranks: int = 1) -> str:
        done = lammps.run(script + "\nrun 0", ranks)
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("ERROR")]
        assert done.returncode != 0
        assert len(set(lines)) == 1, done.stdout[-2000:] + done.stderr[-2000:]
        return lines[0]

    return run


def changed(lammps, model, old: str, new: str, **setup: str) -> str:
    script = lammps.setup(WATER, model, **setup)
    assert old in script
    return script.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (" H O", " O H", ["type 1 is O in pair_coeff but has the mass of H", "in the order of the types"]),
        (" H O", " H Fe", ["type 2 is Fe", "knows H, C, N, O, F"]),
        (" H O", " H NULL", ["type 2 is NULL", "give each type its element"]),
        (" H O", " H", ["one element for each of the 2 atom types", "1 are given"]),
        (" H O", " H O O", ["2 atom types", "3 are given"]),
        ("units metal", "units lj", ["units lj are not converted", "`units metal` or `units real`"]),
        ("boundary", "newton off\nboundary", ["newton is off", "use `newton on`"]),
        ("dtype float64", "dtype float16", ["'dtype float16' is not a setting", "float32|float64"]),
        ("zoo dtype float64", "zoo cutoff 5.0", ["'cutoff 5.0' is not a setting"]),
        ("zoo dtype float64", "zoo dtype", ["'dtype ' is not a setting"]),
    ],
)
def test_a_mistake_in_the_input_is_named(lammps, model, refusal, old, new, words):
    line = refusal(changed(lammps, model("schnet-qm9"), old, new))
    assert all(word in line for word in ["pair style zoo", *words]), line


BONDS = """units metal
atom_style bond
bond_style zero
special_bonds {special}
lattice sc 12
region box block 0 1 0 1 0 1
create_box 2 box bond/types 1 extra/bond/per/atom 2 extra/special/per/atom 4
bond_coeff *
mass 1 1.008
mass 2 15.999
create_atoms 2 single 0.5 0.5 0.5
create_atoms 1 single 0.56 0.55 0.5
create_atoms 1 single 0.44 0.55 0.5
create_bonds single/bond 1 1 2
create_bonds single/bond 1 1 3
plugin load {plugin}
pair_style zoo
pair_coeff * * {model} H O
"""


def test_bonds_that_hide_neighbours_are_refused(lammps, model, refusal):
    names = {"plugin": lammps.plugin, "model": model("schnet-qm9")}
    assert "use `special_bonds lj/coul 1 1 1`" in refusal(BONDS.format(special="amber", **names))
    done = lammps.run(BONDS.format(special="lj/coul 1 1 1", **names) + "run 0")
    assert done.returncode == 0, done.stdout + done.stderr


def test_excluded_neighbours_are_refused(lammps, model, refusal):
    script = lammps.setup(WATER, model("schnet-qm9"), coeff="neigh_modify exclude type 1 2")
    assert "`neigh_modify exclude` would hide neighbours" in refusal(script)


def test_atoms_without_ids_are_refused(lammps, model, refusal):
    region = "lattice sc 4\nregion box block 0 4 0 4 0 4\ncreate_box 2 box\ncreate_atoms 1 box\nmass * 1"
    lines = f"atom_modify id no\n{region}"
    script = changed(lammps, model("schnet-qm9"), "read_data atoms.data", lines)
    assert "use `atom_modify id yes`" in refusal(script)


def test_hybrid_that_takes_pairs_away_is_refused(lammps, model, refusal):
    script = lammps.setup(
        COPPER, model("si-schnet"), style="hybrid zoo lj/cut 4.0", coeff="pair_coeff 2 2 lj/cut 0.1 2.0"
    )
    assert "use `pair_style hybrid/overlay`" in refusal(script)


def test_a_file_that_is_no_model_is_refused_once_by_all_ranks(lammps, model, refusal):
    file = model("schnet-qm9") / "model.safetensors"
    bad = lammps.folder / "bad.safetensors"
    bad.write_bytes(file.read_bytes()[:100_000])
    assert "bad.safetensors" in refusal(lammps.setup(WATER, bad), ranks=2)
    assert "/nowhere/model.safetensors" in refusal(lammps.setup(WATER, "/nowhere/model.safetensors"))


def test_a_committee_needs_a_member_and_a_network_has_none(lammps, committee, model, refusal):
    whole, _ = committee
    line = refusal(lammps.setup(COPPER, whole))
    assert "committee of 2" in line
    assert "`pair_style zoo member K`" in line
    assert "0 to 1" in refusal(lammps.setup(COPPER, whole, style="zoo member 2"))
    assert "holds one network" in refusal(lammps.setup(COPPER, model("si-schnet"), style="zoo member 0"))


def test_a_model_of_a_newer_schema_is_refused(lammps, model, refusal):
    data = (model("schnet-qm9") / "model.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    document = json.loads(header["__metadata__"]["zoo.json"]) | {"schema": 99}
    header["__metadata__"]["zoo.json"] = json.dumps(document)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    newer = lammps.folder / "newer.safetensors"
    newer.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])
    line = refusal(lammps.setup(WATER, newer))
    assert "schema 99" in line
    assert "install a newer version" in line


def test_a_release_that_does_not_reproduce_its_golden_numbers_is_refused(lammps, model, refusal):
    folder = lammps.folder / "changed"
    shutil.copytree(model("wacsf-qm9"), folder)
    golden = json.loads((folder / "golden.json").read_text())
    golden["structures"][0]["energy"] += 0.01
    (folder / "golden.json").write_text(json.dumps(golden))
    assert "golden.json is not reproduced" in refusal(lammps.setup(WATER, folder))


def test_coinciding_atoms_are_refused(lammps, model, refusal):
    atoms = bulk("Si", cubic=True).repeat(2)
    atoms.positions[1] = atoms.positions[0]
    assert "coincide" in refusal(lammps.setup(atoms, model("si-schnet")))


def test_centroid_stress_is_refused(lammps, model, refusal):
    line = refusal(
        lammps.setup(WATER, model("schnet-qm9"))
        + "compute s all centroid/stress/atom NULL\nvariable v atom c_s[1]\ndump d all custom 1 d.dump id v_v"
    )
    assert "centroid" in line.lower()
