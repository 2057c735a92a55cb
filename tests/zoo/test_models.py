"""What the networks promise: the formulas of their papers, and the symmetries and derivatives of physics."""

import itertools
import math

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from zoo.models import build
from zoo_registry.errors import UsageError
from zoo_runtime.graph import build as build_graph

SPECIES = [1, 6, 8, 14]
REPRESENTATIONS = {
    "schnet": {"kind": "schnet", "features": 16, "interactions": 2, "gaussians": 12},
    "wacsf": {"kind": "wacsf", "radial": 6, "angular": 3},
    "wacsf-crossterms": {"kind": "wacsf", "radial": 4, "angular": 2, "zetas": [1, 4], "crossterms": True},
    "acsf-centred": {"kind": "wacsf", "radial": 4, "angular": 2, "weighted": False, "centered": True},
    "wacsf-shifted": {"kind": "wacsf", "radial": 4, "angular": 3, "zetas": [2], "angular_centered": False},
}
CUTOFF = 4.0


def make(representation, heads=None):
    torch.manual_seed(0)
    settings = REPRESENTATIONS[representation] | {"species": SPECIES, "cutoff": CUTOFF}
    heads = heads or {"energy": {"kind": "elemental_atomwise" if "acsf" in representation else "atomwise"}}
    model = build({"representation": settings, "heads": heads}).cast(torch.float64).eval()
    for head in heads:
        if "atomwise" in heads[head]["kind"]:
            model.set_standardisation(head, -2.0, 1.5, {6: -1000.0, 8: -2000.0})
    return model


def tensors(model, *structures):
    graph = build_graph(structures, model.cutoff, model.needs_triples)
    return {name: torch.from_numpy(array) for name, array in graph.tensors().items()}


def run(model, *structures):
    return {name: value.detach().numpy() for name, value in model(tensors(model, *structures)).items()}


def ethanol():
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=1)
    return atoms


def silicon():
    atoms = bulk("Si", cubic=False) * (2, 1, 1)
    atoms.rattle(0.1, seed=2)
    atoms.set_cell(atoms.cell.array + 0.1 * np.random.default_rng(0).normal(size=(3, 3)), scale_atoms=True)
    return atoms


every_representation = pytest.mark.parametrize("representation", REPRESENTATIONS)
every_structure = pytest.mark.parametrize("structure", [ethanol, silicon])


@every_representation
@every_structure
def test_forces_are_minus_the_derivative_of_the_energy(representation, structure):
    model, atoms, step = make(representation), structure(), 1e-4
    moved = []
    for i, axis, sign in itertools.product(range(len(atoms)), range(3), (1, -1)):
        moved.append(atoms.copy())
        moved[-1].positions[i, axis] += sign * step
    energy = run(model, *moved)["energy"].reshape(len(atoms), 3, 2)
    numerical = (energy[..., 1] - energy[..., 0]) / (2 * step)
    np.testing.assert_allclose(run(model, atoms)["forces"], numerical, rtol=1e-6, atol=1e-6)


@every_representation
def test_stress_is_the_derivative_by_strain_over_volume(representation):
    model, atoms, step = make(representation), silicon(), 1e-4
    strained = []
    for a, b, sign in itertools.product(range(3), range(3), (1, -1)):
        strain = np.zeros((3, 3))
        strain[a, b] += sign * step / 2
        strain[b, a] += sign * step / 2
        strained.append(atoms.copy())
        strained[-1].set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    energy = run(model, *strained)["energy"].reshape(3, 3, 2)
    numerical = (energy[..., 0] - energy[..., 1]) / (2 * step) / atoms.get_volume()
    np.testing.assert_allclose(run(model, atoms)["stress"][0], numerical, rtol=1e-5, atol=1e-7)


@every_representation
def test_a_molecule_has_no_stress(representation):
    assert not run(make(representation), ethanol())["stress"].any()


@every_representation
def test_rotation_turns_the_forces_and_leaves_the_energy(representation):
    model, atoms = make(representation), ethanol()
    turned, axes = atoms.copy(), Atoms("H3", np.eye(3))
    for each in (turned, axes):
        each.rotate(70.0, (1.0, -2.0, 0.5))
    turned.positions += 3.0
    before, after = run(model, atoms), run(model, turned)
    np.testing.assert_allclose(after["energy"], before["energy"], atol=1e-9)
    np.testing.assert_allclose(after["forces"], before["forces"] @ axes.positions, atol=1e-9)


