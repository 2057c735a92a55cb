"""Differences between prediction and reference, and the numbers that sum them up."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zoo_registry.errors import DataError
from zoo_registry.files import replacing
from zoo_registry.units import convert

"""Output to the output that is a committee's spread of it."""
FURTHER = ("n_atoms", "target", "spread", "baseline")


@dataclass(frozen=True)
class Errors:
    """Differences prediction - target of one output.

    Attributes:
        difference: ``[s, ...]``, or per atom ``[n, ...]``.
        unit: Their unit.
        n_atoms: ``[s]`` for an output of the system, None for one of the atoms.
        target: What was to be predicted, of the shape of ``difference``; None where that was zero.
        spread: ``[s]`` or ``[n]`` spread of a committee, None for a single network.
        baseline: ``[s]`` what the network adds for the atoms of each system, None where it adds nothing.
    """

    difference: np.ndarray
    unit: str
    n_atoms: np.ndarray | None
    target: np.ndarray | None = None
    spread: np.ndarray | None = None
    baseline: np.ndarray | None = None

    def summary(self, name: str, split: str) -> dict[str, dict[str, Any]]:
        """Return MAE, RMSE and largest error as ``"test/energy_mae": {"value", "unit", "n"}`` and so on."""
        rows = {name: (self.difference, self.unit)}
        if name == "energy" and self.n_atoms is not None:
            rows["energy_per_atom"] = (self.difference / self.n_atoms, f"{self.unit}/atom")
        metrics = {}
        for label, (difference, unit) in rows.items():
            size = np.abs(difference)
            values = {"mae": size.mean(), "rmse": np.sqrt((size**2).mean()), "max": size.max()}
            for kind, value in values.items():
                metrics[f"{split}/{label}_{kind}"] = {"value": float(value), "unit": unit, "n": len(self.difference)}
        if self.spread is not None:
            metrics |= self._calibration(name, split, self.spread)
        return metrics

    def _calibration(self, name: str, split: str, spread: np.ndarray) -> dict[str, dict[str, Any]]:
        """Say how far a committee's spread tells its error: the length of the difference for a vector.

        The root mean square of the spread; the root mean square error divided by it (1 for a spread of the right size,
        more where it is too small); Spearman's rank correlation of spread and error (1 where the spread sorts the
        errors, 0 where it knows nothing of them); and the fraction of the errors that are below the spread (for a
        normal distribution of the right width 0.68, for vectors in space 0.61).
        """
        error = np.sqrt((self.difference.reshape(len(spread), -1) ** 2).sum(axis=1))
        rms = float(np.sqrt((spread**2).mean()))
        values: dict[str, tuple[float, str]] = {"spread_rms": (rms, self.unit)}
        if rms > 0:
            values["rmse_over_spread"] = (float(np.sqrt((error**2).mean())) / rms, "1")
        if np.ptp(spread) > 0 and np.ptp(error) > 0:
            values["spread_correlation"] = (float(np.corrcoef(_ranks(spread), _ranks(error))[0, 1]), "1")
        values["within_spread"] = (float((error < spread).mean()), "1")
        return {
            f"{split}/{name}_{kind}": {"value": value, "unit": unit, "n": len(spread)}
            for kind, (value, unit) in values.items()
        }


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation gives.

    Attributes:
        metrics: ``"test/energy_mae"`` to ``{"value", "unit", "n"}``.
        errors: Differences of each output.
        indices: ``[s]`` the systems, as positions in the cache.
        pictures: Files that were drawn of it.
    """

    metrics: dict[str, dict[str, Any]]
    errors: dict[str, Errors]
    indices: np.ndarray
    pictures: tuple[Path, ...] = ()


def _ranks(values: np.ndarray) -> np.ndarray:
    return np.asarray(values.argsort(kind="stable").argsort(kind="stable"))


def summarise(errors: dict[str, Errors], split: str) -> dict[str, dict[str, Any]]:
    """Return the metrics of all outputs; see `Errors.summary`."""
    metrics: dict[str, dict[str, Any]] = {}
    for name, error in errors.items():
        metrics |= error.summary(name, split)
    return metrics


def format_metrics(metrics: dict[str, dict[str, Any]]) -> list[str]:
    """Return one line for each metric; energies also in kcal/mol."""
    lines = []
    for name, metric in metrics.items():
        value, unit = metric["value"], metric["unit"]
        also = ""
        if unit.startswith("eV") and "Å" not in unit:
            other = unit.replace("eV", "kcal/mol", 1)
            also = f" = {convert(value, 'eV', 'kcal/mol'):.4g} {other}"
        shown = "" if unit == "1" else f" {unit}"
        lines.append(f"{name} {value:.4g}{shown}{also} (n = {metric['n']})")
    return lines


def save_errors(evaluation: Evaluation, path: Path) -> None:
    """Write an evaluation as a compressed ``.npz`` file.

    It holds ``index``, and of each output ``<name>`` (the difference), ``unit.<name>``, and where there is such a
    thing ``n_atoms.<name>``, ``target.<name>``, ``spread.<name>`` and ``baseline.<name>``; see `Errors`.
    """
    arrays: dict[str, Any] = {"index": evaluation.indices}
    for name, errors in evaluation.errors.items():
        arrays |= {name: errors.difference, f"unit.{name}": np.array(errors.unit)}
        further = {f"{kind}.{name}": getattr(errors, kind) for kind in FURTHER}
        arrays |= {key: array for key, array in further.items() if array is not None}
    with replacing(path) as part:
        np.savez_compressed(part, **arrays)


def load_errors(path: Path, metrics: dict[str, dict[str, Any]]) -> Evaluation:
    """Read what `save_errors` wrote.

    Args:
        path: The file.
        metrics: Those that were found with it.

    Raises:
        DataError: Not such a file.
    """
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            names = [name.removeprefix("unit.") for name in file.files if name.startswith("unit.")]
            errors = {
                name: Errors(file[name], str(file[f"unit.{name}"]), *(file.get(f"{kind}.{name}") for kind in FURTHER))
                for name in names
            }
            return Evaluation(metrics, errors, file["index"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} does not hold the errors of an evaluation ({error!r}); run zoo evaluate.") from None
