"""The native engine against the eager model in float64, and the promises of its C ABI."""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from safetensors.torch import save_file

from zoo.models import build
from zoo.models.potential import Potential
from zoo_registry.errors import ReleaseInvalid, StructureError
from zoo_runtime import graph as graphs
from zoo_runtime import keys
from zoo_runtime.backends import native

if reason := native.available():
    pytest.skip(reason, allow_module_level=True)

SPECIES = [1, 6, 8, 14]
ENERGY = {"kind": "atomwise", "property": "energy", "unit": "eV"}
SCHNET = {"kind": "schnet", "species": SPECIES, "cutoff": 4.0, "features": 40, "interactions": 3, "gaussians": 20}
WACSF = {"kind": "wacsf", "species": SPECIES, "cutoff": 4.0, "radial": 9, "angular": 3}
MODELS = {
    "schnet": {"representation": SCHNET, "heads": {"energy": ENERGY}},
    "schnet heads": {
        "representation": SCHNET,
        "heads": {
            "energy": ENERGY,
            "gap": {**ENERGY, "property": "gap", "aggregation": "mean", "hidden": [12, 7]},
            "dipole": {"kind": "dipole_moment", "magnitude": True, "charge_correction": True},
            "extent": {"kind": "electronic_spatial_extent"},
        },
    },
    "wacsf": {"representation": WACSF, "heads": {"energy": {**ENERGY, "kind": "elemental_atomwise"}}},
    "acsf": {"representation": {**WACSF, "weighted": False}, "heads": {"energy": ENERGY}},
    "wacsf cross terms": {
        "representation": {**WACSF, "crossterms": True, "zetas": [1, 2.5]},
        "heads": {"energy": {**ENERGY, "kind": "elemental_atomwise", "hidden": [11, 5]}},
    },
}


def rattled(atoms: Atoms, seed: int = 0) -> Atoms:
    atoms.rattle(0.08, seed=seed)
    return atoms


def slab() -> Atoms:
    atoms = bulk("Si", cubic=True).repeat((1, 1, 2))
    atoms.center(vacuum=3.0, axis=2)
    atoms.pbc = (True, True, False)
    atoms.set_cell(atoms.cell.array @ [[1, 0.1, 0], [0, 1, 0], [0.2, 0, 1]], scale_atoms=True)
    return rattled(atoms)


STRUCTURES = {
    "ethanol": rattled(molecule("CH3CH2OH")),
    "atom": Atoms("H"),
    "crystal smaller than the cutoff": rattled(bulk("Si")),
    "triclinic slab": slab(),
    "crystal": rattled(bulk("Si", cubic=True).repeat(4)),
}


@pytest.fixture(scope="module", params=MODELS)
def potential(request: pytest.FixtureRequest) -> Potential:
    torch.manual_seed(0)
    model = build(MODELS[request.param])
    with torch.no_grad():
        for name, values in model.named_parameters():
            if name.endswith("bias"):
                values.uniform_(-0.3, 0.3)
    model.set_standardisation("energy", -0.5, 0.7, {z: -100.0 * z for z in SPECIES})
    model.fit_descriptors([tensors(model, [STRUCTURES["ethanol"], STRUCTURES["triclinic slab"]])])
    return model.eval()


def tensors(model: Potential, structures: list[Atoms]) -> dict[str, torch.Tensor]:
    graph = graphs.build(structures, model.cutoff, triples=model.needs_triples)
    return {name: torch.from_numpy(np.asarray(value)) for name, value in graph.tensors().items()}


def save(model: Potential, path: Path) -> Path:
    document = {"schema": 1, "name": "test", "version": "1.0.0", "hyperparameters": model.hyperparameters}
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()},
        path,
        metadata={"zoo.json": json.dumps(document)},
    )
    return path


