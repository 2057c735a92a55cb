import json
from pathlib import Path

import pytest
import yaml

from zoo.models import build
from zoo.train.recipe import Recipe, list_recipes, load_recipe
from zoo_registry.errors import UsageError


@pytest.mark.parametrize("name", list_recipes())
def test_packaged_recipes_are_valid_and_their_models_can_be_built(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    potential = build(recipe.model.model_dump())
    assert recipe.data.targets.keys() <= potential.outputs().keys()


def test_overrides_are_yaml_scalars() -> None:
    recipe = load_recipe(
        "schnet-qm9", {"optimizer.lr": "1e-3", "ema": "null", "trainer.early_stopping.patience": "7", "name": "mine"}
    )
    assert recipe.optimizer.lr == 1e-3
    assert recipe.ema is None
    assert recipe.trainer.early_stopping is not None
    assert recipe.trainer.early_stopping.patience == 7
    assert recipe.folder == Path("runs/mine")


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("trainer.max_epoch", "5", "did you mean 'trainer.max_epochs'"),
        ("batch_size", "5", "did you mean 'trainer.batch_size'"),
        ("optimiser.lr", "5", "did you mean 'optimizer'"),
        ("loss.energy.knd", "mse", "did you mean 'loss.energy.kind'"),
        ("loss.energy.kind", "mes", "did you mean 'mse'? Allowed: mae, mse, smooth_l1"),
        ("trainer.precision", "16", "Allowed: 32-true, 64-true, bf16-mixed"),
        ("optimizer.lr", "-1", "optimizer.lr=-1 is not allowed: input should be greater than 0"),
        ("optimizer.lr", "nan", "optimizer.lr=nan is not allowed"),
        ("schedule.warmup", "-3", "schedule.warmup=-3 is not allowed"),
        ("data.n_train", "null", "data.n_train=None is not allowed"),
        ("name.x", "1", "'name' is a single value"),
        ("loss.forces.weight", "1", "loss.forces has no target in data.targets"),
        ("schedule", "{kind: plateau, warmup: 5}", "set schedule.warmup=0"),
        ("schedule.min_lr", "1", "schedule.min_lr=1.0 is above optimizer.lr"),
        ("trainer.check_val_every", "1000", "nothing would be validated"),
        ("seed", "[1", "not valid YAML"),
    ],
)
def test_a_wrong_setting_is_explained_in_one_line(key: str, value: str, told: str) -> None:
    with pytest.raises(UsageError) as error:
        load_recipe("schnet-qm9", {key: value})
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_recipe_names_the_close_one() -> None:
    with pytest.raises(UsageError, match="did you mean 'schnet-qm9'"):
        load_recipe("schnet-qm8")


@pytest.mark.parametrize("text", ["- a list\n", "a: [b\n", ""])
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"recipe\.yaml"):
        load_recipe(str(path))


def test_a_recipe_survives_its_own_file(tmp_path: Path) -> None:
    recipe = load_recipe("wacsf-qm9")
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    assert load_recipe(str(path)) == recipe


def test_schema_is_json() -> None:
    schema = json.loads(json.dumps(Recipe.model_json_schema()))
    assert schema["additionalProperties"] is False
    assert "smooth_l1" in schema["$defs"]["Loss"]["properties"]["kind"]["enum"]
