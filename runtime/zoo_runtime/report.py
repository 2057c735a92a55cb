"""Predictions as JSON objects, as rows of a table, and as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo_registry.errors import ZooError
from zoo_registry.metadata import Metadata
from zoo_runtime import keys
from zoo_runtime.frames import Frame
from zoo_runtime.prediction import Prediction, described

if TYPE_CHECKING:
    from zoo_runtime.model import Model

Result = Prediction | ZooError


@dataclass(frozen=True)
class Source:
    """A model that stands beside others, and what of it is told.

    Attributes:
        metadata: The model's.
        backend: Name of its backend.
        names: The properties to tell.
        label: What tells it from the others: its name, with the version where two have the same; empty for one alone.
    """

    metadata: Metadata
    backend: str
    names: Sequence[str]
    label: str = ""

    @property
    def model(self) -> str:
        """Name and version."""
        return self.metadata.label


def sources(models: Sequence[Model], names: Sequence[Sequence[str]]) -> list[Source]:
    """Return the models with their labels.

    Args:
        models: At least one.
        names: The properties to tell of each.
    """
    called = [model.metadata.name for model in models]
    labels = [
        "" if len(models) == 1 else name if called.count(name) == 1 else f"{name}@{model.metadata.version}"
        for name, model in zip(called, models, strict=True)
    ]
    return [
        Source(model.metadata, model.backend.name, told, label)
        for model, told, label in zip(models, names, labels, strict=True)
    ]


def test_error(metadata: Metadata, name: str) -> dict[str, Any] | None:
    """Return the mean absolute error of a property on the test set, ``{value, unit, n}``; None if unknown.

    That of an energy is for each atom where the model is for crystals, of which any number of cells may be asked.
    """
    per_atom = metadata.metrics.get(f"test/{name}_per_atom_mae") if metadata.periodic else None
    return per_atom or metadata.metrics.get(f"test/{name}_mae")


def record(frame: Frame, results: Sequence[Result], models: Sequence[Source]) -> dict[str, Any]:
    """Return the results of one structure as a JSON object.

    Args:
        frame: Where the structure comes from.
        results: Of each model the prediction, or the error in its place.
        models: The models; of several each has an object of its own in ``models``, under its label.
    """
    place = {"file": frame.file, "frame": frame.index, "formula": frame.formula}
    told = {model.label: _told(result, model) for result, model in zip(results, models, strict=True)}
    return place | ({"models": told} if models[0].label else told[""])


def _told(result: Result, model: Source) -> dict[str, Any]:
    told: dict[str, Any] = {"model": model.model, "backend": model.backend}
    if isinstance(result, ZooError):
        return told | {"error": described_error(result)}
    for name, value in result.values().items():
        if name in model.names:
            told[name] = {"value": np.asarray(value).tolist(), "unit": result.units[name]}
            if error := test_error(model.metadata, name):
                told[name]["test_error"] = {"kind": "MAE", **error}
    return told | {"warnings": described(result.warnings)}


def described_error(error: ZooError) -> dict[str, str]:
    """Return an error for JSON."""
    return {"type": type(error).__name__, "message": str(error)}


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


def columns(model: Source) -> list[Column]:
    """Return the columns of a table: scalars with their test errors, the largest force, lengths of vectors, spreads."""
    found = []
    for name in model.names:
        facts = model.metadata.outputs[name]
        unit, shape = facts["unit"], facts["shape"]
        if name == keys.ENERGY_SPREAD:
            found.append(Column(f"± committee spread ({unit})", 4, _scalar(name)))
        elif name == keys.FORCES_SPREAD:
            found.append(Column(f"max committee spread of forces ({unit})", 4, _largest(name)))
        elif facts["per"] == "system" and len(shape) == 1:
            found.append(Column(f"{name} ({unit})", 6, _scalar(name)))
            if error := test_error(model.metadata, name):
                found.append(Column(f"± test MAE ({unit})", 4, _expected(error["value"], error["unit"] != unit)))
        elif name == keys.FORCES:
            found.append(Column(f"max |force| ({unit})", 4, _largest_force))
        elif facts["per"] == "system" and shape[1:] == [3]:
            found.append(Column(f"|{name}| ({unit})", 4, _length(name)))
    return [Column(f"{model.label} {column.title}".strip(), column.digits, column.value) for column in found]


def cells(columns: Sequence[Column], result: Result) -> list[float | None]:
    """Return the numbers of one row; all None for an error."""
    return [None if isinstance(result, ZooError) else column.value(result) for column in columns]


def footnote(model: Source) -> str:
    """Return what the numbers of a table are worth."""
    known = {name: error for name in model.names if (error := test_error(model.metadata, name))}
    told = [
        f"{name} {error['value']:.4g} {error['unit']}" + (f" (n = {error['n']:,})" if "n" in error else "")
        for name, error in known.items()
    ]
    worth = f"test MAE: {', '.join(told)}" if told else "test error: not known"
    return f"{model.model}, {model.metadata.level_of_theory}; {worth}"


def _scalar(name: str) -> Callable[[Prediction], Any]:
    return lambda prediction: prediction.values().get(name)


def _expected(error: float, per_atom: bool) -> Callable[[Prediction], float | None]:
    def value(prediction: Prediction) -> float | None:
        if not per_atom:
            return error
        return None if prediction.energies is None else error * len(prediction.energies)

    return value


def _length(name: str) -> Callable[[Prediction], float | None]:
    return lambda prediction: float(np.linalg.norm(prediction.values()[name]))


def _largest(name: str) -> Callable[[Prediction], float | None]:
    return lambda prediction: float(np.max(prediction.values()[name]))


def _largest_force(prediction: Prediction) -> float | None:
    return None if prediction.forces is None else float(np.linalg.norm(prediction.forces, axis=1).max())
