import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
import yaml

from zoo.cli import overrides, register
from zoo.train.recipe import Recipe
from zoo_registry.errors import UsageError
from zoo_runtime.cli import build_app


def zoo(*words: str) -> None:
    app = build_app()
    register(app)
    typer.main.get_command(app).main(list(words), "zoo", standalone_mode=False)


def test_train_and_evaluate(
    make_recipe: Callable[..., Recipe], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(yaml.safe_dump(make_recipe().model_dump(mode="json")))
    zoo("train", f"recipe={recipe}", "trainer.max_epochs=1", "--optimizer.lr", "1e-3", "fresh=true")
    printed = capsys.readouterr()
    assert printed.out.split() == [str(tmp_path / "run")]
    assert "epoch 1/1" in printed.err
    assert yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["optimizer"]["lr"] == 1e-3
    zoo("evaluate", f"checkpoint={tmp_path / 'run'}", "--json", "device=cpu")
    metrics = json.loads(capsys.readouterr().out)
    assert metrics == json.loads((tmp_path / "run" / "evaluation.json").read_text())["metrics"]
    assert metrics["test/energy_mae"]["n"] == 14
    zoo("evaluate", f"checkpoint={tmp_path / 'run'}", "split=val")
    assert "kcal/mol (n = 10)" in capsys.readouterr().out
    kept = json.loads((tmp_path / "run" / "evaluation.json").read_text())["metrics"]
    assert kept["test/energy_mae"] == metrics["test/energy_mae"]
    assert kept["val/energy_mae"]["n"] == 10


def test_wrong_words() -> None:
    with pytest.raises(UsageError, match=r"'fast' is not a setting; write key=value"):
        zoo("train", "recipe=schnet-qm9", "fast")
    with pytest.raises(UsageError, match=r"did you mean 'trainer\.max_epochs'"):
        zoo("train", "recipe=schnet-qm9", "trainer.max_epoch=3")
    with pytest.raises(UsageError, match="either checkpoint=FOLDER or model=NAME"):
        zoo("evaluate")


def test_settings_can_be_written_in_three_ways() -> None:
    assert overrides(["a.b=1", "--c.d=x=y", "--e", "3"]) == {"a.b": "1", "c.d": "x=y", "e": "3"}
