"""A model of SchNetPack gives the same numbers here, or is refused with the reason; no code of its file is run."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from ase.build import molecule
from ase.collections import g2

from zoo.models import build
from zoo_export.convert import convert, network
from zoo_export.convert_read import Source, read
from zoo_export.eager import Eager
from zoo_registry.errors import ModelNotFound, ReleaseInvalid, UsageError
from zoo_registry.units import BOHR, HARTREE
from zoo_registry.units import convert as convert_unit
from zoo_runtime.graph import build as build_graph

FOLDER = Path(__file__).parent / "data" / "schnetpack"
CONFIG = {
    "data": {"property_units": {"energy_U0": "eV"}, "distance_unit": "Ang"},
    "model": {
        "_target_": "schnetpack.model.NeuralNetworkPotential",
        "input_modules": [{"_target_": "schnetpack.atomistic.PairwiseDistances"}],
        "representation": {
            "_target_": "schnetpack.representation.SchNet",
            "radial_basis": {"_target_": "schnetpack.nn.radial.GaussianRBF"},
            "cutoff_fn": {"_target_": "schnetpack.nn.cutoff.CosineCutoff"},
        },
        "output_modules": [
            {"_target_": "schnetpack.atomistic.Atomwise", "output_key": "energy_U0", "aggregation_mode": "sum"},
            {"_target_": "schnetpack.atomistic.Forces"},
        ],
        "postprocessors": [
            {"_target_": "schnetpack.transform.CastTo64"},
            {
                "_target_": "schnetpack.transform.AddOffsets",
                "property": "energy_U0",
                "add_mean": True,
                "add_atomrefs": True,
            },
        ],
    },
}


@pytest.fixture
def source() -> Source:
    return read(FOLDER)


@pytest.fixture
def expected() -> list[dict]:
    return json.loads((FOLDER / "expected.json").read_text())


def deviation(potential, entries: list[dict], suffix: str = "", length: float = 1.0) -> tuple[float, float]:
    """Return the largest |dE| in eV/atom and |dF| in eV/Å."""
    reference = Eager(potential)
    if not suffix:
        reference.potential.cast(torch.float32)
    energy = forces = 0.0
    for entry in entries:
        positions, cell = length * np.array(entry["positions"]), length * np.array(entry["cell"])
        atoms = Atoms(entry["numbers"], positions, cell=cell, pbc=entry["pbc"])
        got = reference.compute(build_graph([atoms], potential.cutoff))
        energy = max(energy, abs(got["energy"][0] - entry[f"energy{suffix}"]) / len(atoms))
        forces = max(forces, np.abs(got["forces"] - np.array(entry[f"forces{suffix}"])).max())
    return energy, forces


def test_a_whole_model_gives_the_numbers_of_schnetpack(source, expected) -> None:
    assert source.version == "2.2.0"
    potential = network(source, [], "eV")
    assert potential.species.tolist() == [1, 6, 7, 8, 9]
    assert max(deviation(potential, expected, "64")) < 1e-8
    energy, forces = deviation(potential, expected)
    assert energy < 1e-6
    assert forces < 1e-5


@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: {"state_dict": {f"model.{k}": v for k, v in t.items()}}])
def test_tensors_with_a_configuration_give_the_same_network(source, expected, tmp_path, wrap) -> None:
    torch.save(wrap(source.tensors), tmp_path / "state.pt")
    with pytest.raises(UsageError, match=r"add config=config\.yaml"):
        read(tmp_path / "state.pt")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    again = network(read(tmp_path / "state.pt"), [])  # with the units that the configuration tells
    for name, value in network(source, [], "eV").state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)


def test_references_keep_their_float64_digits(source) -> None:
    reference = network(source, [], "eV").heads["energy"].get_buffer("reference")
    assert reference.dtype == torch.float64
    assert reference.tolist()[0] == -13.61312172 - 4.2398


def test_units_are_converted(source, expected) -> None:
    in_hartree = network(source, [], "hartree", "bohr")
    scaled = [
        entry
        | {
            "energy64": HARTREE * entry["energy64"],
            "forces64": (convert_unit(1.0, "hartree/bohr", "eV/angstrom") * np.array(entry["forces64"])).tolist(),
        }
        for entry in expected
    ]
    assert in_hartree.cutoff == pytest.approx(5.0 * BOHR)
    assert max(deviation(in_hartree, scaled, "64", length=BOHR)) < 1e-5


def test_a_scale_comes_before_or_after_the_offsets(source) -> None:
    source.postprocessors.append(("ScaleProperty", {"input_key": "energy_U0", "output_key": "energy_U0"}))
    source.tensors["postprocessors.2.scale"] = torch.tensor([2.0])
    head = network(source, [], "eV").heads["energy"]
    assert float(head.get_buffer("scale")) == 2.0
    assert head.get_buffer("reference").tolist()[0] == pytest.approx(2 * (-13.61312172 - 4.2398), abs=1e-12)


REFUSED = [
    (lambda s: s.kinds.update(representation="PaiNN"), "representation is PaiNN"),
    (lambda s: s.kinds.update(radial_basis="BesselRBF"), "radial_basis is BesselRBF"),
    (lambda s: s.kinds.update(cutoff_fn="MollifierCutoff"), "cutoff_fn is MollifierCutoff"),
    (lambda s: s.activations.update(representation="silu"), "activation silu"),
    (lambda s: s.activations.update(head="relu"), "activation relu"),
    (lambda s: s.inputs.append("StaticExternalFields"), "input module StaticExternalFields"),
    (lambda s: s.outputs.append(("DipoleMoment", {})), "output module DipoleMoment"),
    (lambda s: s.outputs[0][1].update(aggregation_mode="avg"), "that is a sum"),
    (lambda s: s.postprocessors[1][1].update(is_extensive=False), "not an extensive offset"),
    (lambda s: s.tensors["representation.radial_basis.widths"][0].mul_(2), "different widths"),
]


@pytest.mark.parametrize(("change", "words"), REFUSED)
def test_what_has_no_counterpart_is_refused_with_the_reason(source, change, words) -> None:
    change(source)
    with pytest.raises(UsageError, match=words) as caught:
        network(source, [], "eV")
    assert "\n" not in str(caught.value)


def test_what_the_file_does_not_say_must_be_told(source) -> None:
    with pytest.raises(UsageError, match="energy_unit="):
        network(source, [])
    source.postprocessors.clear()
    with pytest.raises(UsageError, match="species=H,C"):
        network(source, [], "eV")
    assert network(source, [1, 6], "kcal/mol").species.tolist() == [1, 6]


class Evil:
    """Pickled as a command."""

    def __reduce__(self):
        return os.system, (f"touch {os.environ['EVIL_MARK']}",)


def test_code_in_the_file_is_not_run(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("EVIL_MARK", str(tmp_path / "mark"))
    torch.save({"state_dict": {"a": torch.zeros(1)}, "x": Evil()}, tmp_path / "best_model")
    with pytest.raises(ReleaseInvalid, match="wants to run code"):
        read(tmp_path)
    torch.save(Evil(), tmp_path / "best_model")
    with pytest.raises(ReleaseInvalid, match="wants to run code"):
        read(tmp_path)
    (tmp_path / "best_model").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ReleaseInvalid, match="cannot be read"):
        read(tmp_path)
    assert not (tmp_path / "mark").exists()


def test_other_files_are_one_line(tmp_path) -> None:
    with pytest.raises(ModelNotFound, match="best_model"):
        read(tmp_path)
    (tmp_path / "best_model").write_bytes((FOLDER / "best_model").read_bytes()[:5000])
    with pytest.raises(ReleaseInvalid, match="cannot be read"):
        read(tmp_path)
    with pytest.raises(UsageError, match="is not an element"):
        convert(FOLDER, "schnet-converted", species=("Xx",), out=tmp_path)


def test_the_release_holds_the_network_and_where_it_came_from(tmp_path, expected) -> None:
    from zoo_export.matrix import network as released

    release = convert(FOLDER, "schnet-converted", energy_unit="eV", out=tmp_path, targets=(), license="MIT")
    assert release.metadata.provenance["converted_from"] == "SchNetPack 2.2.0"
    assert release.metadata.hyperparameters["heads"]["energy"]["activation"] == "silu"
    assert max(deviation(released(release), expected, "64")) < 1e-8
    card = release.file("README.md").read_text()
    assert "What it was trained on is not known" in card
    assert "| forces vs numerical derivative | pass |" in card


def test_an_unknown_activation_of_a_head_is_refused() -> None:
    representation = {"kind": "schnet", "species": [1], "features": 4}
    heads = {"energy": {"kind": "atomwise", "activation": "relu"}}
    with pytest.raises(UsageError, match="activation is 'relu'"):
        build({"representation": representation, "heads": heads})


def test_a_hundred_molecules_and_a_crystal_agree_with_the_installed_schnetpack(tmp_path) -> None:
    pytest.importorskip("schnetpack")
    spec = importlib.util.spec_from_file_location("fixture", FOLDER / "make_schnetpack_fixture.py")
    assert spec
    assert spec.loader
    fixture = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fixture)
    known = [molecule(name) for name in g2.names]
    structures = [m for m in known if len(m) > 1 and set(m.numbers) <= set(fixture.REFERENCES)]
    for seed, structure in enumerate(copy.deepcopy(structures[: 100 - len(structures)])):
        structure.rattle(0.1, seed=seed)
        structures.append(structure)
    structures = [*structures[:100], fixture.crystal()]
    assert len(structures) == 101
    for silu in (False, True):
        model = fixture.make_model(32, 3, 20, silu)
        torch.save(model, tmp_path / "best_model")
        entries = []
        for atoms in structures:
            energy, forces = fixture.compute(model, atoms, torch.float32)
            entry = {"numbers": atoms.numbers, "positions": atoms.positions, "cell": atoms.cell.array, "pbc": atoms.pbc}
            entries.append(entry | {"energy": energy, "forces": forces})
        energy, forces = deviation(network(read(tmp_path), [], "eV"), entries)
        assert energy < 1e-6
        assert forces < 1e-5
