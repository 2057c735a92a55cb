from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write

import zoo_runtime
from zoo_registry.errors import ReleaseInvalid
from zoo_registry.metadata import Metadata
from zoo_registry.release import Release
from zoo_runtime import Model, prediction
from zoo_runtime.checks import Contacts, OutsideDomain, check_contacts
from zoo_runtime.graph import batch, single

COMPOSITION = {"composition": {"H": [0.2, 0.8], "C": [0.1, 0.5]}}


def warnings_of(model: Model, atoms: Atoms) -> list[str]:
    return [type(warning).__name__ for warning in model.predict(atoms).warnings]


CASES = {
    "periodic": ({"periodic": False}, bulk("C"), ["PeriodicityWarning"]),
    "too large": ({"periodic": False, "domain": {"largest_system": 8}}, molecule("CH3CH2OH"), ["SizeWarning"]),
    "too small": ({"domain": {"smallest_system": 4}}, molecule("H2O"), ["SizeWarning"]),
    "inside": ({"domain": COMPOSITION}, molecule("CH4"), []),
    "hardly outside": ({"domain": {"composition": {"H": [0.2, 0.77]}}}, molecule("CH4"), []),
    "too much of one": ({"domain": COMPOSITION}, molecule("C60")[:3], ["CompositionWarning", "CompositionWarning"]),
    "none of one": ({"domain": COMPOSITION}, molecule("H2O"), ["CompositionWarning"]),
    "near": ({"domain": {"shortest_distance": {"H-O": 1.5}}}, molecule("H2O"), ["DistanceWarning"]),
    "alone": ({}, Atoms("H2", [[0, 0, 0], [9, 0, 0]]), ["NeighborWarning"]),
    "an older release": ({"domain": {}}, molecule("CH4"), []),
}


@pytest.mark.parametrize(("facts", "atoms", "kinds"), CASES.values(), ids=CASES.keys())
def test_a_warning_says_of_what_kind_it_is_and_strict_mode_refuses(
    make_model: Callable[..., Model], facts: dict, atoms: Atoms, kinds: list[str]
) -> None:
    model = make_model(**facts)
    assert warnings_of(model, atoms) == kinds
    assert all(isinstance(warning, prediction.DomainWarning) for warning in model.predict(atoms).warnings)
    model.strict = True
    (result,) = model.predict([atoms], errors="return")
    assert isinstance(result, OutsideDomain) == bool(kinds)
    assert not kinds or str(model.predict([atoms], errors="return")[0]).endswith("unlike the training data.")


def test_what_holds_of_every_structure_is_no_matter_of_strict_mode(make_model: Callable[..., Model]) -> None:
    model = make_model(training={"recipe": {"data": {"targets": {"energy": "U0"}}}})
    model.strict = True
    (warning,) = model.predict(molecule("CH4")).warnings
    assert isinstance(warning, prediction.GradientWarning)


def test_the_spread_of_a_committee_is_measured_by_that_on_test_data(
    make_model: Callable[..., Model], make_metadata: Callable[..., Metadata], backend: object
) -> None:
    compute = backend.compute
    spread = {"energy": 0.1, "forces": 0.02}
    backend.compute = lambda graph: (
        compute(graph)
        | {
            "energy_spread": np.full(graph.n_systems, spread["energy"]),
            "forces_spread": np.full(len(graph.numbers), spread["forces"]),
        }
    )
    system = {"dtype": "float64", "shape": ["s"], "unit": "eV", "per": "system", "gradient_of": None}
    outputs = make_metadata().outputs | {
        "energy_spread": system,
        "forces_spread": system | {"shape": ["n"], "per": "atom", "unit": "eV/Å"},
    }
    metrics = {
        "test/energy_spread_rms": {"value": 0.05, "unit": "eV", "n": 9},
        "test/forces_spread_rms": {"value": 0.01, "unit": "eV/Å", "n": 9},
    }
    model = make_model(outputs=outputs, metrics=metrics)
    assert warnings_of(model, molecule("CH4")) == []
    assert model.predict(molecule("CH4")).properties["energy_spread"] == 0.1
    spread["forces"] = 0.04
    (warning,) = model.predict(molecule("CH4")).warnings
    assert isinstance(warning, prediction.SpreadWarning)
    assert warning == "committee spread of forces is 0.04 eV/Å, on test data 0.01 eV/Å (root mean square)"
    model.strict = True
    assert isinstance(model.predict([molecule("CH4")], errors="return")[0], OutsideDomain)


def test_strict_mode_refuses_atoms_that_are_alone_in_a_simulation_too() -> None:
    model = zoo_runtime.load("schnet-rmd17-ethanol", strict=True)
    with pytest.raises(OutsideDomain):
        model.follow(Atoms("H2", [[0, 0, 0], [9, 0, 0]]))


def test_a_glance_at_a_batch_finds_just_what_a_closer_look_finds(make_metadata: Callable[..., Metadata]) -> None:
    metadata = make_metadata(domain={"shortest_distance": {"H-C": 1.06, "H-H": 1.4, "C-O": 1.15}})
    random = np.random.default_rng(0)
    structures = [molecule("CH3CH2OH") for _ in range(40)] + [Atoms("H"), Atoms("H2", [[0, 0, 0], [9, 0, 0]])]
    for atoms in structures[:40]:
        atoms.positions *= random.uniform(0.8, 1.2)
    graphs = [single(atoms, 3.0) for atoms in structures]
    closer = [bool(check_contacts(graph, metadata)) for graph in graphs[:-2]] + [False, True]
    assert 5 < sum(closer) < 38
    found = Contacts(metadata).suspicious(batch(graphs))
    assert found[:-2].tolist() == closer[:-2]
    assert found[-1]


def test_strict_refuses_on_the_command_line_and_leaves_the_others(
    zoo: Callable, make_release: Callable[..., Release], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = make_release(periodic=False)
    monkeypatch.chdir(tmp_path)
    write("many.extxyz", [molecule("CH4"), bulk("C"), molecule("H2O")])
    code, out, err = zoo("predict", f"model={release.path}", "many.extxyz", "strict=true", "--json")
    told = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert ["error" in one for one in told] == [False, True, False]
    assert told[1]["error"]["type"] == "OutsideDomain"
    assert "trained on molecules only" in err
    code, out, _ = zoo("predict", f"model={release.path}", "many.extxyz", "--json")
    assert code == 0
    assert [[warning["type"] for warning in json.loads(line)["warnings"]] for line in out.splitlines()] == [
        [],
        ["PeriodicityWarning"],
        [],
    ]
    write("crystal.extxyz", bulk("C"))
    code, out, err = zoo("md", f"model={release.path}", "crystal.extxyz", "steps=4", "strict=true", "--json")
    assert code == 1
    assert json.loads(out)["error"]["type"] == "OutsideDomain"


@pytest.mark.parametrize(
    "domain", [{"composition": {"Si": [0, 1]}}, {"composition": {"H": 1}}, {"largest_system": "many"}], ids=str
)
def test_a_domain_that_makes_no_sense_is_refused_with_the_release(
    make_metadata: Callable[..., Metadata], domain: dict
) -> None:
    with pytest.raises(ReleaseInvalid, match="domain: "):
        Metadata.from_json(make_metadata(domain=domain).to_json())
