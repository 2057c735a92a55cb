"""What a data set is and holds, in words and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from zoo.data.base import Dataset
from zoo.data.cache import Cache, build_cache

BINS = 100
BLOCK = 1 << 20


def opened(path: Path) -> Cache | None:
    """Return the cache of an ASE database or a cache folder, or None where it was not prepared."""
    return build_cache(path) if path.exists() else None


def describe(data: Dataset, root: str | Path, cache: Cache | None) -> dict[str, Any]:
    """Return what there is to say, title to text, without what is empty.

    Args:
        data: The data set.
        root: Folder of all data sets.
        cache: Its cache, or None where it is not prepared.
    """
    facts = data.metadata() if cache is None else {**data.metadata(), **cache.meta.get("dataset", {})}
    lines: dict[str, Any] = {
        "name": data.name,
        "description": data.description,
        "systems": facts.get("systems") if cache is None else len(cache),
        "level of theory": data.level_of_theory,
        "citation": data.citation,
        "license": data.license,
        "version": facts.get("version"),
        "left out": facts.get("left_out"),
        "source": data.sources,
    }
    if cache is None:
        lines["properties"] = ", ".join(f"{k} [{what.get('unit', '?')}]" for k, what in facts["properties"].items())
        lines["prepared"] = f"no; zoo data prepare {data.name}"
    else:
        numbers, counts = count_elements(cache)
        lines["atoms"] = f"{cache.meta['atoms']} ({cache.n_atoms.min()} to {cache.n_atoms.max()} in a system)"
        lines["periodic"] = "yes" if cache.meta["periodic"] else "no"
        lines["elements"] = ", ".join(f"{chemical_symbols[z]} {n}" for z, n in zip(numbers, counts, strict=True))
        for name, what in cache.properties.items():
            low, high = extent(cache.values(name))
            shape = "×".join(map(str, what.shape)) or "one"
            lines[name] = f"{low:.10g} to {high:.10g} {what.unit} ({shape} per {what.per})"
        lines["splits"] = ", ".join(cache.splits)
        lines["prepared"] = data.path(root)
        lines["cache"] = cache.folder
    return {title: text for title, text in lines.items() if text not in (None, "", {})}


def count_elements(cache: Cache) -> tuple[list[int], list[int]]:
    """Return the atomic numbers that occur, and how many atoms of each there are."""
    counts = np.zeros(119, np.int64)
    for start in range(0, len(cache.numbers), BLOCK):
        counts += np.bincount(cache.numbers[start : start + BLOCK], minlength=119)
    numbers = np.flatnonzero(counts)
    return numbers.tolist(), counts[numbers].tolist()


def extent(values: np.ndarray) -> tuple[float, float]:
    """Return the smallest and the largest number."""
    return float(values.min()), float(values.max())


def draw(cache: Cache, path: Path) -> None:
    """Write a PNG file with histograms of the elements, the sizes, and every number of every property.

    Args:
        cache: The data set.
        path: Where to write it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = 3
    rows = -(-(2 + len(cache.properties)) // columns)
    figure = Figure(figsize=(4 * columns, 3 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = iter(figure.subplots(rows, columns, squeeze=False).ravel())
    numbers, counts = count_elements(cache)
    axis = next(axes)
    axis.bar([chemical_symbols[z] for z in numbers], counts, log=True)
    axis.set(xlabel="element", ylabel="atoms")
    if len(numbers) > 12:
        axis.set_xticks(range(0, len(numbers), 8), [chemical_symbols[z] for z in numbers[::8]])
    axis = next(axes)
    axis.hist(cache.n_atoms, bins=np.arange(cache.n_atoms.min(), cache.n_atoms.max() + 2) - 0.5)
    axis.set(xlabel="atoms", ylabel="systems")
    axis.xaxis.get_major_locator().set_params(integer=True)
    for name, what in cache.properties.items():
        low, high = extent(values := cache.values(name))
        edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
        heights = np.zeros(BINS, np.int64)
        for start in range(0, len(values), BLOCK):
            heights += np.histogram(values[start : start + BLOCK], edges)[0]
        axis = next(axes)
        axis.stairs(heights, edges, fill=True)
        axis.set(xlabel=f"{name} [{what.unit or '1'}]", ylabel="numbers", yscale="symlog" if what.shape else "linear")
        axis.xaxis.get_major_locator().set_params(nbins=4)
    for axis in axes:
        axis.remove()
    figure.savefig(path, format="png", dpi=120)
