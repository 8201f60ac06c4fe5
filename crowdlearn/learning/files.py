"""Features of items in an .npz file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from crowdlearn.errors import VotesError
from crowdlearn.votes import Votes


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Features by item name, and test items with their labels where the file has them."""

    path: str
    row_of: dict[str, int]
    features: Float[np.ndarray, "row feature"]
    test_features: Float[np.ndarray, "test feature"] | None
    test_labels: tuple[str, ...]

    def of(self, votes: Votes) -> Float[np.ndarray, "item feature"]:
        """The rows of these items. Raises VotesError for an item that the file does not have."""
        names = [str(name) for name in votes.items.to_pylist()]
        missing = next((name for name in names if name not in self.row_of), None)
        if missing is not None:
            raise VotesError(
                f"{self.path}: item {missing!r} of the votes has no row of features "
                f"({len(self.row_of):,} items have)"
            )
        return self.features[[self.row_of[name] for name in names]]


def read_features(path: str | Path) -> FeatureTable:
    """Read 'features', 'items', 'test_features' and 'test_labels' from an .npz file.

    Without 'items', row i is the item named "i". Raises VotesError naming file and array for
    arrays that are missing or do not fit each other.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError) as error:
        raise VotesError(f"{path}: no .npz file of plain arrays ({error})") from None
    if "features" not in arrays:
        found = ", ".join(arrays) or "nothing"
        raise VotesError(f"{path}: there is no array 'features' (it has {found})")
    features = _table(path, "features", arrays["features"])
    items = arrays.get("items", np.arange(len(features)))
    if items.shape != (len(features),):
        raise VotesError(f"{path}: 'items' has shape {items.shape} for {len(features)} rows")
    names = [str(name) for name in items.tolist()]
    if len(set(names)) < len(names):
        double = next(name for n, name in enumerate(names) if name in names[:n])
        raise VotesError(f"{path}: item {double!r} has two rows of features")
    test, labels = arrays.get("test_features"), arrays.get("test_labels", np.empty(0))
    if (test is None) != ("test_labels" not in arrays) or (
        test is not None and (len(test) != len(labels) or test.shape[1:] != features.shape[1:])
    ):
        raise VotesError(f"{path}: 'test_features' and 'test_labels' do not fit each other")
    return FeatureTable(
        path=str(path),
        row_of={name: row for row, name in enumerate(names)},
        features=features,
        test_features=None if test is None else _table(path, "test_features", test),
        test_labels=tuple(str(label) for label in labels.tolist()),
    )


def _table(path: str | Path, name: str, array: np.ndarray) -> Float[np.ndarray, "row feature"]:
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise VotesError(
            f"{path}: {name!r} has shape {array.shape} and type {array.dtype}, where a table of "
            "numbers is needed, a row an item"
        )
    return np.asarray(array, dtype=np.float64)
