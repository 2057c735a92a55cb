"""A split is drawn once: the file decides, and a request that differs from it is refused."""

import numpy as np
import pytest

from zoo.data.split import Official, load_split, make_split, save_split, use_split
from zoo_registry.errors import DataError, UsageError


def test_parts_are_disjoint_and_seeded():
    split = make_split(100, 60, 15, seed=3)
    assert split.sizes == {"train": 60, "val": 15, "test": 25}
    assert sorted(np.concatenate([split.train, split.val, split.test])) == list(range(100))
    assert make_split(100, 60, 15, seed=3).sha256 == split.sha256
    assert make_split(100, 60, 15, seed=4).sha256 != split.sha256
    assert make_split(100, 60, 15, 5).sizes["test"] == 5


@pytest.mark.parametrize("sizes", [(0, 10), (90, 11), (10, -1), (50, 20, 31), (50, 20, -1)])
def test_impossible_splits(sizes):
    with pytest.raises(UsageError, match="Cannot split 100 systems"):
        make_split(100, *sizes)


def test_file_is_reused(tmp_path):
    path = tmp_path / "run" / "split.npz"
    first = use_split(path, 100, 60, 15, seed=3, data="abc")
    written = path.read_bytes()
    again = use_split(path, 100, 60, 15, seed=3, data="abc")
    assert path.read_bytes() == written
    assert again.sha256 == first.sha256
    np.testing.assert_array_equal(again.val, first.val)
    assert first.facts == {"seed": 3, "systems": 100, "data": "abc"}
    with np.load(path) as file:
        assert {"train_idx", "val_idx", "test_idx"} <= set(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_train": 61}, "n_train=60, asked for is 61"),
        ({"n_val": 14}, "n_val=15, asked for is 14"),
        ({"n_test": 5}, "n_test=25, asked for is 5"),
        ({"seed": 4}, "seed=3, asked for is 4"),
        ({"systems": 99}, "n_test=25, asked for is 24"),
        ({"data": "other"}, "data=abc, asked for is other"),
    ],
)
def test_another_request_is_refused(tmp_path, change, message):
    request = {"systems": 100, "n_train": 60, "n_val": 15, "seed": 3, "data": "abc"}
    use_split(tmp_path / "s.npz", **request)
    with pytest.raises(DataError, match=message):
        use_split(tmp_path / "s.npz", **{**request, **change})


def test_foreign_split_with_empty_and_scalar_parts(tmp_path):
    np.savez(tmp_path / "empty.npz", train_idx=[5, 1, 2], val_idx=[], test_idx=[])
    assert load_split(tmp_path / "empty.npz").sizes == {"train": 3, "val": 0, "test": 0}
    np.savez(tmp_path / "scalar.npz", train_idx=5, val_idx=[0], test_idx=[1])
    with pytest.raises(DataError, match="must be lists of indices"):
        load_split(tmp_path / "scalar.npz")


def test_foreign_split(tmp_path):
    path = tmp_path / "s.npz"
    np.savez(path, train_idx=[5, 1, 2], val_idx=[0], test_idx=[3, 4])
    assert load_split(path).train.tolist() == [5, 1, 2]
    assert use_split(path, 6, 3, 1).val.tolist() == [0]
    with pytest.raises(DataError, match="names system 5, but there are only 5"):
        use_split(path, 5, 3, 1, 2)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"train_idx": [0, 1], "val_idx": [1], "test_idx": [2]}, "occurs twice"),
        ({"train_idx": [0.5], "val_idx": [1.0], "test_idx": [2.0]}, "lists of indices"),
        ({"train_idx": [-1], "val_idx": [1], "test_idx": [2]}, "lists of indices"),
        ({"train_idx": [0], "val_idx": [1]}, "is not a split"),
    ],
)
def test_bad_files(tmp_path, arrays, message):
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load_split(tmp_path / "s.npz")


def test_changed_or_broken_files(tmp_path):
    path = tmp_path / "s.npz"
    save_split(make_split(10, 5, 2), path)
    with np.load(path) as file:
        content = dict(file)
    content["train_idx"] = content["train_idx"][::-1]
    np.savez(path, **content)
    with pytest.raises(DataError, match="restore the file"):
        load_split(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="is not a split"):
        load_split(path)


OFFICIAL = Official("split-1", {"train": np.arange(20, 50), "test": np.arange(50, 60)})


def test_published_split_without_validation_part():
    split = make_split(100, 25, 5, seed=1, official=OFFICIAL)
    assert split.sizes == {"train": 25, "val": 5, "test": 10}
    assert sorted(np.concatenate([split.train, split.val])) == list(range(20, 50))
    assert sorted(split.test) == list(range(50, 60))
    assert make_split(100, 25, 5, 10, seed=1, official=OFFICIAL).sha256 == split.sha256
    other = make_split(100, 25, 5, seed=2, official=OFFICIAL)
    assert set(other.val) != set(split.val)
    assert other.facts["official"] == "split-1"


def test_published_split_with_validation_part():
    official = Official("within", {"train": np.arange(10), "val": np.arange(10, 20), "test": np.arange(20, 40)})
    split = make_split(50, 8, 4, 6, seed=0, official=official)
    assert split.sizes == {"train": 8, "val": 4, "test": 6}
    for part, indices in official.parts.items():
        assert set(getattr(split, part)) <= set(indices)


@pytest.mark.parametrize("sizes", [(26, 5), (31, 0), (0, 5), (25, -1), (25, 5, 11)])
def test_more_than_was_published(sizes):
    with pytest.raises(UsageError, match="from the split 'split-1', which has 30 for train, 10 for test"):
        make_split(100, *sizes, official=OFFICIAL)


def test_published_and_random_splits_are_not_mixed_up(tmp_path):
    use_split(tmp_path / "a.npz", 100, 25, 5, data="abc", official=OFFICIAL)
    assert use_split(tmp_path / "a.npz", 100, 25, 5, data="abc", official=OFFICIAL).sizes["test"] == 10
    with pytest.raises(DataError, match="official=split-1, asked for is None"):
        use_split(tmp_path / "a.npz", 100, 25, 5, 10, data="abc")
    use_split(tmp_path / "b.npz", 100, 25, 5, 10, data="abc")
    with pytest.raises(DataError, match="official=None, asked for is split-1"):
        use_split(tmp_path / "b.npz", 100, 25, 5, 10, data="abc", official=OFFICIAL)