@every_representation
@every_structure
def test_order_of_atoms_does_not_matter(representation, structure):
    model, atoms = make(representation), structure()
    order = np.random.default_rng(3).permutation(len(atoms))
    before, after = run(model, atoms), run(model, atoms[order])
    np.testing.assert_allclose(after["energy"], before["energy"], atol=1e-9)
    np.testing.assert_allclose(after["forces"], before["forces"][order], atol=1e-9)


@every_representation
def test_a_batch_gives_what_its_members_give_alone(representation):
    model, members = make(representation), [ethanol(), silicon(), Atoms("H"), molecule("H2O")]
    together, alone = run(model, *members), [run(model, atoms) for atoms in members]
    for name in ("energy", "stress", "energies", "forces"):
        np.testing.assert_allclose(together[name], np.concatenate([one[name] for one in alone]), atol=1e-9)


@every_representation
def test_energy_is_extensive(representation):
    model, atoms = make(representation), silicon()
    doubled = run(model, atoms * (2, 1, 2))
    np.testing.assert_allclose(doubled["energy"], 4 * run(model, atoms)["energy"], atol=1e-8)
    np.testing.assert_allclose(doubled["stress"], run(model, atoms)["stress"], atol=1e-9)


@every_representation
def test_energy_and_forces_go_smoothly_to_zero_at_the_cutoff(representation):
    model = make(representation)
    far = run(model, Atoms("CO", [[0, 0, 0], [0, 0, CUTOFF + 1.0]]))
    near = run(model, Atoms("CO", [[0, 0, 0], [0, 0, CUTOFF - 1e-4]]))
    np.testing.assert_allclose(near["energy"], far["energy"], atol=1e-6)
    np.testing.assert_allclose(near["forces"], 0.0, atol=1e-3)
    assert not far["forces"].any()


@every_representation
def test_an_atom_alone_has_its_reference_and_no_forces(representation):
    result = run(make(representation), Atoms("O"))
    assert abs(result["energy"][0] + 2002.0) < 50.0
    assert not result["forces"].any()
    assert np.isfinite(result["energies"]).all()


@every_representation
def test_a_model_is_rebuilt_from_hyperparameters_and_weights(representation):
    model = make(representation)
    again = build(model.hyperparameters).cast(torch.float64).eval()
    again.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(run(again, ethanol())["forces"], run(model, ethanol())["forces"])


def test_references_keep_their_digits_in_a_float32_network():
    model = make("schnet").cast(torch.float32)
    model.set_standardisation("energy", 0.0, 0.0, {14: -1e7 - 1 / 3})
    assert run(model, silicon())["energy"][0] == pytest.approx(4 * (-1e7 - 1 / 3), abs=1e-7)