@pytest.fixture(scope="module")
def file(potential: Potential, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(potential, tmp_path_factory.mktemp("native") / "model.safetensors")


def eager(model: Potential, structures: list[Atoms]) -> dict[str, np.ndarray]:
    state = {name: value.clone() for name, value in model.state_dict().items()}
    exact = build(model.hyperparameters)
    exact.load_state_dict(state)
    outputs = exact.cast(torch.float64).eval()(tensors(model, structures))
    return {name: value.detach().numpy() for name, value in outputs.items()}


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize(("dtype", "energy", "force"), [("float64", 1e-6, 1e-5), ("float32", 1e-5, 1e-4)])
def test_equals_the_eager_model(
    potential: Potential, file: Path, structure: str, dtype: str, energy: float, force: float
) -> None:
    atoms = STRUCTURES[structure]
    if len(atoms) > 100 and potential.needs_triples:
        pytest.skip("the eager model needs too much memory")
    expected = eager(potential, [atoms])
    outputs = native.NativeModel(file, dtype, threads=1).compute(graphs.build([atoms], potential.cutoff))
    assert outputs.keys() == expected.keys()
    for name, value in expected.items():
        tolerance = energy * len(atoms) if name == "energy" else energy if name == "energies" else force
        relative = 1e-5 if name == keys.SPATIAL_EXTENT else 0.0  # it grows with the square of the size
        np.testing.assert_allclose(outputs[name], value, rtol=relative, atol=tolerance, err_msg=name)


def test_exact_filters_equal_the_eager_model_to_rounding(potential: Potential, file: Path) -> None:
    if potential.needs_triples:
        pytest.skip("only SchNet has filters")
    atoms = STRUCTURES["triclinic slab"]
    expected = eager(potential, [atoms])
    outputs = native.NativeModel(file, "float64", threads=2, exact=True).compute(
        graphs.build([atoms], potential.cutoff)
    )
    np.testing.assert_allclose(outputs["energy"], expected["energy"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(outputs["forces"], expected["forces"], rtol=0, atol=1e-10)


def test_forces_and_stress_are_derivatives_of_the_energy(file: Path, potential: Potential) -> None:
    model = native.NativeModel(file, "float64", threads=1)
    atoms = STRUCTURES["triclinic slab"].copy()

    def energy(positions: np.ndarray, cell: np.ndarray) -> float:
        return float(model.compute_structure(atoms.numbers, positions, cell, atoms.pbc)["energy"][0])

    cell, h = atoms.cell.array, 1e-4
    outputs = model.compute_structure(atoms.numbers, atoms.positions, cell, atoms.pbc)
    move = np.zeros_like(atoms.positions)
    move[3, 1] = h
    slope = (energy(atoms.positions + move, cell) - energy(atoms.positions - move, cell)) / (2 * h)
    assert -slope == pytest.approx(outputs["forces"][3, 1], abs=1e-6)
    strain = np.zeros((3, 3))
    strain[0, 1] = strain[1, 0] = h / 2
    up, down = np.eye(3) + strain, np.eye(3) - strain
    slope = (energy(atoms.positions @ up, cell @ up) - energy(atoms.positions @ down, cell @ down)) / (2 * h)
    assert slope / atoms.get_volume() == pytest.approx(outputs["stress"][0, 0, 1], abs=1e-6)


def test_a_batch_equals_its_structures_one_by_one(file: Path, potential: Potential) -> None:
    structures = [rattled(molecule(name), seed) for seed, name in enumerate(["CH3CH2OH", "H2O", "C6H6", "CH4"] * 20)]
    structures.insert(3, Atoms("O"))
    batch = native.NativeModel(file, "float64", threads=3).compute(graphs.build(structures, potential.cutoff))
    one = native.NativeModel(file, "float64", threads=1)
    single = [one.compute(graphs.build([atoms], potential.cutoff)) for atoms in structures]
    for name, values in batch.items():
        np.testing.assert_allclose(values, np.concatenate([s[name] for s in single]), rtol=0, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_results_repeat_bit_by_bit(file: Path, potential: Potential, threads: int) -> None:
    graph = graphs.build([STRUCTURES["crystal"]], potential.cutoff)
    model = native.NativeModel(file, "float32", threads)
    first, *others = [model.compute(graph) for _ in range(4)]
    for other in others:
        for name, value in first.items():
            assert value.tobytes() == other[name].tobytes()


def test_threads_stay_on_the_cores_asked_for(file: Path) -> None:
    before = os.sched_getaffinity(0)
    model = native.NativeModel(file, threads=2)
    try:
        model.pin([min(before), max(before)])
        assert os.sched_getaffinity(0) == {min(before)}
    finally:
        os.sched_setaffinity(0, before)
    with pytest.raises(native.UsageError, match="as threads are needed: 2"):
        model.pin([0])
    with pytest.raises(native.UsageError, match="no core -1"):
        model.pin([-1, 0])


@pytest.mark.parametrize("instruction_set", ["avx512", "avx2", "baseline"])
def test_instruction_sets_agree(file: Path, potential: Potential, instruction_set: str) -> None:
    graph = graphs.build([STRUCTURES["triclinic slab"]], potential.cutoff)
    try:
        model = native.NativeModel(file, "float64", 1, instruction_set=instruction_set)
    except native.UsageError:
        pytest.skip(f"this machine has no {instruction_set}")
    best = native.NativeModel(file, "float64", 1).compute(graph)
    np.testing.assert_allclose(model.compute(graph)["forces"], best["forces"], rtol=0, atol=1e-11)


def test_the_order_of_edges_does_not_matter(file: Path, potential: Potential) -> None:
    graph = graphs.build([STRUCTURES["triclinic slab"]], potential.cutoff)
    order = np.random.default_rng(0).permutation(graph.edges.shape[1])
    shuffled = dataclasses.replace(graph, edges=graph.edges[:, order], shifts=graph.shifts[order])
    model = native.NativeModel(file, "float64", 1)
    np.testing.assert_allclose(model.compute(shuffled)["forces"], model.compute(graph)["forces"], rtol=0, atol=1e-12)


def test_own_neighbor_list_during_a_run_at_changing_pressure(file: Path) -> None:
    model, fresh = native.NativeModel(file, "float64", 1), native.NativeModel(file, "float64", 1)
    atoms = STRUCTURES["triclinic slab"].copy()
    random = np.random.default_rng(0)
    for step in range(60):
        atoms.positions += random.normal(scale=0.02, size=(len(atoms), 3))
        strain = np.eye(3) + random.normal(scale=0.004, size=(3, 3))
        atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        if step == 30:
            atoms.wrap()
        arguments = atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc
        kept, new = model.compute_structure(*arguments, skin=0.8), fresh.compute_structure(*arguments)
        np.testing.assert_allclose(kept["forces"], new["forces"], rtol=0, atol=1e-10)
    assert fresh.n_lists == 60
    assert 2 <= model.n_lists < 40


@pytest.mark.parametrize("structure", STRUCTURES)
def test_own_neighbor_list_equals_the_given_one(file: Path, potential: Potential, structure: str) -> None:
    atoms = STRUCTURES[structure].copy()
    atoms.positions += np.random.default_rng(0).integers(-2, 3, (len(atoms), 3)) @ (
        atoms.cell.array * atoms.pbc[:, None]
    )
    model = native.NativeModel(file, "float64", 1)
    given = model.compute(graphs.build([atoms], potential.cutoff))
    own = model.compute_structure(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
    np.testing.assert_allclose(own["forces"], given["forces"], rtol=0, atol=1e-10)


def test_shortest_distances_of_the_elements(file: Path, potential: Potential) -> None:
    atoms = STRUCTURES["ethanol"]
    graph = graphs.build([atoms], potential.cutoff)
    model = native.NativeModel(file, "float32", 1)
    shortest = model.compute_structure(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)["shortest"]
    first, second = atoms.numbers[graph.edges]
    for row, z in enumerate(model.species):
        for column, other in enumerate(model.species):
            expected = graph.distances()[(first == z) & (second == other)].min(initial=np.inf)
            assert shortest[row, column] == pytest.approx(expected)


def exchange(model: native.NativeModel, atoms: Atoms, cutoff: float) -> tuple[float, np.ndarray, np.ndarray]:
    """Compute with explicit ghost atoms, layer by layer, as hosts with domain decomposition do."""
    lib, session = model._library, model._session
    graph = graphs.build([atoms], cutoff)
    n, (i, j) = len(atoms), graph.edges
    images, ghost = np.unique(np.column_stack([j, graph.shifts.round(6)]), axis=0, return_inverse=True)
    local = np.abs(images[:, 1:]).max(axis=1) == 0
    index = np.where(local, images[:, 0], n + np.cumsum(~local) - 1).astype(np.int64)
    owners = images[~local, 0].astype(np.int32)
    total = n + len(owners)
    numbers = np.concatenate([atoms.numbers, atoms.numbers[owners]]).astype(np.int64)
    vectors = np.ascontiguousarray(atoms.positions[j] + graph.shifts - atoms.positions[i])
    neighbors, centers = index[ghost.ravel()], np.ascontiguousarray(i)
    pointers = {
        "numbers": numbers.ctypes.data,
        "centers": centers.ctypes.data,
        "neighbors": neighbors.ctypes.data,
        "vectors": vectors.ctypes.data,
    }
    c_graph = native.CGraph(ctypes.sizeof(native.CGraph), total, n, len(i), 1, **pointers)
    energy, forces, virials = np.zeros(1), np.zeros((total, 3)), np.zeros((total, 3, 3))
    results = native.CResults(
        ctypes.sizeof(native.CResults),
        energy=energy.ctypes.data,
        forces=forces.ctypes.data,
        atom_virials=virials.ctypes.data,
    )
    layers = lib.zoo_model_n_layers(model._model)
    rows = np.zeros((len(owners), max(lib.zoo_model_n_features(model._model), 1)))

    def call(name: str, *arguments: object) -> None:
        assert getattr(lib, f"zoo_{name}")(session, *arguments) == 0, lib.zoo_last_error()

    count, first = ctypes.c_int64(len(owners)), ctypes.c_int64(n)
    call("layers_begin", ctypes.byref(c_graph))
    for layer in range(layers):
        call("layers_forward", layer)
        if layer < layers - 1:
            call("pack_features", count, owners.ctypes.data_as(ctypes.c_void_p), rows.ctypes.data_as(ctypes.c_void_p))
            call("unpack_features", count, first, rows.ctypes.data_as(ctypes.c_void_p))
    call("layers_energy")
    for layer in reversed(range(layers)):
        call("layers_reverse", layer)
        if layer > 0:
            call("pack_gradients", count, first, rows.ctypes.data_as(ctypes.c_void_p))
            call(
                "unpack_gradients", count, owners.ctypes.data_as(ctypes.c_void_p), rows.ctypes.data_as(ctypes.c_void_p)
            )
    call("layers_end", ctypes.byref(results))
    folded = forces[:n].copy()
    np.add.at(folded, owners, forces[n:])
    return float(energy[0]), folded, virials.sum(axis=0)


@pytest.mark.parametrize("threads", [1, 2])
def test_ghosts_with_layer_by_layer_exchange_equal_the_periodic_system(
    file: Path, potential: Potential, threads: int
) -> None:
    atoms = rattled(bulk("Si", cubic=True).repeat(2))
    model = native.NativeModel(file, "float64", threads)
    whole = model.compute(graphs.build([atoms], potential.cutoff))
    energy, forces, virial = exchange(model, atoms, potential.cutoff)
    assert energy == pytest.approx(whole["energy"][0], abs=1e-9)
    np.testing.assert_allclose(forces, whole["forces"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(-virial / atoms.get_volume(), whole["stress"][0], rtol=0, atol=1e-10)


def test_selftest_finds_the_difference_to_golden_results(file: Path, potential: Potential, tmp_path: Path) -> None:
    atoms = STRUCTURES["triclinic slab"]
    expected = eager(potential, [atoms])
    golden = {
        "numbers": atoms.numbers.tolist(),
        "positions": atoms.positions.tolist(),
        "cell": atoms.cell.array.tolist(),
        "pbc": atoms.pbc.tolist(),
        "energy": float(expected["energy"][0]),
        "forces": expected["forces"].tolist(),
    }
    path = tmp_path / "golden.json"
    path.write_text(json.dumps({"structures": [golden]}))
    model = native.NativeModel(file, "float64", 1)
    energy, forces = model.selftest(path)
    assert energy < 1e-6
    assert forces < 1e-5
    golden["energy"] += 0.5 * len(atoms)
    path.write_text(json.dumps({"structures": [golden]}))
    assert model.selftest(path)[0] == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.set_atomic_numbers([99] * len(a)), "atomic number 99"),
        (lambda a: a.set_atomic_numbers([-1] * len(a)), "atomic number -1"),
        (lambda a: a.positions.__setitem__(1, a.positions[0]), "coincide"),
        (lambda a: a.positions.__setitem__(1, np.nan), "finite"),
    ],
)
def test_bad_structures_are_named(file: Path, change: object, words: str) -> None:
    atoms = molecule("H2O")
    change(atoms)  # type: ignore[operator]
    with pytest.raises(StructureError, match=words):
        native.NativeModel(file, threads=1).compute_structure(
            atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc
        )


def test_bad_files_are_named(file: Path, tmp_path: Path) -> None:
    good = file.read_bytes()
    bad = tmp_path / "bad.safetensors"
    nan = np.full(1, np.nan, np.float32).tobytes()
    for content, words in [
        (b"", "shorter than"),
        (good[:1000], "states a header"),
        (good[:-8], "data_offsets|many bytes"),
        (good + b"12345678", "belong to no tensor"),
        (b"\xff" * 8 + good[8:], "states a header"),
        (good.replace(b'"F32"', b'"BF8"', 1), "dtype BF8"),
        (good.replace(b'\\"schema\\": 1', b'\\"schema\\": 9', 1), "schema 9"),
        (good.replace(b"heads.energy", b"heads.enorgy"), "lacks the tensor heads.energy"),
        (good[:-400] + nan * 100, "not finite"),
    ]:
        bad.write_bytes(content)
        with pytest.raises(ReleaseInvalid, match=words):
            native.NativeModel(bad, threads=1)
    with pytest.raises(ReleaseInvalid, match="cannot be read"):
        native.NativeModel(tmp_path / "absent.safetensors", threads=1)


def test_an_empty_system_has_no_energy(file: Path) -> None:
    outputs = native.NativeModel(file, threads=1).compute_structure([], np.zeros((0, 3)), np.zeros((3, 3)), [False] * 3)
    assert outputs["energy"].tolist() == [0.0]
    assert outputs["forces"].shape == (0, 3)
