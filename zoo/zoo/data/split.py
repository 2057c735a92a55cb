"""Which systems are for training, validation and test: drawn once from a seed, then kept in a file.

Where a data set was published with splits, the draw is made within them.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data.arrays import unfinished
from zoo_registry.errors import DataError, UsageError

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Split:
    """Three disjoint sets of positions in a cache.

    Attributes:
        train: ``[n_train]`` int64.
        val: ``[n_val]`` int64.
        test: ``[n_test]`` int64.
        facts: What it was made from: ``seed``, ``systems`` and the ``data`` sha256; empty for a foreign file.
    """

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of systems of each part."""
        return {part: len(getattr(self, part)) for part in PARTS}

    @property
    def sha256(self) -> str:
        """Sha256 of the indices, in their order."""
        digest = hashlib.sha256()
        for part in PARTS:
            digest.update(f"{part} {len(getattr(self, part))} ".encode())
            digest.update(getattr(self, part).astype("<i8").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Official:
    """A split that was published with a data set.

    Attributes:
        name: Its name.
        parts: Positions in the cache of ``train`` and ``test``, and of ``val`` where that was published too.
    """

    name: str
    parts: Mapping[str, np.ndarray]

    def draw(self, n_train: int, n_val: int, n_test: int | None, seed: int, facts: Mapping[str, Any]) -> Split:
        """Draw from each part; the validation systems come from the training part where none were published.

        Raises:
            UsageError: More systems than a part has, a negative number, or nothing to train on.
        """
        random = np.random.default_rng(seed)
        train, test = random.permutation(self.parts["train"]), random.permutation(self.parts["test"])
        if "val" in self.parts:
            val = random.permutation(self.parts["val"])
        else:
            train, val = train[:n_train], train[n_train:]
        sizes = {part: len(indices) for part, indices in self.parts.items()}
        wanted = ((n_train, train, 1), (n_val, val, 0), (len(test) if n_test is None else n_test, test, 0))
        if not all(least <= n <= len(part) for n, part, least in wanted):
            raise UsageError(
                f"Cannot take n_train={n_train}, n_val={n_val}, n_test={n_test} from the split {self.name!r}, "
                f"which has {', '.join(f'{n} for {part}' for part, n in sizes.items())}; lower the numbers."
            )
        return Split(train[:n_train], val[:n_val], test[:n_test], {**facts, "official": self.name})


def make_split(
    systems: int,
    n_train: int,
    n_val: int,
    n_test: int | None = None,
    seed: int = 0,
    data: str = "",
    official: Official | None = None,
) -> Split:
    """Draw a split at random.

    Args:
        systems: How many systems there are.
        n_train: Systems to train on.
        n_val: Systems to validate on.
        n_test: Systems to test on; None takes all that are left.
        seed: The same seed gives the same split.
        data: Sha256 of the data set, remembered in the facts.
        official: The published split to draw within, if any.

    Raises:
        UsageError: More systems than there are, a negative number, or nothing to train on.
    """
    facts = {"seed": seed, "systems": systems, "data": data}
    if official is not None:
        return official.draw(n_train, n_val, n_test, seed, facts)
    rest = systems - n_train - n_val
    if n_train < 1 or n_val < 0 or (n_test or 0) < 0 or rest < (n_test or 0):
        wanted = f"n_train={n_train}, n_val={n_val}" + (f", n_test={n_test}" if n_test is not None else "")
        raise UsageError(f"Cannot split {systems} systems into {wanted}; lower the numbers, with n_train >= 1.")
    order = np.random.default_rng(seed).permutation(systems)
    stop = n_train + n_val + (rest if n_test is None else n_test)
    return Split(order[:n_train], order[n_train : n_train + n_val], order[n_train + n_val : stop], facts)


def save_split(split: Split, path: str | Path) -> None:
    """Write ``train_idx``, ``val_idx``, ``test_idx`` and the facts (JSON) as ``.npz``, all or nothing."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = unfinished(path)
    facts = json.dumps({**split.facts, "sha256": split.sha256}, sort_keys=True)
    with open(temporary, "wb") as file:
        np.savez(file, **{f"{part}_idx": getattr(split, part) for part in PARTS}, facts=np.array(facts))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load_split(path: str | Path) -> Split:
    """Read a split; files of other programs that hold the same three arrays are read too.

    Raises:
        DataError: Not such a file, parts that overlap, or indices that were changed since it was written.
    """
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            parts = [np.asarray(file[f"{part}_idx"]) for part in PARTS]
            facts = json.loads(str(file["facts"])) if "facts" in file else {}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a split with train_idx, val_idx and test_idx ({error}).") from None
    if any(part.ndim != 1 for part in parts):
        raise DataError(f"{path}: the three parts must be lists of indices from 0 upwards.")
    parts = [part if part.size else part.astype(np.int64) for part in parts]  # numpy's empty list is of floats
    joined = np.concatenate(parts)
    if not np.issubdtype(joined.dtype, np.integer) or joined.min(initial=0) < 0:
        raise DataError(f"{path}: the three parts must be lists of indices from 0 upwards.")
    if len(np.unique(joined)) != len(joined):
        raise DataError(f"{path}: a system occurs twice in train_idx, val_idx and test_idx; make the split again.")
    written = facts.pop("sha256", None)
    train, val, test = (part.astype(np.int64) for part in parts)
    split = Split(train, val, test, facts)
    if written not in (None, split.sha256):
        raise DataError(f"{path}: indices have sha256 {split.sha256}, written was {written}; restore the file.")
    return split


def use_split(
    path: str | Path,
    systems: int,
    n_train: int,
    n_val: int,
    n_test: int | None = None,
    seed: int = 0,
    data: str = "",
    official: Official | None = None,
) -> Split:
    """Return the split of a file when there is one, otherwise draw it and write the file.

    Args are those of :func:`make_split`.

    Raises:
        DataError: The file's split is not the one that is asked for.
    """
    path = Path(path)
    if not path.exists():
        save_split(make_split(systems, n_train, n_val, n_test, seed, data, official), path)
        return load_split(path)
    split = load_split(path)
    sizes = split.sizes
    have = {"n_train": sizes["train"], "n_val": sizes["val"], "n_test": sizes["test"], **split.facts}
    if split.facts:  # a file of another program does not say
        have.setdefault("official", None)
    want = {
        "n_train": n_train,
        "n_val": n_val,
        "n_test": (systems - n_train - n_val if official is None else len(official.parts["test"]))
        if n_test is None
        else n_test,
        "seed": seed,
        "systems": systems,
        "data": data,
        "official": official and official.name,
    }
    for name, value in want.items():
        if name in have and have[name] != value:
            raise DataError(
                f"{path} has {name}={have[name]}, asked for is {value}; ask for the same or use another file."
            )
    if (last := max(getattr(split, part).max(initial=0) for part in PARTS)) >= systems:
        raise DataError(f"{path} names system {last}, but there are only {systems}.")
    return split