def test_schnet_is_the_formula_of_its_paper():
    model, atoms = make("schnet"), ethanol()
    weights = {name: value.numpy() for name, value in model.representation.state_dict().items()}
    x = weights["embedding.weight"][[SPECIES.index(z) for z in atoms.numbers]]

    def ssp(values):
        return np.log(0.5 * np.exp(values) + 0.5)

    def network(values, name):
        hidden = ssp(values @ weights[f"{name}.0.weight"].T + weights[f"{name}.0.bias"])
        return hidden @ weights[f"{name}.2.weight"].T + weights[f"{name}.2.bias"]

    centers = np.linspace(0, CUTOFF, 12)
    for layer in range(2):
        name = f"interactions.{layer}"
        inner = x @ weights[f"{name}.in_features.weight"].T
        total = np.zeros_like(x)
        for i, j in itertools.permutations(range(len(atoms)), 2):
            d = atoms.get_distance(i, j)
            if d < CUTOFF:
                basis = np.exp(-((d - centers) ** 2) / (2 * centers[1] ** 2))
                total[i] += (
                    inner[j] * network(basis, f"{name}.filter_network") * 0.5 * (math.cos(math.pi * d / CUTOFF) + 1)
                )
        x = x + network(total, f"{name}.out_network")
    # The basis is kept in float32 constants.
    graph = tensors(model, atoms)
    elements = model.rows[graph["numbers"]]
    vectors = graph["positions"][graph["edges"][1]] - graph["positions"][graph["edges"][0]]
    np.testing.assert_allclose(model.representation(elements, vectors, graph).detach().numpy(), x, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("representation", [name for name in REPRESENTATIONS if "acsf" in name])
@every_structure
def test_symmetry_functions_are_the_sums_of_their_paper(representation, structure):
    model, atoms = make(representation), structure()
    representation = model.representation
    settings = model.hyperparameters["representation"]
    weighted, crossterms = settings.get("weighted", True), settings.get("crossterms", False)
    graph = tensors(model, atoms)
    i, j = graph["edges"].numpy()
    vectors = (graph["positions"][j] + graph["shifts"] - graph["positions"][i]).numpy()
    z = atoms.numbers[j]

    def f(r):
        return 0.5 * (math.cos(math.pi * r / CUTOFF) + 1) if r < CUTOFF else 0.0

    def pair_weights(a, b):
        if weighted:
            return [a * b]
        kinds = itertools.combinations_with_replacement(SPECIES, 2)
        return [int(a == p) * int(b == q) + int(a == q) * int(b == p) for p, q in kinds]

    expected = []
    radial = list(zip(representation.radial_eta.tolist(), representation.radial_mu.tolist(), strict=True))
    angular = list(zip(representation.angular_eta.tolist(), representation.angular_mu.tolist(), strict=True))
    theta = list(zip(representation.angular_zeta.tolist(), representation.angular_lambda.tolist(), strict=True))
    for atom in range(len(atoms)):
        mine = np.flatnonzero(i == atom)
        row = []
        for element in [None] if weighted else SPECIES:
            for eta, mu in radial:
                terms = [
                    (z[a] if weighted else z[a] == element) * math.exp(-eta * (r - mu) ** 2) * f(r)
                    for a in mine
                    for r in [np.linalg.norm(vectors[a])]
                ]
                row.append(sum(terms))
        blocks = np.zeros((len(pair_weights(1, 1)), len(angular) * len(theta)))
        for a, b in itertools.permutations(mine, 2):
            u, v = vectors[a], vectors[b]
            p, q, s = np.linalg.norm(u), np.linalg.norm(v), np.linalg.norm(u - v)
            cosine = u @ v / (p * q)
            values = []
            for eta, mu in angular:
                g = math.exp(-eta * ((p - mu) ** 2 + (q - mu) ** 2)) * f(p) * f(q)
                if crossterms:
                    g *= math.exp(-eta * (s - mu) ** 2) * f(s)
                values += [2 ** (1 - zeta) * max(1 + sign * cosine, 0.0) ** zeta * g for zeta, sign in theta]
            blocks += np.outer(pair_weights(z[a], z[b]), values)
        expected.append(row + blocks.ravel().tolist())
    elements = model.rows[graph["numbers"]]
    got = representation.descriptors(elements, torch.from_numpy(vectors), graph)
    np.testing.assert_allclose(got.numpy(), np.array(expected), rtol=1e-6, atol=1e-8)


def test_grids_are_those_of_the_wacsf_paper():
    representation = build(
        {
            "representation": {"kind": "wacsf", "species": [1], "cutoff": 8.0, "radial": 22, "angular": 10},
            "heads": {"energy": {"kind": "elemental_atomwise"}},
        }
    ).representation
    np.testing.assert_allclose(representation.radial_mu.numpy(), 0.5 + np.arange(22) / 3, rtol=1e-6)
    np.testing.assert_allclose(representation.radial_eta.numpy(), 4.5, rtol=1e-6)
    first = [0.5, 0.1685744, 0.0836777, 0.0498615, 0.0330612]
    np.testing.assert_allclose(representation.angular_eta.numpy()[:5], first, rtol=1e-5)
    assert not representation.angular_mu.any()


def test_descriptors_of_the_training_set_have_mean_zero_and_deviation_one():
    model = make("wacsf")
    graph = tensors(model, ethanol(), molecule("H2O"), molecule("C6H6"))
    model.fit_descriptors([graph])
    elements = model.rows[graph["numbers"]]
    vectors = graph["positions"][graph["edges"][1]] - graph["positions"][graph["edges"][0]]
    values = model.representation(elements, vectors, graph)
    np.testing.assert_allclose(values.mean(0), 0.0, atol=1e-5)
    np.testing.assert_allclose(values.std(0, correction=0), 1.0, atol=1e-5)


@pytest.mark.parametrize("kind", ["dipole_moment", "elemental_dipole_moment"])
def test_dipole_turns_with_the_molecule_and_does_not_depend_on_its_place(kind):
    model = make("schnet", {"dipole": {"kind": kind, "magnitude": True}})
    atoms = molecule("H2O")
    turned, axes = atoms.copy(), Atoms("H3", np.eye(3))
    for each in (turned, axes):
        each.rotate(40.0, (1.0, 1.0, 0.0))
    turned.positions += 7.0
    before, after = run(model, atoms), run(model, turned)
    np.testing.assert_allclose(after["dipole"], before["dipole"] @ axes.positions, atol=1e-9)
    np.testing.assert_allclose(before["dipole_magnitude"], np.linalg.norm(before["dipole"], axis=1))
    assert before["dipole_magnitude"][0] > 1e-3


def test_dipole_is_the_sum_of_charges_times_distance_from_the_centre_of_mass():
    model, atoms = make("schnet", {"dipole": {"kind": "dipole_moment"}}), ethanol()
    result = run(model, atoms)
    expected = result["charges"] @ (atoms.positions - atoms.get_center_of_mass())
    np.testing.assert_allclose(result["dipole"][0], expected, atol=1e-9)


def test_spatial_extent_does_not_change_as_the_molecule_turns_or_moves_and_grows_with_its_size():
    model, atoms = make("schnet", {"r2": {"kind": "electronic_spatial_extent"}}), ethanol()
    turned = atoms.copy()
    turned.rotate(40.0, (1.0, 1.0, 0.0))
    turned.positions += 7.0
    expected = run(model, atoms)["electronic_spatial_extent"]
    np.testing.assert_allclose(run(model, turned)["electronic_spatial_extent"], expected, atol=1e-8)
    weights = atoms.positions - atoms.get_center_of_mass()
    head = model.heads["r2"]
    with torch.no_grad():
        for parameter in head.network.parameters():
            parameter.zero_()
        head.network[-1].bias.fill_(1.0)
    np.testing.assert_allclose(run(model, atoms)["electronic_spatial_extent"], (weights**2).sum(), rtol=1e-6)


def test_charge_correction_makes_every_molecule_neutral():
    heads = {"dipole": {"kind": "dipole_moment", "charge_correction": True}}
    result = run(make("schnet", heads), ethanol(), molecule("H2O"))
    np.testing.assert_allclose([result["charges"][:9].sum(), result["charges"][9:].sum()], 0.0, atol=1e-12)


def test_the_magnitude_of_no_dipole_has_a_derivative():
    model = make("schnet", {"dipole": {"kind": "dipole_moment", "magnitude": True}}).train()
    model(tensors(model, Atoms("O")))["dipole_magnitude"].sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_a_mean_is_intensive_and_a_sum_is_extensive():
    heads = {
        "gap": {"kind": "atomwise", "property": "gap", "aggregation": "mean"},
        "alpha": {"kind": "atomwise", "property": "alpha", "unit": "Å³"},
    }
    model, atoms = make("schnet", heads), silicon()
    once, twice = run(model, atoms), run(model, atoms * (1, 2, 1))
    np.testing.assert_allclose(twice["gap"], once["gap"], atol=1e-9)
    np.testing.assert_allclose(twice["alpha"], 2 * once["alpha"], atol=1e-8)
    assert not model.gradients


@pytest.mark.parametrize("kind", ["elemental_atomwise", "elemental_dipole_moment"])
def test_an_elemental_network_depends_on_its_own_element_alone(kind):
    model = make("wacsf", {"energy": {"kind": "elemental_atomwise"}, "dipole": {"kind": "elemental_dipole_moment"}})
    head, output = ("energy", "energies") if kind == "elemental_atomwise" else ("dipole", "charges")
    atoms = ethanol()
    before = run(model, atoms)[output]
    with torch.no_grad():
        model.heads[head].network[0].weight[SPECIES.index(8)] += 1.0
    changed = np.abs(run(model, atoms)[output] - before) > 1e-9
    np.testing.assert_array_equal(changed, atoms.numbers == 8)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"representation": {"kind": "schnt"}}, "did you mean 'schnet'"),
        ({"representation": {"kind": "schnet", "feature": 3}}, "did you mean 'features'"),
        ({"representation": {"kind": "schnet", "species": [8, 1]}}, "ascending"),
        ({"heads": {"energy": {"kind": "atomwise", "aggregation": "max"}}}, "allowed: mean, sum"),
        ({"heads": {"energy": {"kind": "dipole"}}}, "dipole_moment"),
        ({"heads": {"energy": {"kind": "atomwise", "hidden": 5}}}, "hidden"),
        ({"representation": {"kind": "schnet", "features": "many"}}, "features"),
        ({"representation": {"kind": "schnet", "gaussians": 1}}, "gaussians is 1 and must be above 1"),
        ({"representation": {"kind": "schnet", "cutoff": -1.0}}, "cutoff is -1.0 and must be above 0"),
        ({"representation": {"kind": "wacsf", "zetas": []}}, "zetas"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_what_is_allowed(settings, words):
    defaults = {"representation": {"kind": "schnet"}, "heads": {"energy": {"kind": "atomwise"}}}
    given = {key: defaults[key] | settings.get(key, {}) for key in defaults}
    given["representation"] = {"species": [1, 8]} | given["representation"]
    with pytest.raises(UsageError, match=words) as caught:
        build(given)
    assert "\n" not in str(caught.value)
