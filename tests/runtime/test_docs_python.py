"""The examples in the public docstrings do what they say, with bundled models."""

from __future__ import annotations

import doctest
import importlib

import pytest

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("module", ["zoo_runtime", "zoo_runtime.model", "zoo_runtime.prediction"])
def test_the_examples_of_docstrings_are_true(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    done = doctest.testmod(importlib.import_module(module), optionflags=FLAGS)
    assert done.attempted > 0
    assert done.failed == 0, capsys.readouterr().out
