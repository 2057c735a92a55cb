"""Pictures of an evaluation and of a training run: small PNG files, the same bytes from the same numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.train.errors import Errors, Evaluation, load_errors

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS, SIDE = 4, 2.7  # panels in a row, inches of a panel
BINS = 90
COLORS = 16  # of the palette, for small files
PARITY, HISTOGRAM, CALIBRATION, LEARNING = "parity.png", "errors.png", "calibration.png", "learning-curve.png"


def draw_run(folder: Path, units: Mapping[str, str], out: Path, split: str = "test") -> list[Path]:
    """Draw what a run folder holds: the errors on a part of its data and its learning curve.

    Args:
        folder: A run folder, evaluated or not; of a committee the folder of its members.
        units: Unit of each output.
        out: Where the pictures go; made where it is missing.
        split: train, val or test.

    Returns:
        The pictures that there is something for.

    Raises:
        DataError: Damaged errors, or those of an older version.
    """
    errors = folder / f"errors-{split}.npz"
    made = draw_errors(load_errors(errors, {}), out) if errors.is_file() else []
    histories = sorted(folder.glob("member-*/metrics.csv")) or sorted(folder.glob("metrics.csv"))
    return made + draw_learning(histories, units, out)


def draw_errors(evaluation: Evaluation, out: Path) -> list[Path]:
    """Draw prediction against reference, the sizes of the errors, and of a committee the errors against its spread.

    Args:
        evaluation: What was measured.
        out: Where ``parity.png``, ``errors.png`` and ``calibration.png`` go.

    Returns:
        The pictures that there is something for.
    """
    errors = evaluation.errors
    compared = {name: found for name, found in errors.items() if found.target is not None}
    spread = {name: found for name, found in errors.items() if found.spread is not None}
    made = []
    for name, drawn, draw in (
        (PARITY, compared, _parity),
        (HISTOGRAM, errors, _histogram),
        (CALIBRATION, spread, _calibration),
    ):
        if drawn:
            with picture(out / name, len(drawn)) as panels:
                for axes, (output, found) in zip(panels, drawn.items(), strict=True):
                    draw(axes, output, found)
            made.append(out / name)
    return made


def draw_learning(histories: Sequence[Path], units: Mapping[str, str], out: Path) -> list[Path]:
    """Draw loss and validation errors over the epochs.

    Args:
        histories: ``metrics.csv`` of a run, or of each member of a committee.
        units: Unit of each output.
        out: Where ``learning-curve.png`` goes.

    Returns:
        The picture; nothing where no epoch was recorded.
    """
    tables = [table for table in map(_read, histories) if table]
    if not tables:
        return []
    names = [name for name in tables[0] if name.startswith("val/") and name != "val/loss"]
    with picture(out / LEARNING, 1 + len(names)) as panels:
        for table in tables:
            first = table is tables[0]
            for name, color in (("train/loss", "C0"), ("val/loss", "C1")):
                if name in table:
                    panels[0].plot(table["epoch"], table[name], color, label=name if first else None)
            for axes, name in zip(panels[1:], names, strict=True):
                axes.plot(table["epoch"], table[name], "C1")
        panels[0].legend()
        for axes, name in zip(panels, ["loss", *names], strict=True):
            unit = units.get(name.removeprefix("val/").removesuffix("_mae"), "")
            axes.set(xlabel="epoch", ylabel=f"{name} [{unit}]" if unit else name, yscale="log")
            axes.locator_params(axis="x", nbins=4, integer=True)
    return [out / LEARNING]


def _read(path: Path) -> dict[str, np.ndarray]:
    with open(path, encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if all(row.values())]  # a killed run leaves a row that is cut off
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]} if rows else {}


@contextmanager
def picture(path: Path, n: int) -> Iterator[list[Axes]]:
    """Give n axes to draw on, then write the picture as a small PNG file."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    with matplotlib.rc_context({**matplotlib.rcParamsDefault, "font.size": 8}):  # whatever the user has set up
        columns = min(n, COLUMNS)
        rows = -(-n // columns)
        figure = Figure(figsize=(SIDE * columns, SIDE * 0.9 * rows), dpi=90, layout="constrained")
        FigureCanvasAgg(figure)
        panels = list(figure.subplots(rows, columns, squeeze=False).ravel())
        yield panels[:n]
        for axes in panels[n:]:
            axes.remove()
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", metadata={"Software": None})
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.open(drawn).convert("RGB").quantize(COLORS, Image.Quantize.MAXCOVERAGE).save(
        path, format="png", optimize=True
    )


def _density(axes: Axes, x: np.ndarray, y: np.ndarray, bins: Any) -> None:
    counts, left, bottom = np.histogram2d(x, y, bins)
    shown = np.ma.masked_equal(counts.T, 0)
    axes.pcolormesh(left, bottom, shown, norm="log", cmap="viridis", rasterized=True)


def _parity(axes: Axes, name: str, errors: Errors) -> None:
    added = errors.baseline
    less = "" if added is None else " less the atoms'"  # which would hide all differences
    target = np.ravel(np.asarray(errors.target) - (0.0 if added is None else added))
    difference = errors.difference.ravel()
    predicted = target + difference
    low, high = min(target.min(), predicted.min()), max(target.max(), predicted.max())
    margin = 0.02 * (high - low) or 1.0
    edges = np.linspace(low - margin, high + margin, BINS + 1)
    _density(axes, target, predicted, (edges, edges))
    axes.axline((low, low), slope=1, color="C3", linewidth=0.6)
    mae, rmse = np.abs(difference).mean(), np.sqrt((difference**2).mean())
    text = f"MAE {mae:.3g}\nRMSE {rmse:.3g}\nn = {len(difference):,}"
    axes.text(0.04, 0.96, text, transform=axes.transAxes, va="top", fontsize=7)
    unit = f"[{errors.unit}]"
    axes.set(xlabel=f"reference {name}{less} {unit}", ylabel=f"predicted {name}{less} {unit}")
    axes.locator_params(nbins=5)


def _histogram(axes: Axes, name: str, errors: Errors) -> None:
    size = np.abs(errors.difference).ravel()
    largest = size.max() or 1.0
    edges = np.geomspace(largest * 1e-5, largest * 1.001, 61)
    counts, _ = np.histogram(np.maximum(size, edges[0]), edges)
    axes.stairs(counts, edges, fill=True)
    for label, value, color in (("MAE", size.mean(), "C1"), ("RMSE", np.sqrt((size**2).mean()), "C3")):
        axes.axvline(value, color=color, label=f"{label} {value:.3g}", linewidth=1)
    axes.legend(fontsize=7, loc="upper left")
    axes.set(xlabel=f"|error of {name}| [{errors.unit}]", ylabel="count", xscale="log")


def _calibration(axes: Axes, name: str, errors: Errors) -> None:
    spread = np.asarray(errors.spread)
    error = np.sqrt((errors.difference.reshape(len(spread), -1) ** 2).sum(axis=1))
    largest = max(spread.max(), error.max()) or 1.0
    edges = np.geomspace(largest * 1e-4, largest * 1.001, BINS // 2 + 1)
    _density(axes, np.maximum(spread, edges[0]), np.maximum(error, edges[0]), (edges, edges))
    axes.plot(edges, edges, "C3", linewidth=0.6)
    axes.set(xlabel=f"spread of {name} [{errors.unit}]", ylabel=f"|error| [{errors.unit}]", xscale="log", yscale="log")
