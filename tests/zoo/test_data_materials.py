"""The Materials Project: every layout gives the same crystals, and the user's key stays with the user."""

import contextlib
import csv
import gzip
import json
import sys
import types
import zipfile

import numpy as np
import pytest
from ase.build import bulk
from ase.neighborlist import neighbor_list

from zoo.data import dataset
from zoo.data.cache import Cache
from zoo.data.materials import read_structure
from zoo_registry.errors import DataError, MissingDependency, UsageError

CRYSTALS = [bulk("NaCl", "rocksalt", a=5.64), bulk("Si", a=5.43), bulk("Ti", a=2.95, c=4.68)]
ENERGIES = [-2.1, 0.0, 0.25]  # eV/atom, made up
SECRET = "k" * 31 + "7"


def pymatgen(atoms):
    """The dictionary that pymatgen makes of a structure."""
    sites = [
        {"species": [{"element": s, "occu": 1}], "abc": abc.tolist(), "xyz": xyz.tolist(), "label": s, "properties": {}}
        for s, abc, xyz in zip(atoms.symbols, atoms.get_scaled_positions(), atoms.positions, strict=True)
    ]
    lattice = {"matrix": atoms.cell.tolist(), "a": 1.0, "volume": float(atoms.get_volume())}
    return {
        "@module": "pymatgen.core.structure",
        "@class": "Structure",
        "charge": 0,
        "lattice": lattice,
        "sites": sites,
    }


def cif(atoms):
    """The text that pymatgen's CifWriter makes."""
    a, b, c, alpha, beta, gamma = atoms.cell.cellpar()
    head = f"# generated using pymatgen\ndata_X\n_symmetry_space_group_name_H-M   'P 1'\n_cell_length_a   {a:.8f}\n"
    head += f"_cell_length_b   {b:.8f}\n_cell_length_c   {c:.8f}\n_cell_angle_alpha   {alpha:.8f}\n"
    head += f"_cell_angle_beta   {beta:.8f}\n_cell_angle_gamma   {gamma:.8f}\n_symmetry_Int_Tables_number   1\n"
    head += "loop_\n _symmetry_equiv_pos_site_id\n _symmetry_equiv_pos_as_xyz\n  1  'x, y, z'\n"
    head += "loop_\n _atom_site_type_symbol\n"
    head += " _atom_site_label\n _atom_site_symmetry_multiplicity\n _atom_site_fract_x\n _atom_site_fract_y\n"
    head += " _atom_site_fract_z\n _atom_site_occupancy\n"
    rows = zip(atoms.symbols, atoms.get_scaled_positions(), strict=True)
    return head + "".join(f"  {s}  {s}{k}  1  {x:.8f}  {y:.8f}  {z:.8f}  1\n" for k, (s, (x, y, z)) in enumerate(rows))


def write(folder, layout):
    """Write the crystals as a snapshot and return its name and path."""
    if layout == "mp-2018":
        keys = ("formation_energy_per_atom", "band_gap")
        rows = [
            {"material_id": "mp-1", "structure": cif(a), **dict.fromkeys(keys, e)}
            for a, e in zip(CRYSTALS, ENERGIES, strict=True)
        ]
        with zipfile.ZipFile(folder / "x.json.zip", "w") as archive:
            archive.writestr("mp.2018.6.1.json", json.dumps(rows))
        return layout, folder / "x.json.zip"
    if layout == "csv":
        with gzip.open(folder / "x.csv.gz", "wt", newline="") as file:
            file.write("# ref: somebody\n")
            table = csv.writer(file)
            table.writerow(["material_id", "nsites", "structure", "formation_energy_per_atom"])
            table.writerows(["mp-1", len(a), str(pymatgen(a)), e] for a, e in zip(CRYSTALS, ENERGIES, strict=True))
        return "mp-flla", folder / "x.csv.gz"
    columns = {"mp-matbench": ["structure", "e_form"], "mp-2018-10": ["mpid", "e_form", "gap pbe", "structure"]}[layout]
    values = [
        {"structure": pymatgen(a), "e_form": e, "gap pbe": 1, "mpid": "mp-1"}
        for a, e in zip(CRYSTALS, ENERGIES, strict=True)
    ]
    split = {"columns": columns, "index": [0, 1, 2], "data": [[value[c] for c in columns] for value in values]}
    with gzip.open(folder / "x.json.gz", "wt") as file:
        json.dump(split, file)
    return layout, folder / "x.json.gz"


