"""What is minimised: every kind of target with its weight, weights from the data; and settings of the loop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms

from zoo.data.cache import Cache, write_cache
from zoo.data.writer import Property
from zoo.models import build
from zoo.train.checkpoint import load_checkpoint, read_checkpoint
from zoo.train.evaluate import evaluate
from zoo.train.module import TrainingModule
from zoo.train.recipe import Recipe, load_recipe
from zoo.train.run import train
from zoo.train.source import open_cache
from zoo_registry.errors import DataError, MissingDependency, UsageError

MakeRecipe = Callable[..., Recipe]
Rows = Callable[[Path], list[dict[str, float]]]
SCHNET = {"kind": "schnet", "species": [1, 8], "cutoff": 4.0, "features": 16, "interactions": 2, "gaussians": 10}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """Pairs of H and O, some of them periodic, with a label of every kind; a quarter of the energies is nonsense."""
    rng = np.random.default_rng(0)
    count = 48
    positions = np.zeros((count, 2, 3))
    positions[:, 1] = rng.normal(0, 1, (count, 3)) * 0.2 + [1.2, 0, 0]
    vector = positions[:, 1] - positions[:, 0]
    distance = np.linalg.norm(vector, axis=-1)
    energy = (distance - 1.2) ** 2
    slope = (2 * (distance - 1.2) / distance)[:, None] * vector
    forces = np.stack([slope, -slope], 1).reshape(-1, 3)
    cell = np.tile(10.0 * np.eye(3), (count, 1, 1))
    wrong = np.arange(count) % 4 == 0
    scalars = {name: (k + 1) * distance for k, name in enumerate(load_recipe("schnet-qm9-all").data.targets.values())}
    values = {
        "E": energy + 50.0 * wrong,
        "E_weight": 1.0 - wrong,
        "F": forces,
        "F_weight": np.repeat(1.0 + wrong, 2),
        "S": vector[:, :, None] * slope[:, None, :] / 1000.0,
        "D": 0.3 * vector,
        **scalars,
    }
    properties = {
        "E": Property("system", (), "eV"),
        "E_weight": Property("system", (), None),
        "F": Property("atom", (3,), "eV/Å"),
        "F_weight": Property("atom", (), None),
        "S": Property("system", (3, 3), "eV/Å³"),
        "D": Property("system", (3,), "e·Å"),
    }
    units = {head.get("property"): head.get("unit") for head in load_recipe("schnet-qm9-all").model.heads.values()}
    others = {"mu": "e·Å", "r2": "Å²"}
    properties |= {name: Property("system", (), units.get(name) or others[name]) for name in scalars}
    return write_cache(
        tmp_path_factory.mktemp("data") / "labelled",
        n_atoms=np.full(count, 2),
        numbers=np.tile([8, 1], count),
        positions=positions.reshape(-1, 3),
        cell=cell,
        pbc=np.ones((count, 3), bool),
        values=values,
        properties=properties,
    )


@pytest.fixture
def labels(make_recipe: MakeRecipe, labelled: Cache) -> MakeRecipe:
    def make(loss: dict[str, Any], targets: dict[str, str], heads: dict[str, Any] | None = None, **more: Any) -> Recipe:
        data = {"dataset": str(labelled.folder), "n_train": 32, "n_val": 8, "targets": targets}
        model = {"representation": SCHNET, "heads": heads or {"energy": {"kind": "atomwise"}}}
        return make_recipe(data=data, loss=loss, model=model, references="none", **more)

    return make


def test_energy_forces_stress_and_dipole_are_learned_together(labels: MakeRecipe, rows: Rows) -> None:
    recipe = labels(
        {"energy": {"weights": "E_weight"}, "forces": {}, "stress": {"weight": 1e4}, "dipole": {"kind": "mae"}},
        {"energy": "E", "forces": "F", "stress": "S", "dipole": "D"},
        {"energy": {"kind": "atomwise"}, "dipole": {"kind": "dipole_moment"}},
        trainer={"max_epochs": 25},
    )
    history = rows(train(recipe, progress=False))
    for name in ("energy", "forces", "stress", "dipole"):
        assert history[-1][f"val/{name}_mae"] < 0.6 * history[0][f"val/{name}_mae"], name


def test_twelve_properties_of_a_molecule_are_learned_at_once(labels: MakeRecipe, rows: Rows) -> None:
    qm9 = load_recipe("schnet-qm9-all")
    heads = qm9.model.model_dump()["heads"]
    loss = {name: {"kind": "mae"} for name in qm9.data.targets}
    recipe = labels(loss, qm9.data.targets, heads, trainer={"max_epochs": 20})
    folder = train(recipe, progress=False)
    history = rows(folder)
    assert len(qm9.data.targets) == 12
    assert history[-1]["val/loss"] < 0.5 * history[0]["val/loss"]
    metrics = evaluate(folder, device="cpu").metrics
    assert all(np.isfinite(metrics[f"test/{name}_mae"]["value"]) for name in qm9.data.targets)


def test_a_weight_of_zero_leaves_a_label_out(labels: MakeRecipe, labelled: Cache, tmp_path: Path, rows: Rows) -> None:
    """Wrong energies change nothing where their weight is 0: neither scale nor slope nor the errors that are shown."""
    targets, trainer = {"energy": "E"}, {"max_epochs": 5, "precision": "64-true"}
    weighted = train(labels({"energy": {"weights": "E_weight"}}, targets, trainer=trainer), progress=False)
    plain = train(labels({"energy": {}}, targets, trainer=trainer, out=str(tmp_path / "plain")), progress=False)
    assert rows(weighted)[-1]["val/energy_mae"] < 0.1
    assert rows(plain)[-1]["val/energy_mae"] > 2.0


def test_the_loss_is_the_weighted_sum_of_means(labels: MakeRecipe, labelled: Cache, tmp_path: Path) -> None:
    terms = {
        "energy": {"weight": 2.0, "per_atom": True, "weights": "E_weight"},
        "forces": {"weight": 3.0, "kind": "mae", "weights": "F_weight"},
        "stress": {"kind": "smooth_l1", "beta": 0.5},
    }
    recipe = labels(terms, {"energy": "E", "forces": "F", "stress": "S"})
    module = TrainingModule(build(recipe.model.model_dump()).cast(torch.float64), recipe, tmp_path).double()
    batch = labelled.batch(np.arange(6), 4.0, properties=recipe.properties)
    outputs = module.potential(batch)
    energy, forces, stress = ((outputs[k] - batch[p]).detach().numpy() for k, p in recipe.data.targets.items())
    by_hand = 2.0 * np.mean(batch["E_weight"].numpy() * (energy / 2) ** 2)
    by_hand += 3.0 * np.mean(batch["F_weight"].numpy()[:, None] * np.abs(forces))
    size = np.abs(stress)
    by_hand += np.mean(np.where(size < 0.5, size**2 / (2 * 0.5), size - 0.25))
    assert module.loss(module.penalties(outputs, batch)).item() == pytest.approx(by_hand, rel=1e-9)


def test_weights_of_a_system_count_for_each_of_its_atoms(labels: MakeRecipe, labelled: Cache, tmp_path: Path) -> None:
    recipe = labels({"forces": {"weights": "E_weight"}}, {"forces": "F"})
    module = TrainingModule(build(recipe.model.model_dump()), recipe, tmp_path)
    batch = labelled.batch(np.arange(6), 4.0, properties=recipe.properties)
    penalty, absolute = module.penalties(module.potential(batch), batch)["forces"]
    used = np.repeat(labelled.values("E_weight")[:6] > 0, 2)
    assert penalty.shape == (12, 3)
    assert (penalty[~used] == 0).all()
    assert (penalty[used] > 0).any()
    assert len(absolute) == used.sum()


def test_structures_in_a_file_bring_their_weights(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    frames = [Atoms("OH", [[0, 0, 0], [1.0 + 0.01 * k, 0, 0]]) for k in range(12)]
    for k, atoms in enumerate(frames):
        atoms.info |= {"REF_energy": 0.1 * k, "config_weight": k % 3}
    ase.io.write(tmp_path / "pairs.extxyz", frames)
    data = {"dataset": str(tmp_path / "pairs.extxyz"), "root": str(tmp_path), "n_train": 8, "n_val": 4}
    recipe = make_recipe(
        data=data | {"targets": {"energy": "energy"}}, loss={"energy": {"weights": "weight"}}, trainer={"max_epochs": 1}
    )
    assert load_checkpoint(train(recipe, progress=False)).facts["epochs"] == 1
    np.testing.assert_array_equal(open_cache(recipe.data).values("weight"), np.arange(12) % 3)


def test_the_validation_loss_does_not_depend_on_batches(
    make_recipe: MakeRecipe, molecules: Cache, tmp_path: Path, rows: Rows
) -> None:
    data = {"dataset": str(molecules.folder), "n_train": 40, "n_val": 11, "targets": {"energy": "E", "forces": "F"}}
    losses = []
    for size in (1, 4, 100):
        trainer = {"max_epochs": 1, "eval_batch_size": size, "precision": "64-true"}
        recipe = make_recipe(
            data=data, loss={"energy": {}, "forces": {}}, trainer=trainer, out=str(tmp_path / str(size))
        )
        losses.append(rows(train(recipe, progress=False))[0]["val/loss"])
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-6)


def test_wrong_weights_are_refused(labels: MakeRecipe) -> None:
    with pytest.raises(DataError, match=r"no property 'E_wait'; did you mean 'E_weight'"):
        train(labels({"energy": {"weights": "E_wait"}}, {"energy": "E"}), progress=False)
    with pytest.raises(UsageError, match=r"loss\.energy\.weights=F_weight is \[\] per atom"):
        train(labels({"energy": {"weights": "F_weight"}}, {"energy": "E"}), progress=False)


def test_an_element_without_a_reference_is_refused(make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.train.datamodule.published_references", lambda data, target: {1: -13.0})
    with pytest.raises(DataError, match="No reference of E for O"):
        train(make_recipe(references="dataset"), progress=False)


def test_mixed_precision_learns_as_well_and_keeps_references_in_float64(
    make_recipe: MakeRecipe, molecules: Cache, tmp_path: Path, rows: Rows
) -> None:
    data = {"dataset": str(molecules.folder), "n_train": 40, "n_val": 10, "targets": {"energy": "E", "forces": "F"}}
    errors = {}
    for precision in ("32-true", "bf16-mixed"):
        trainer = {"max_epochs": 15, "precision": precision}
        recipe = make_recipe(
            data=data, loss={"energy": {}, "forces": {}}, out=str(tmp_path / precision), trainer=trainer
        )
        errors[precision] = rows(train(recipe, progress=False))[-1]["val/forces_mae"]
        state = load_checkpoint(recipe.folder).potential.state_dict()
        assert state["heads.energy.reference"].dtype == torch.float64
        assert state["representation.embedding.weight"].dtype == torch.float32
    assert errors["bf16-mixed"] < 1.2 * errors["32-true"]


def test_deterministic_training_repeats_and_leaves_no_trace(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    folders = [
        train(make_recipe(out=str(tmp_path / name), trainer={"deterministic": True, "max_epochs": 1}), progress=False)
        for name in ("a", "b")
    ]
    one, other = (read_checkpoint(f / "checkpoints" / "last.ckpt")["state_dict"] for f in folders)
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert not torch.are_deterministic_algorithms_enabled()


def test_metrics_go_where_they_are_wanted(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    for loggers in ([], ["csv"], ["tensorboard"]):
        folder = tmp_path / "-".join(["run", *loggers])
        train(make_recipe(out=str(folder), trainer={"max_epochs": 1, "loggers": loggers}), progress=False)
        assert (folder / "metrics.csv").exists() == ("csv" in loggers)
        assert (folder / "tensorboard").exists() == ("tensorboard" in loggers)


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_logger_that_is_not_installed_is_named_with_its_remedy(
    make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda module: None)
    with pytest.raises(MissingDependency, match=f"pip install {name}"):
        train(make_recipe(trainer={"loggers": [name]}), progress=False)


def test_settings_that_are_newer_than_a_run_do_not_stop_it(make_recipe: MakeRecipe, rows: Rows) -> None:
    recipe = make_recipe(trainer={"max_epochs": 2, "max_time": 1e-9})
    folder = train(recipe, progress=False)
    text = (folder / "recipe.yaml").read_text()
    old = [line for line in text.splitlines() if not line.strip().startswith(("deterministic", "ensemble", "init"))]
    assert len(old) < len(text.splitlines())
    (folder / "recipe.yaml").write_text("\n".join(old))
    train(recipe, progress=False)
    assert len(rows(folder)) == 2
