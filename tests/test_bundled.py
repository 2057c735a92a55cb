"""The models that come with the package are what they say, on every backend."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from zoo_registry.errors import StructureError
from zoo_registry.release import open_release
from zoo_registry.store import BUNDLED
from zoo_runtime.backends import BACKENDS, BackendUnavailable, choose
from zoo_runtime.graph import build
from zoo_runtime.model import load
from zoo_runtime.report import columns, footnote, sources

RELEASES = sorted(path.parent for path in BUNDLED.glob("*/*/zoo.json"))


def name(path: Path) -> str:
    return path.parent.name


def test_there_are_the_models_that_the_readme_names() -> None:
    assert {name(path) for path in RELEASES} >= {"schnet-qm9", "wacsf-qm9"}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("path", RELEASES, ids=name)
def test_golden_numbers_are_reproduced(path: Path, backend: str) -> None:
    release = replace(open_release(path), trusted=True)
    try:
        runner = choose(release, backend, "cpu")
    except BackendUnavailable as error:
        pytest.skip(str(error))
    metadata = release.metadata
    for entry in json.loads(release.file("golden.json").read_text())["structures"]:
        atoms = Atoms(entry["numbers"], entry["positions"], cell=entry["cell"], pbc=entry["pbc"])
        result = runner.compute(build([atoms], metadata.cutoff, metadata.neighbors["triples"]))
        recorded = {name: entry[name] for name in metadata.outputs if entry.get(name) is not None}
        assert recorded
        for output, value in recorded.items():
            allowed = metadata.tolerance.get(output, metadata.tolerance["forces"])
            tolerance = allowed * len(atoms) if output == "energy" else allowed
            found = result[output][0] if metadata.outputs[output]["per"] == "system" else result[output]
            np.testing.assert_allclose(found, value, rtol=0, atol=tolerance, err_msg=output)


@pytest.mark.parametrize("path", RELEASES, ids=name)
def test_the_test_error_was_measured_on_enough_structures_and_is_on_the_card(path: Path) -> None:
    release = open_release(path)
    errors = {key: error for key, error in release.metadata.metrics.items() if key.endswith("_mae")}
    enough = {"qm9": 10_000, "rmd17": 1_000}  # rMD17 publishes 1,000 test frames, mlearn some dozens
    card = release.file("README.md").read_text()
    assert errors
    for key, error in errors.items():
        assert error["n"] >= next((n for data, n in enough.items() if data in name(path)), 25)
        assert f"| {key} | {error['value']:.4g} | {error['unit']} |" in card


@pytest.mark.parametrize("path", RELEASES, ids=name)
def test_every_check_of_the_report_passed(path: Path) -> None:
    report = json.loads((path / "verification.json").read_text())
    assert report["checks"]
    assert all(check["passed"] for check in report["checks"])


@pytest.mark.parametrize("path", RELEASES, ids=name)
def test_nothing_of_the_machine_that_made_it_is_in_a_release(path: Path) -> None:
    for file in path.iterdir():
        content = file.read_bytes()
        assert not any(word in content for word in (b"/home/", b"/tmp/", b"/root/", b"/Users/")), file.name


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_calculator_follows_atoms_and_cell_as_single_predictions_do(backend: str) -> None:
    try:
        model = load("schnet-qm9", backend=backend, device="cpu")
    except BackendUnavailable as error:
        pytest.skip(str(error))
    rng = np.random.default_rng(0)
    atoms = molecule("CH3CH2OH", cell=[6.0, 5.0, 5.5], pbc=True)
    atoms.calc = model.calculator()
    with pytest.warns(UserWarning, match="periodic"):
        atoms.get_potential_energy()
    for step in range(30):
        atoms.positions += rng.normal(0.0, 0.05, atoms.positions.shape)
        if step % 10 == 5:
            atoms.set_cell(atoms.cell.array * (1.0 + rng.normal(0.0, 0.02, (3, 3))), scale_atoms=True)
        alone = model.predict(atoms)
        assert atoms.get_potential_energy() == pytest.approx(alone.energy, abs=1e-5)
        np.testing.assert_allclose(atoms.get_forces(), alone.forces, atol=1e-4)
        np.testing.assert_allclose(atoms.get_stress(voigt=False), alone.stress, atol=1e-5)
        assert atoms.calc.warnings == alone.warnings


def test_the_calculator_names_atoms_that_overlap() -> None:
    atoms = molecule("H2O")
    atoms.calc = load("schnet-qm9").calculator()
    with pytest.warns(UserWarning, match="trained without forces"):
        atoms.get_potential_energy()
    atoms.positions[1] = atoms.positions[0] + 0.1
    with pytest.raises(StructureError, match=r"atoms 0 \(O\) and 1 \(H\)"):
        atoms.get_potential_energy()


@pytest.mark.parametrize("model", ["schnet-qm9-dipole", "schnet-qm9-all"])
def test_dipoles_point_from_the_negative_to_the_positive_atoms(model: str) -> None:
    water = molecule("H2O")
    dipole = load(model).predict(water).values()["dipole"]
    assert dipole @ (water.positions[1:].mean(0) - water.positions[0]) > 0


def test_the_error_of_a_crystal_is_that_of_its_atoms() -> None:
    model = load("schnet-si")
    (source,) = sources([model], [["energy"]])
    found = columns(source)[1]
    assert found.title == "± test MAE (eV)"
    per_atom = model.metadata.metrics["test/energy_per_atom_mae"]["value"]
    crystal = bulk("Si", cubic=True) * 2
    assert found.value(model.predict(crystal)) == pytest.approx(64 * per_atom)
    assert "eV/atom" in footnote(source)