@pytest.mark.parametrize("layout", ["mp-2018", "mp-2018-10", "mp-matbench", "csv"])
def test_snapshots(tmp_path, layout):
    name, path = write(tmp_path, layout)
    cache = Cache(dataset(name).prepare(tmp_path, str(path)))
    assert cache.properties["formation_energy_per_atom"].unit == "eV/atom"
    np.testing.assert_array_equal(cache.values("formation_energy_per_atom"), ENERGIES)
    for k, crystal in enumerate(CRYSTALS):
        read = cache.atoms(k)
        assert str(read.symbols) == str(crystal.symbols)
        assert read.pbc.all()
        assert read.get_volume() == pytest.approx(crystal.get_volume(), rel=1e-7)
        # A CIF does not say how the cell is turned, so distances are what must agree.
        ours, theirs = (np.sort(neighbor_list("d", atoms, 5.0)) for atoms in (read, crystal))
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_what_macos_adds_to_an_archive_is_ignored(tmp_path):
    name, path = write(tmp_path, "mp-2018")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/._mp.2018.6.1.json", b"\0\1")
    np.testing.assert_array_equal(
        Cache(dataset(name).prepare(tmp_path, str(path))).values("formation_energy_per_atom"), ENERGIES
    )


@pytest.mark.parametrize("damage", ["cut", "page", "other", "column"])
def test_damaged_snapshots(tmp_path, damage):
    name, path = write(tmp_path, "mp-matbench")
    content = path.read_bytes()
    new = {"cut": content[:-200], "page": b"<html>", "other": gzip.compress(b"{}")}
    new["column"] = gzip.compress(gzip.decompress(content).replace(b"e_form", b"energy"))
    path.write_bytes(new[damage])
    message = {"other": "No system", "column": "crystal 0 lacks what mp-matbench needs"}.get(damage, "cannot be read")
    with pytest.raises(DataError, match=message):
        dataset(name).prepare(tmp_path, str(path))
    assert list((tmp_path / name).iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["sites"][0]["species"][0].update(occu=0.5), "occupancy 0.5"),
        (lambda s: s["sites"][0]["species"].append({"element": "K", "occu": 0.5}), "too many values"),
        (lambda s: s.pop("lattice"), "lattice"),
    ],
)
def test_structures_that_are_not_ordered_crystals(change, message):
    structure = pymatgen(CRYSTALS[0])
    change(structure)
    with pytest.raises(DataError, match=message):
        read_structure(structure)


def test_cif_with_symmetry_is_refused():
    with pytest.raises(DataError, match="CIF with symmetry"):
        read_structure(cif(CRYSTALS[0]).replace("'P 1'", "'F m -3 m'"))


@pytest.fixture
def client(monkeypatch):
    """A stand-in for mp-api, which answers from three crystals and remembers what it was asked."""
    asked = []
    records = [
        {
            "material_id": f"mp-{9 - k}",
            "structure": pymatgen(atoms),
            "formation_energy_per_atom": energy,
            "energy_per_atom": -5.0,
            "band_gap": 1.0,
            "total_magnetization": None if k == 2 else 0.0,
        }
        for k, (atoms, energy) in enumerate(zip(CRYSTALS, ENERGIES, strict=True))
    ]

    class MPRester(contextlib.nullcontext):
        db_version = "2025.9.25"
        fails = False

        def __init__(self, api_key, **options):
            super().__init__(self)
            self.api_key = api_key
            self.materials = types.SimpleNamespace(summary=self)

        def search(self, num_sites, **options):
            asked.append((self.api_key, num_sites, options))
            if MPRester.fails:
                raise ValueError(f"401 for\n{self.api_key}")
            return [one for one in records if num_sites[0] <= len(one["structure"]["sites"]) <= num_sites[1]]

    package, module = types.ModuleType("mp_api"), types.ModuleType("mp_api.client")
    package.__spec__ = types.SimpleNamespace()
    module.MPRester = MPRester
    monkeypatch.setitem(sys.modules, "mp_api", package)
    monkeypatch.setitem(sys.modules, "mp_api.client", module)
    monkeypatch.setenv("MP_API_KEY", SECRET)
    return MPRester, asked


def test_todays_database(tmp_path, client):
    cache = Cache(dataset("materials-project").prepare(tmp_path))
    _, asked = client
    assert {key for key, _, _ in asked} == {SECRET}
    assert [sites for _, sites, _ in asked] == [(k, k + 9) for k in range(1, 301, 10)]
    assert [str(cache.atoms(k).symbols) for k in range(2)] == ["Si2", "NaCl"]  # by identifier
    assert cache.values("formation_energy_per_atom").tolist() == [0.0, -2.1]
    assert (cache.meta["dataset"]["version"], cache.meta["dataset"]["left_out"]) == ("2025.9.25", 1)


def test_the_key_is_written_nowhere(tmp_path, client, capfd):
    dataset("materials-project").prepare(tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    client[0].fails = True
    with pytest.raises(DataError, match=r"did not answer as expected \(401 for \.\.\.\)") as caught:
        dataset("materials-project").prepare(tmp_path / "other")
    assert caught.value.__cause__ is None
    assert SECRET not in str(caught.value) + "".join(capfd.readouterr())


def test_no_key_or_no_client(tmp_path, client, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match="pip install mp-api"):
        dataset("materials-project").prepare(tmp_path)
    monkeypatch.delenv("MP_API_KEY")
    with pytest.raises(UsageError, match=r"MP_API_KEY .* mp-matbench"):
        dataset("materials-project").prepare(tmp_path)
    with pytest.raises(UsageError, match="has no source"):
        dataset("materials-project").prepare(tmp_path, "file")
