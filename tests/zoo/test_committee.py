"""What a committee promises: mean and spread of its members, and the physics of each of them."""

import copy
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from zoo.models import build
from zoo.models.committee import Committee
from zoo_registry.errors import UsageError
from zoo_runtime import keys
from zoo_runtime.graph import build as build_graph

SPECIES = [1, 6, 8]
MODELS = {
    "schnet": {
        "committee": 3,
        "representation": {"kind": "schnet", "species": SPECIES, "cutoff": 4.0, "features": 8, "interactions": 2},
        "heads": {"energy": {"kind": "atomwise"}, "dipole": {"kind": "dipole_moment"}},
    },
    "wacsf": {
        "committee": 2,
        "representation": {"kind": "wacsf", "species": SPECIES, "cutoff": 4.0, "radial": 6, "angular": 3},
        "heads": {"energy": {"kind": "elemental_atomwise", "hidden": [6]}},
    },
}
Run = Callable[..., dict[str, np.ndarray]]


@pytest.fixture(params=MODELS)
def committee(request: pytest.FixtureRequest) -> Committee:
    torch.manual_seed(0)
    model = build(MODELS[request.param])
    assert isinstance(model, Committee)
    model.set_standardisation("energy", -2.0, 1.5, {6: -1000.0, 8: -2000.0})
    return model.cast(torch.float64).eval().requires_grad_(False)


def graph(model: torch.nn.Module, *structures: Atoms) -> dict[str, torch.Tensor]:
    arrays = build_graph(structures, model.cutoff, model.needs_triples).tensors()
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def run(model: torch.nn.Module, *structures: Atoms) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy() for name, value in model(graph(model, *structures)).items()}


def ethanol() -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=1)
    return atoms


def diamond() -> Atoms:
    atoms = bulk("C", cubic=False) * (2, 1, 1)
    atoms.rattle(0.1, seed=2)
    return atoms


def test_outputs_are_mean_and_sample_spread_of_the_members(committee: Committee) -> None:
    structures = [ethanol(), diamond()]
    single = [run(member, *structures) for member in committee.members]
    together = run(committee, *structures)
    for name in single[0]:
        expected = np.mean([one[name] for one in single], axis=0)
        np.testing.assert_allclose(together[name], expected, rtol=1e-12, atol=1e-12)
    energies = np.std([one["energy"] for one in single], axis=0, ddof=1)
    np.testing.assert_allclose(together[keys.ENERGY_SPREAD], energies, rtol=1e-9)
    variances = np.var([one["forces"] for one in single], axis=0, ddof=1)
    np.testing.assert_allclose(together[keys.FORCES_SPREAD], np.sqrt(variances.sum(1)), rtol=1e-9)
    assert together[keys.ENERGY_SPREAD].min() > 1e-3
    assert together.keys() == committee.outputs().keys()
    assert committee.outputs()[keys.ENERGY_SPREAD] == {
        **{"dtype": "float64", "shape": ["s"], "unit": "eV", "per": "system", "gradient_of": None}
    }
    assert committee.outputs()[keys.FORCES_SPREAD] == {
        **{"dtype": "float64", "shape": ["n"], "unit": "eV/Å", "per": "atom", "gradient_of": None}
    }


def test_equal_members_have_no_spread(committee: Committee) -> None:
    for member in committee.members:
        member.load_state_dict(committee.members[0].state_dict())
    outputs = run(committee, ethanol())
    assert outputs[keys.ENERGY_SPREAD].max() < 1e-12
    assert outputs[keys.FORCES_SPREAD].max() < 1e-12


def test_mean_forces_are_minus_the_derivative_of_the_mean_energy(committee: Committee) -> None:
    atoms, step = ethanol(), 1e-4
    moved = []
    for i, axis, sign in itertools.product(range(len(atoms)), range(3), (1, -1)):
        moved.append(atoms.copy())
        moved[-1].positions[i, axis] += sign * step
    energy = run(committee, *moved)["energy"].reshape(len(atoms), 3, 2)
    numerical = (energy[..., 1] - energy[..., 0]) / (2 * step)
    np.testing.assert_allclose(run(committee, atoms)["forces"], numerical, rtol=1e-6, atol=1e-6)


def test_a_batch_gives_what_single_systems_give_in_any_order_of_atoms(committee: Committee) -> None:
    structures = [ethanol(), diamond(), Atoms("O")]
    together = run(committee, *structures)
    alone = [run(committee, atoms) for atoms in structures]
    for name, facts in committee.outputs().items():
        joined = np.concatenate([one[name] for one in alone])
        np.testing.assert_allclose(together[name], joined, rtol=1e-9, atol=1e-9)
        order = np.random.default_rng(3).permutation(len(structures[0]))
        permuted = run(committee, structures[0][order])[name]
        expected = alone[0][name][order] if facts["per"] == "atom" else alone[0][name]
        np.testing.assert_allclose(permuted, expected, rtol=1e-8, atol=1e-8)


def test_without_gradients_there_are_no_forces(committee: Committee) -> None:
    committee.gradients = False
    outputs = run(committee, ethanol())
    assert keys.ENERGY_SPREAD in outputs
    assert not outputs.keys() & {keys.FORCES, keys.STRESS, keys.FORCES_SPREAD}
    assert outputs.keys() == committee.outputs().keys()


def test_torchscript_gives_the_same_after_saving(committee: Committee, tmp_path: Path) -> None:
    structures = [ethanol(), diamond()]
    scripted = torch.jit.script(copy.deepcopy(committee))
    scripted.save(str(tmp_path / "model.pt"))
    expected, got = run(committee, *structures), run_scripted(tmp_path / "model.pt", committee, structures)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-9, atol=1e-9)


def run_scripted(path: Path, committee: Committee, structures: list[Atoms]) -> dict[str, np.ndarray]:
    outputs = torch.jit.load(str(path))(graph(committee, *structures))
    return {name: value.detach().numpy() for name, value in outputs.items()}


def test_weights_are_named_by_member_and_rebuild_the_committee(committee: Committee) -> None:
    state = committee.state_dict()
    single = committee.members[0].state_dict()
    assert set(state) == {f"members.{k}.{name}" for k in range(len(committee.members)) for name in single}
    again = build(committee.hyperparameters).cast(torch.float64).eval()
    again.load_state_dict(state)
    np.testing.assert_array_equal(run(again, ethanol())["energy"], run(committee, ethanol())["energy"])


def test_a_committee_of_one_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 2 members"):
        build(MODELS["schnet"] | {"committee": 1})
