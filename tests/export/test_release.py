"""A release is whole, true and checked, or it is not written at all."""

import json

import pytest
import yaml

import zoo_export.release as release_module
from zoo.train.weights import weights_sha256
from zoo_export.release import export, write
from zoo_registry.errors import ExportError, UsageError, ZooError


@pytest.fixture
def trained(made, tmp_path, monkeypatch):
    """Let ``export`` find the small network instead of a checkpoint; return what it found."""
    from zoo.train.checkpoint import Trained
    from zoo.train.recipe import parse_recipe

    model = made("schnet")
    training = model.metadata.training
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    facts = {k: v for k, v in training.items() if k != "recipe"} | {"domain": model.metadata.domain}
    found = Trained(
        model.potential, parse_recipe(training["recipe"]), facts, tmp_path / "run" / "checkpoints" / "best.ckpt"
    )
    monkeypatch.setattr(release_module, "load_checkpoint", lambda path: found)
    document = {"weights_sha256": weights_sha256(model.potential), "metrics": model.metadata.metrics}
    (tmp_path / "run" / "evaluation.json").write_text(json.dumps(document))
    return found


def test_every_file_of_the_design_is_there(made):
    names = {path.name for path in made("schnet").release.path.iterdir()}
    assert names == {
        "zoo.json",
        "model.safetensors",
        "model.onnx",
        "model.pt",
        "golden.json",
        "verification.json",
        "README.md",
        "manifest.json",
    }


def test_files_can_be_read_by_other_users(made):
    assert {path.stat().st_mode & 0o777 for path in made("schnet").release.path.iterdir()} == {0o644}


def test_the_card_states_errors_units_level_of_theory_and_limits(made):
    model = made("schnet")
    text = model.release.file("README.md").read_text()
    _, matter, body = text.split("---\n", 2)
    assert yaml.safe_load(matter)["license"] == "mit"
    for words in ("0.5 | eV | 11.530", "pairs", "H, C, O, Si", "forces vs numerical derivative | pass", "1.0.0"):
        assert words in body


def test_the_report_holds_every_check_with_its_figure(made):
    report = json.loads(made("schnet").release.file("verification.json").read_text())
    assert all(check["passed"] and check["value"] <= check["tolerance"] for check in report["checks"])
    names = [check["name"] for check in report["checks"]]
    assert "stress vs numerical strain" in names
    assert ("deterministic repeat", "onnx float32") in [(check["name"], check["backend"]) for check in report["checks"]]


def test_nothing_is_written_when_a_file_disagrees(trained, tmp_path, monkeypatch):
    from zoo_export.targets import onnx

    original = onnx.write

    def other_weights(potential, metadata, path):
        changed = type(potential)(
            potential.species.tolist(), potential.representation, dict(potential.heads), potential.hyperparameters
        )
        changed.set_standardisation("energy", 0.1, 1.0, {})
        original(changed, metadata, path)

    import copy

    monkeypatch.setattr(onnx, "write", lambda p, m, path: other_weights(copy.deepcopy(p), m, path))
    with pytest.raises(ExportError, match=r"backend against backend: energy \(onnx float32 = eager float64\)"):
        export("run", out=tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_a_version_never_changes(trained, tmp_path):
    (tmp_path / "out" / "schnet-chains" / "1.0.0").mkdir(parents=True)
    with pytest.raises(UsageError, match="never changes"):
        export("run", out=tmp_path / "out")


def test_a_run_without_test_errors_is_refused(trained, tmp_path):
    (tmp_path / "run" / "evaluation.json").unlink()
    with pytest.raises(UsageError, match="zoo evaluate checkpoint="):
        export("run", out=tmp_path / "out")


def test_test_errors_of_other_weights_or_of_another_split_are_refused(trained, tmp_path):
    path = tmp_path / "run" / "evaluation.json"
    document = json.loads(path.read_text())
    for changed in (
        document | {"weights_sha256": "0" * 64},
        document | {"metrics": {"val/energy_mae": {"value": 1.0, "unit": "eV", "n": 1}}},
    ):
        path.write_text(json.dumps(changed))
        with pytest.raises(UsageError, match="has no test errors yet"):
            export("run", out=tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"targets": ("onxx",)}, "did you mean 'onnx'"),
        ({"name": "../evil"}, "evil"),
        ({"version": "one"}, "one"),
    ],
)
def test_wrong_arguments_are_one_line(trained, tmp_path, arguments, words):
    with pytest.raises(ZooError, match=words) as caught:
        export("run", out=tmp_path / "out", **arguments)
    assert "\n" not in str(caught.value)


def test_an_energy_model_without_finite_numbers_is_refused(made, tmp_path):
    model = made("schnet")
    import copy

    broken = copy.deepcopy(model.potential)
    broken.heads["energy"].scale.fill_(float("nan"))
    with pytest.raises(ExportError, match="deviates by nan"):
        write(broken, model.metadata, tmp_path)
