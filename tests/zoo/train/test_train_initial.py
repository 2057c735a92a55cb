from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoo_registry
from zoo.data.cache import Cache, write_cache
from zoo.data.writer import Property
from zoo.models import build
from zoo.train.checkpoint import load_checkpoint, read_checkpoint
from zoo.train.initial import load_initial, transfer
from zoo.train.recipe import Recipe, load_recipe, parse_recipe
from zoo.train.run import train
from zoo.train.weights import weights_sha256
from zoo_registry.errors import ModelNotFound, ReleaseInvalid, UsageError
from zoo_registry.store import resolve
from zoo_runtime.graph import build as build_graph

MakeRecipe = Callable[..., Recipe]
Rows = Callable[[Path], list[dict[str, float]]]
RELEASE = "schnet-rmd17-ethanol"


@pytest.fixture(scope="module")
def ethanol(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """Shaken ethanol as the bundled network sees it, at a level of theory that is shifted and a little stiffer."""
    from ase.build import molecule

    source, _ = load_initial(RELEASE, 0)
    frames = [molecule("CH3CH2OH") for _ in range(40)]
    for k, atoms in enumerate(frames):
        atoms.rattle(0.03, seed=k)
    graph = build_graph(frames, source.cutoff)
    outputs = source.eval()({name: torch.from_numpy(array) for name, array in graph.tensors().items()})
    offset = sum({1: -2.0, 6: 5.0, 8: 31.0}[int(z)] for z in frames[0].numbers)
    n_atoms = len(frames[0])
    energy = outputs["energy"].detach().numpy()
    center = energy.mean()
    return write_cache(
        tmp_path_factory.mktemp("data") / "ethanol",
        n_atoms=np.full(len(frames), n_atoms),
        numbers=np.concatenate([atoms.numbers for atoms in frames]),
        positions=np.concatenate([atoms.positions for atoms in frames]),
        values={"E": center + 1.1 * (energy - center) + offset, "F": 1.1 * outputs["forces"].detach().numpy()},
        properties={"E": Property("system", (), "eV"), "F": Property("atom", (3,), "eV/Å")},
    )


@pytest.fixture
def fine(ethanol: Cache, tmp_path: Path) -> Callable[..., Recipe]:
    """A recipe that fine-tunes the bundled network on 20 frames."""

    def make(**changes: Any) -> Recipe:
        data = {
            "dataset": str(ethanol.folder),
            "n_train": 20,
            "n_val": 10,
            "targets": {"energy": "E", "forces": "F"},
        }
        document = {
            "name": "fine",
            "data": data,
            "references": "none",
            "model": load_recipe(RELEASE).model.model_dump(),
            "loss": {"energy": {}, "forces": {}},
            "optimizer": {"lr": 1e-4},
            "trainer": {"max_epochs": 1, "batch_size": 10, "accelerator": "cpu"},
            "out": str(tmp_path / "fine"),
        }
        return parse_recipe(document | changes)

    return make


def test_a_bundled_network_is_better_at_once_than_a_new_one(
    fine: Callable[..., Recipe], tmp_path: Path, rows: Rows
) -> None:
    tuned = rows(train(fine(init=RELEASE), progress=False))
    scratch = rows(train(fine(out=str(tmp_path / "scratch")), progress=False))
    for metric in ("val/energy_mae", "val/forces_mae"):
        assert tuned[0][metric] < 0.2 * scratch[0][metric], metric


def test_the_first_prediction_has_the_new_level_of_theory(fine: Callable[..., Recipe], ethanol: Cache) -> None:
    still: dict[str, Any] = {"optimizer": {"lr": 1e-12}, "schedule": {"kind": "constant", "min_lr": 0.0}}
    trained = load_checkpoint(train(fine(init=RELEASE, **still), progress=False))
    facts = trained.facts["standardisation"]["energy"]
    assert facts["slope"] == pytest.approx(1.1, rel=1e-3)
    batch = ethanol.batch(np.arange(40), trained.potential.cutoff, properties=("E", "F"))
    outputs = trained.potential(batch)
    np.testing.assert_allclose(outputs["energy"].detach(), batch["E"], rtol=0, atol=2e-3)
    np.testing.assert_allclose(outputs["forces"].detach(), batch["F"], rtol=0, atol=5e-3)


def test_a_checkpoint_says_from_which_weights_it_started_and_goes_on_without_them(
    fine: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"init": RELEASE, "schedule": {"kind": "constant"}}
    folder = train(fine(**settings), progress=False)
    metadata = resolve(RELEASE).metadata
    facts = load_checkpoint(folder).facts["init"]
    assert facts == {
        "name": RELEASE,
        "version": metadata.version,
        "weights_sha256": metadata.provenance["weights_sha256"],
    }
    trainer = {"max_epochs": 2, "batch_size": 10, "accelerator": "cpu"}
    whole = train(fine(**settings, trainer=trainer, out=str(tmp_path / "whole")), progress=False)
    monkeypatch.setattr(zoo_registry.store, "BUNDLED", tmp_path)
    train(fine(**settings, trainer=trainer), progress=False)
    a, b = (read_checkpoint(f / "checkpoints" / "last.ckpt") for f in (folder, whole))
    assert a["zoo"]["facts"]["init"] == facts
    assert all(torch.equal(value, b["state_dict"][name]) for name, value in a["state_dict"].items())


@pytest.mark.parametrize("kind", ["schnet", "wacsf"])
def test_elements_keep_their_weights_and_new_ones_get_fresh_rows(kind: str) -> None:
    size = {"features": 8} if kind == "schnet" else {"radial": 4, "angular": 2}
    heads = {"energy": {"kind": "atomwise" if kind == "schnet" else "elemental_atomwise", "hidden": [3]}}

    def make(species: list[int]) -> Any:
        return build({"representation": {"kind": kind, "species": species, **size}, "heads": heads})

    old, new = make([1, 6, 8]).cast(torch.float64).eval(), make([1, 7, 8]).cast(torch.float64).eval()
    old.set_standardisation("energy", 0.0, 2.0, {1: -13.0, 6: -1000.0, 8: -2000.0})
    told = transfer(old, new)
    assert [line for line in told if "N" in line]
    assert [line for line in told if "C" in line]
    from ase.build import molecule

    graph = build_graph([molecule("H2O")], old.cutoff, old.needs_triples)
    water = {name: torch.from_numpy(array) for name, array in graph.tensors().items()}
    assert old(water)["energy"].item() == pytest.approx(new(water)["energy"].item(), abs=1e-9)


def test_what_cannot_be_a_start_is_refused_in_one_line(fine: Callable[..., Recipe], tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="no model 'schnet-qm8'"):
        train(fine(init="schnet-qm8"), progress=False)
    broken = tmp_path / "broken.ckpt"
    broken.write_bytes(b"x")
    with pytest.raises(ReleaseInvalid, match=r"broken\.ckpt cannot be read"):
        train(fine(init=str(broken)), progress=False)
    model = fine().model.model_dump()
    model["representation"]["features"] = 64
    with pytest.raises(UsageError, match=r"representation\.features=64, but init has 128"):
        train(fine(init=RELEASE, model=model), progress=False)
    model = fine().model.model_dump()
    model["heads"]["energy"]["aggregation"] = "mean"
    with pytest.raises(UsageError, match=r"heads\.energy\.aggregation=mean, but init has sum"):
        train(fine(init=RELEASE, model=model), progress=False)


def test_what_is_a_default_need_not_be_said_and_new_heads_are_standardised(
    fine: Callable[..., Recipe], ethanol: Cache
) -> None:
    model = fine().model.model_dump()
    del model["heads"]["energy"]["aggregation"], model["representation"]["interactions"]
    model["heads"]["other"] = {"kind": "atomwise", "property": "other"}
    data = fine().data.model_dump() | {"targets": {"energy": "E", "other": "E"}}
    loss = {"energy": {}, "other": {}}
    trained = load_checkpoint(train(fine(init=RELEASE, model=model, data=data, loss=loss), progress=False))
    values = ethanol.values("E") / 9
    assert trained.facts["standardisation"]["other"]["mean"] == pytest.approx(values.mean(), rel=1e-3)
    assert trained.facts["standardisation"]["energy"]["kind"] == "init"


def test_functions_of_pairs_of_elements_are_not_given_to_others() -> None:
    def make(species: list[int]) -> Any:
        representation = {"kind": "wacsf", "species": species, "radial": 4, "angular": 2, "weighted": False}
        return build({"representation": representation, "heads": {"energy": {"kind": "elemental_atomwise"}}})

    with pytest.raises(UsageError, match=r"set model\.representation\.species to those of init"):
        transfer(make([1, 6]), make([1, 8]))


def test_member_k_starts_from_member_k_and_a_run_folder_serves_too(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    first = train(make_recipe(ensemble=2, trainer={"max_epochs": 1}), progress=False)
    still: dict[str, Any] = {"optimizer": {"lr": 1e-12}, "schedule": {"min_lr": 0.0}, "trainer": {"max_epochs": 1}}
    second = train(make_recipe(ensemble=2, init=str(first), out=str(tmp_path / "second"), **still), progress=False)
    for k in range(2):
        before, after = load_checkpoint(first / f"member-{k}"), load_checkpoint(second / f"member-{k}")
        weight = "representation.embedding.weight"
        torch.testing.assert_close(before.potential.state_dict()[weight], after.potential.state_dict()[weight])
        assert after.facts["init"]["member"] == k
        assert after.facts["init"]["weights_sha256"] == weights_sha256(load_checkpoint(first).potential)
