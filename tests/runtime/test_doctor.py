from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from zoo_runtime.backends import BACKENDS


def test_doctor_says_what_works_and_why_the_rest_does_not(
    zoo: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("zoo_runtime.backends.torchscript.available", lambda: "torch is not installed; pip install it")
    monkeypatch.setattr("zoo_runtime.backends.native.open_backend", lambda *_: 1 / 0)
    monkeypatch.setattr("zoo_runtime.backends.aoti.available", lambda: None)
    monkeypatch.setenv("ZOO_HUB", "/some/hub")
    monkeypatch.setenv("LAMMPS_PLUGIN_PATH", str(tmp_path))
    (tmp_path / "zooplugin.so").touch()
    code, out, _ = zoo("doctor", "--json")
    told = json.loads(out)
    assert code == 0
    assert told["backends"].keys() == BACKENDS.keys()
    assert told["backends"]["onnx"].startswith("works: onnxruntime")
    assert "pip install it" in told["backends"]["torchscript"]
    assert told["backends"]["aoti"].startswith("can compile")
    assert str(tmp_path / "zooplugin.so") in told["lammps"]
    assert told["packages"]["numpy"]
    assert told["models"]["hub"] == "/some/hub"
    code, out, _ = zoo("doctor")
    assert code == 0
    assert "works: onnxruntime" in out
    monkeypatch.setattr("zoo_runtime.backends.onnx.available", lambda: "broken")
    assert zoo("doctor")[0] == 3
