from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

import zoo_runtime
from zoo_registry.errors import ModelNotFound, StructureError, UsageError
from zoo_registry.metadata import Metadata
from zoo_registry.release import Release
from zoo_runtime import Model, Prediction
from zoo_runtime.graph import Graph
from zoo_runtime.model import BATCH_EDGES, BATCH_STRUCTURES


@pytest.fixture
def model(backend: object, make_metadata: Callable[..., Metadata]) -> Model:
    return Model(Release(Path("nowhere"), make_metadata()), backend)


def mixed(n: int) -> list[Atoms]:
    kinds = [molecule("CH3CH2OH"), Atoms("H"), bulk("C", cubic=True), molecule("C6H6"), molecule("H2O")]
    structures = [kinds[k % len(kinds)].copy() for k in range(n)]
    for seed, atoms in enumerate(structures):
        atoms.rattle(0.02, seed=seed)
    return structures


def test_a_batch_gives_each_structure_what_it_gets_alone_in_order(model: Model) -> None:
    structures = mixed(40)
    for together, atoms in zip(model.predict(structures), structures, strict=True):
        alone = model.predict(atoms)
        assert isinstance(alone, Prediction)
        assert together.energy == pytest.approx(alone.energy, abs=1e-9)
        np.testing.assert_allclose(together.forces, alone.forces, rtol=0, atol=1e-10)
        np.testing.assert_allclose(together.energies, alone.energies, rtol=0, atol=1e-9)
        assert (together.stress is None) == (not atoms.pbc.any())
    assert isinstance(alone.energy, float)
    assert alone.energies.sum() == pytest.approx(alone.energy)
    assert alone.units["forces"] == "eV/Å"


def test_forces_and_stress_are_derivatives_of_the_energy(model: Model) -> None:
    atoms = bulk("C", cubic=True)
    atoms.rattle(0.1, seed=1)
    prediction = model.predict(atoms)
    h = 1e-4

    def energy(moved: Atoms) -> float:
        return model.predict(moved).energy

    up, down = atoms.copy(), atoms.copy()
    up.positions[3, 1] += h
    down.positions[3, 1] -= h
    assert prediction.forces[3, 1] == pytest.approx(-(energy(up) - energy(down)) / (2 * h), abs=1e-5)
    energies = []
    for sign in (1, -1):
        strain = np.eye(3)
        strain[0, 1] += sign * h / 2
        strain[1, 0] += sign * h / 2
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        energies.append(energy(strained))
    slope = (energies[0] - energies[1]) / (2 * h * atoms.cell.volume)
    assert prediction.stress[0, 1] == pytest.approx(slope, abs=1e-6)


def test_a_stream_of_any_length_is_computed_in_bounded_batches(model: Model, backend: object) -> None:
    drawn = 0

    def stream() -> Iterator[Atoms]:
        nonlocal drawn
        for atoms in mixed(1000):
            drawn += 1
            yield atoms

    results = model.predict_many(stream())
    next(results)
    assert drawn < 1000
    assert 1 + sum(1 for _ in results) == 1000
    assert 1 < max(backend.batches) <= BATCH_STRUCTURES
    assert sum(backend.batches) == 1000


def test_a_large_structure_is_computed_all_the_same(model: Model) -> None:
    atoms = bulk("C", cubic=True) * (5, 5, 5)
    first, large = model.predict([molecule("CH4"), atoms])
    assert len(zoo_runtime.graph.build([atoms], 3.0).edges[0]) > BATCH_EDGES
    assert large.energy == pytest.approx(125 * model.predict(bulk("C", cubic=True)).energy)
    assert first.energy == model.predict(molecule("CH4")).energy


BAD = {1: Atoms("Si"), 3: Atoms("H", [[np.nan, 0, 0]])}


def test_one_bad_structure_loses_no_other(model: Model) -> None:
    structures = mixed(5)
    for place, atoms in BAD.items():
        structures[place] = atoms
    results = model.predict(structures, errors="return")
    assert [type(result) for result in results] == [
        StructureError if place in BAD else Prediction for place in range(5)
    ]
    with pytest.raises(StructureError, match="Si"):
        model.predict(structures)


def test_a_structure_that_the_backend_fails_on_loses_no_other(model: Model, backend: object) -> None:
    compute = backend.compute

    def limited(graph: Graph) -> dict[str, np.ndarray]:
        if len(graph.numbers) > 20:
            raise StructureError("out of memory")
        return compute(graph)

    backend.compute = limited
    structures = [*mixed(8), molecule("C60")[:30], molecule("H2O")]
    results = model.predict(structures, errors="return")
    assert [isinstance(result, StructureError) for result in results] == [False] * 8 + [True, False]


def test_a_number_that_is_not_finite_never_comes_out(model: Model, backend: object) -> None:
    compute = backend.compute

    def broken(graph: Graph) -> dict[str, np.ndarray]:
        outputs = compute(graph)
        outputs["forces"][-1, 0] = np.nan
        return outputs

    backend.compute = broken
    first, second = model.predict([molecule("CH4"), molecule("H2O")], errors="return")
    assert isinstance(first, Prediction)
    assert isinstance(second, StructureError)
    assert "forces" in str(second)


def test_other_properties_come_by_name(backend: object, make_metadata: Callable[..., Metadata]) -> None:
    compute = backend.compute
    system = {"dtype": "float64", "shape": ["s"], "unit": "eV", "per": "system", "gradient_of": None}
    outputs = {
        "gap": system,
        "dipole": system | {"shape": ["s", 3], "unit": "e·Å"},
        "charges": system | {"shape": ["n"], "unit": "e", "per": "atom"},
    }
    backend.compute = lambda graph: {
        "gap": compute(graph)["energy"],
        "dipole": np.ones((graph.n_systems, 3)),
        "charges": compute(graph)["energies"],
    }
    model = Model(Release(Path("nowhere"), make_metadata(outputs=outputs)), backend)
    prediction = model.predict([molecule("CH4"), molecule("H2O")])[1]
    assert prediction.energy is prediction.forces is prediction.stress is None
    assert isinstance(prediction.properties["gap"], float)
    assert prediction.properties["dipole"].tolist() == [1, 1, 1]
    assert prediction.properties["charges"].shape == (3,)
    assert prediction.units["dipole"] == "e·Å"


def test_a_slab_without_third_vector_has_forces_and_no_stress(model: Model) -> None:
    slab = bulk("C", cubic=True)
    slab.cell[2] = 0
    slab.pbc = (True, True, False)
    prediction = model.predict(slab)
    assert prediction.forces.shape == (8, 3)
    assert prediction.stress is None


def test_wrong_words_are_told(model: Model) -> None:
    with pytest.raises(StructureError, match=r"expected ase\.Atoms, got str"):
        model.predict(["ethanol.xyz"])
    with pytest.raises(UsageError, match="raise, return"):
        model.predict([molecule("CH4")], errors="ignore")


def test_load_finds_a_release_by_path_and_by_name(
    make_release: Callable[..., Release], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    release = make_release()
    by_path = zoo_runtime.load(release.path)
    by_name = zoo_runtime.load("pair-test", hub=str(tmp_path / "hub"))
    assert by_path.path == release.path
    assert by_name.path.is_relative_to(tmp_path / "cache")
    assert by_path.metadata == by_name.metadata == release.metadata
    assert by_path.predict(molecule("CH4")).energy == by_name.predict(molecule("CH4")).energy
    with pytest.raises(ModelNotFound):
        zoo_runtime.load("no-such-model")
