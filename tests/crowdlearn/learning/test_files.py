"""Features from .npz files: what is read, and what is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from crowdlearn.errors import VotesError
from crowdlearn.learning.files import read_features
from crowdlearn.votes import Votes

X = np.arange(6.0).reshape(3, 2)
VOTES = Votes.from_codes(np.array([0, 1]), np.array([0, 0]), np.array([0, 1]), items=["2", "0"])


def saved(folder: Path, **arrays: np.ndarray) -> Path:
    np.savez(folder / "f.npz", **arrays)
    return folder / "f.npz"


def test_rows_go_by_name(tmp_path: Path) -> None:
    assert_array_equal(read_features(saved(tmp_path, features=X)).of(VOTES), X[[2, 0]])
    named = read_features(saved(tmp_path, features=X, items=np.array(["0", "2", "9"])))
    assert_array_equal(named.of(VOTES), X[[1, 0]])
    assert named.test_features is None


def test_test_items_come_along(tmp_path: Path) -> None:
    table = read_features(
        saved(tmp_path, features=X, test_features=X[:2], test_labels=np.array([3, 4]))
    )
    assert table.test_labels == ("3", "4")
    assert_array_equal(table.test_features, X[:2])


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"x": X}, r"no array 'features' \(it has x\)"),
        ({"features": X[0]}, r"'features' has shape \(2,\)"),
        ({"features": np.array([["a"]])}, "table of numbers"),
        ({"features": X, "items": np.arange(2)}, r"'items' has shape \(2,\) for 3 rows"),
        ({"features": X, "items": np.array([1, 2, 1])}, "item '1' has two rows"),
        ({"features": X, "test_features": X}, "do not fit each other"),
        ({"features": X, "test_features": X, "test_labels": np.arange(2)}, "do not fit"),
        ({"features": X, "test_features": X[:, :1], "test_labels": np.arange(3)}, "do not fit"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, arrays: dict, match: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(VotesError, match=match) as error:
        read_features(saved(tmp_path, **arrays))
    assert "f.npz" in str(error.value)


def test_no_file_and_no_row_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VotesError, match=r"none.npz: no .npz file"):
        read_features(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(VotesError, match="no .npz file"):
        read_features(tmp_path / "text.npz")
    table = read_features(saved(tmp_path, features=X[:2]))
    with pytest.raises(VotesError, match="item '2' of the votes has no row of features"):
        table.of(VOTES)
