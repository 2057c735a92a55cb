"""What a training set says of itself: scale of a property, atomic references, the domain that it covers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from zoo.data.cache import Cache
from zoo_registry.errors import DataError

BLOCK = 4096


def composition(cache: Cache, indices: np.ndarray) -> np.ndarray:
    """Return how many atoms of each element each system has, ``[m, len(cache.species)]``."""
    indices, width = np.asarray(indices), len(cache.species)
    counts = np.empty((len(indices), width), np.int64)
    column = np.zeros(119, np.int64)
    column[cache.species] = np.arange(width)
    for start in range(0, len(indices), BLOCK):
        block = indices[start : start + BLOCK]
        first, n_atoms = cache.offsets[block], cache.offsets[block + 1] - cache.offsets[block]
        atoms = np.repeat(first - np.cumsum(n_atoms) + n_atoms, n_atoms) + np.arange(n_atoms.sum())
        owner = np.repeat(np.arange(len(block)), n_atoms)
        tally = np.bincount(owner * width + column[cache.numbers[atoms]], minlength=len(block) * width)
        counts[start : start + BLOCK] = tally.reshape(-1, width)
    return counts


def least_squares_references(cache: Cache, indices: np.ndarray, name: str) -> dict[int, float]:
    """Return one number per element whose sums over atoms come closest to a property of whole systems.

    Args:
        cache: The data set.
        indices: ``[m]`` the training systems.
        name: A property with one number per system.

    Returns:
        Atomic number to reference, in the property's unit; elements that do not occur are absent. Where the
        compositions do not tell two elements apart, the solution of smallest norm.

    Raises:
        DataError: No such property, or not one number per system.
    """
    counts = composition(cache, indices)
    used = counts.any(axis=0)
    solution = np.linalg.lstsq(counts[:, used].astype(np.float64), _scalar(cache, name)[indices], rcond=None)[0]
    species = np.asarray(cache.species)[used]
    return dict(zip(species.tolist(), solution.tolist(), strict=True))


def per_atom(
    cache: Cache, indices: np.ndarray, name: str, references: Mapping[int, float] | None = None
) -> tuple[float, float]:
    """Return mean and standard deviation of (P − Σ reference) / number of atoms, over systems.

    Args:
        cache: The data set.
        indices: ``[m]`` the training systems.
        name: A property with one number per system.
        references: Atomic number to reference in the property's unit; None means zero for all.

    Returns:
        Mean and population standard deviation in the property's unit.

    Raises:
        DataError: No such property, not one number per system, or no reference for an element that occurs.
    """
    counts = composition(cache, indices)
    values = _scalar(cache, name)[indices]
    if references is not None:
        used = np.asarray(cache.species)[counts.any(axis=0)].tolist()
        if missing := [chemical_symbols[z] for z in used if z not in references]:
            raise DataError(f"No reference of {name} for {', '.join(missing)}; add it or fit the references.")
        values = values - counts @ np.array([references.get(z, 0.0) for z in cache.species])
    values = values / counts.sum(axis=1)
    return float(values.mean()), float(values.std())


def domain(cache: Cache, indices: np.ndarray, cutoff: float, properties: Iterable[str] = ()) -> dict[str, Any]:
    """Return what a set of systems covers.

    Args:
        cache: The data set.
        indices: ``[m]`` the training systems.
        cutoff: Radius in Å within which distances are looked at.
        properties: Properties whose ranges are wanted.

    Returns:
        JSON-able facts: ``shortest_distance`` (pair of symbols like ``H-C``, the lighter first, to Å),
        ``range`` (property to min, max and unit), ``largest_system`` and ``smallest_system`` (atoms),
        ``composition`` (symbol to the smallest and the largest share of a system's atoms), ``species``.
    """
    indices = np.asarray(indices)
    shortest = np.full((119, 119), np.inf)
    present: set[int] = set()
    for start in range(0, len(indices), BLOCK):
        graph = {k: v.numpy() for k, v in cache.batch(indices[start : start + BLOCK], cutoff).items()}
        i, j = graph["edges"]
        vector = graph["positions"][j] + graph["shifts"] - graph["positions"][i]
        distance = np.sqrt(np.einsum("ek,ek->e", vector, vector))
        pair = graph["numbers"][i] * 119 + graph["numbers"][j]
        order = np.lexsort((distance, pair))
        kinds, first = np.unique(pair[order], return_index=True)
        block = shortest.reshape(-1)
        block[kinds] = np.minimum(block[kinds], distance[order][first])
        present |= set(np.unique(graph["numbers"]).tolist())
    pairs = {
        f"{chemical_symbols[a]}-{chemical_symbols[b]}": float(shortest[a, b])
        for a in sorted(present)
        for b in sorted(present)
        if a <= b and np.isfinite(shortest[a, b])
    }
    ranges = {}
    for name in properties:
        values = cache.values(name)
        if cache.properties[name].per == "system":
            values = values[indices]
        else:
            chosen = np.zeros(len(cache), bool)
            chosen[indices] = True
            values = values[np.repeat(chosen, cache.n_atoms)]
        ranges[name] = {
            "min": float(values.min()),
            "max": float(values.max()),
            "unit": cache.properties[name].unit,
        }
    atoms = cache.n_atoms[indices]
    shares = (composition(cache, indices) / atoms[:, None])[:, np.isin(cache.species, sorted(present))]
    return {
        "composition": {
            chemical_symbols[z]: [float(share.min()), float(share.max())]
            for z, share in zip(sorted(present), shares.T, strict=True)
        },
        "shortest_distance": pairs,
        "range": ranges,
        "largest_system": int(atoms.max()),
        "smallest_system": int(atoms.min()),
        "species": sorted(present),
    }


def _scalar(cache: Cache, name: str) -> np.ndarray:
    values, what = cache.values(name), cache.properties[name]
    if what.per != "system" or what.shape:
        raise DataError(f"{name} is not one number per system, so it has no atomic references or scale.")
    return values
