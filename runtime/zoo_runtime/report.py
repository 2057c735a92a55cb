"""Predictions as JSON objects, as rows of a table, and as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo_registry.errors import ZooError
from zoo_registry.metadata import Metadata
from zoo_runtime import keys
from zoo_runtime.frames import Frame
from zoo_runtime.prediction import Prediction

Result = Prediction | ZooError


def test_error(metadata: Metadata, name: str) -> dict[str, Any] | None:
    """Return the mean absolute error of a property on the test set, ``{value, unit, n}``; None if unknown."""
    return metadata.metrics.get(f"test/{name}_mae")


def record(frame: Frame, result: Result, metadata: Metadata, backend: str, names: Sequence[str]) -> dict[str, Any]:
    """Return one result as a JSON object.

    Args:
        frame: Where the structure comes from.
        result: The prediction, or the error in its place.
        metadata: The model's.
        backend: Name of the backend.
        names: The properties to tell.
    """
    told: dict[str, Any] = {
        "file": frame.file,
        "frame": frame.index,
        "formula": frame.formula,
        "model": f"{metadata.name}@{metadata.version}",
        "backend": backend,
    }
    if isinstance(result, ZooError):
        return told | {"error": {"type": type(result).__name__, "message": str(result)}}
    for name, value in result.values().items():
        if name in names:
            told[name] = {"value": np.asarray(value).tolist(), "unit": result.units[name]}
            if error := test_error(metadata, name):
                told[name]["test_error"] = {"kind": "MAE", **error}
    return told | {"warnings": result.warnings}


@dataclass(frozen=True)
class Column:
    """One number of each structure.

    Attributes:
        title: With its unit.
        digits: Digits after the point for people.
        value: From the prediction to the number; None where there is none.
    """

    title: str
    digits: int
    value: Callable[[Prediction], float | None]


def columns(metadata: Metadata, names: Sequence[str]) -> list[Column]:
    """Return the columns of a table: scalars with their test errors, the largest force, lengths of vectors.

    Args:
        metadata: The model's.
        names: The properties to tell.
    """
    found = []
    for name in names:
        facts = metadata.outputs[name]
        unit, shape = facts["unit"], facts["shape"]
        if facts["per"] == "system" and len(shape) == 1:
            found.append(Column(f"{name} ({unit})", 6, _scalar(name)))
            if error := test_error(metadata, name):
                found.append(Column(f"± test MAE ({error['unit']})", 4, _constant(error["value"])))
        elif name == keys.FORCES:
            found.append(Column(f"max |force| ({unit})", 4, _largest_force))
        elif facts["per"] == "system" and shape[1:] == [3]:
            found.append(Column(f"|{name}| ({unit})", 4, _length(name)))
    return found


def cells(columns: Sequence[Column], result: Result) -> list[float | None]:
    """Return the numbers of one row; all None for an error."""
    return [None if isinstance(result, ZooError) else column.value(result) for column in columns]


def footnote(metadata: Metadata, names: Sequence[str]) -> str:
    """Return what the numbers of a table are worth."""
    known = {name: error for name in names if (error := test_error(metadata, name))}
    told = [
        f"{name} {error['value']:.4g} {error['unit']}" + (f" (n = {error['n']:,})" if "n" in error else "")
        for name, error in known.items()
    ]
    worth = f"test MAE: {', '.join(told)}" if told else "test error: not known"
    return f"{metadata.name}@{metadata.version}, {metadata.level_of_theory}; {worth}"


def _scalar(name: str) -> Callable[[Prediction], Any]:
    return lambda prediction: prediction.values().get(name)


def _constant(value: float) -> Callable[[Prediction], float]:
    return lambda _: value


def _length(name: str) -> Callable[[Prediction], float | None]:
    return lambda prediction: float(np.linalg.norm(prediction.values()[name]))


def _largest_force(prediction: Prediction) -> float | None:
    return None if prediction.forces is None else float(np.linalg.norm(prediction.forces, axis=1).max())
