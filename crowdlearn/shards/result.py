"""What a fit of coded votes returns: parameters here, posteriors where the items are."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from crowdlearn.aggregation import FORMAT, Draws, Fitted, History, Interval
from crowdlearn.output import new_folder
from crowdlearn.predictors import Predictor, to_arrays
from crowdlearn.shards.spread import Spread
from crowdlearn.shards.votes import ShardedVotes
from crowdlearn.sweeps.cuts import CutArray


@dataclass(frozen=True, eq=False)
class ShardedAggregation(Fitted):
    """As `Aggregation`; what has an entry for each item is a `Spread`.

    Where tables are cut by workers, `confusion` is a `CutArray`: `np.asarray` reads all of it.

    label_counts    how many items have each class as their most probable one
    expected_error  mean over items of 1 - the posterior probability of that class
    """

    method: str
    settings: dict[str, Any]
    votes: ShardedVotes
    posterior: Spread
    labels: Spread
    label_counts: Float[np.ndarray, " class"]
    expected_error: float
    prior: Float[np.ndarray, " class"]
    confusion: Float[np.ndarray, "worker class class"] | CutArray
    worker_accuracy: Interval
    history: History
    predictor: Predictor
    n_gold: int
    seconds: float
    difficulty: Spread | None = None
    draws: Draws | None = None
    warnings: tuple[str, ...] = ()

    def tables(self) -> Iterator[pa.Table]:
        """The columns of `Aggregation.to_table`, a bucket at a time, without counts and gold."""
        crew, votes = self.posterior.crew, self.votes
        for bucket in range(votes.n_buckets):
            span = bucket, bucket + 1
            posterior, label = (crew.read(a.name, *span) for a in (self.posterior, self.labels))
            difficulty = None if self.difficulty is None else crew.read(self.difficulty.name, *span)
            yield table_of(votes.item_names(*span), votes.classes, posterior, label, difficulty)

    def to_table(self) -> pa.Table:
        """All of `tables` as one, for results that are not so large after all."""
        return pa.concat_tables(self.tables())

    def workers_table(self) -> pa.Table:
        """One row a worker: n_votes, accuracy with its interval, agreement with the labels."""
        agree = sum(self.labels.crew.call("agreement", [self.labels.ref]))
        n_votes = self.votes.votes_per_worker
        return pa.table(
            {
                "worker": self.votes.workers, "n_votes": n_votes,
                "accuracy": self.worker_accuracy.mean, "accuracy_low": self.worker_accuracy.low,
                "accuracy_high": self.worker_accuracy.high,
                "agreement": agree / np.maximum(n_votes, 1),
            }
        )  # fmt: skip

    def save(self, folder: str | Path) -> None:
        """Write the result to a new folder, whole or not at all.

        posterior/ has a Parquet file a bucket, written where the items are; workers.parquet,
        arrays.npz, predictor.npz and summary.json are those of `Aggregation.save`. Raises
        OutputError if the folder holds something else, or cannot be written.
        """
        with new_folder(folder) as path:
            self.write_into(path)

    def write_into(self, path: Path) -> None:
        """The files of `save`, into an existing folder."""
        (path / "posterior").mkdir()
        difficulty = None if self.difficulty is None else self.difficulty.ref
        args = [self.posterior.ref, self.labels.ref, difficulty, str(path / "posterior")]
        self.posterior.crew.call("write", args)
        pq.write_table(self.workers_table(), path / "workers.parquet")
        accuracy = {f"accuracy_{n}": np.asarray(v) for n, v in vars(self.worker_accuracy).items()}
        arrays = {
            "prior": self.prior, "confusion": self.confusion, "bound": self.history.bound,
            "change": self.history.change, **accuracy,
        }  # fmt: skip
        if self.draws is not None:
            arrays |= self.draws.to_arrays()
        write_arrays(path / "arrays.npz", arrays)
        write_arrays(path / "predictor.npz", to_arrays(self.predictor))
        (path / "summary.json").write_text(json.dumps(self.summary(), indent=1) + "\n")

    def summary(self) -> dict[str, Any]:
        """What a person asks first, as plain JSON values."""
        votes = self.votes
        return {
            "format": FORMAT, "sharded": True, "method": self.method, "settings": self.settings,
            "n_votes": votes.n_votes, "n_items": votes.n_items, "n_workers": votes.n_workers,
            "classes": list(votes.classes), "n_gold": self.n_gold, "prior": self.prior.tolist(),
            "label_counts": self.label_counts.astype(int).tolist(),
            "expected_error": self.expected_error, "converged": self.history.converged,
            "stopped": self.history.stopped, "n_sweeps": self.history.n_sweeps,
            "bound_name": self.history.bound_name, "seconds": self.seconds,
            "warnings": list(self.warnings),
        }  # fmt: skip


def with_labels(posterior: Spread, seed: int) -> tuple[Spread, Float[np.ndarray, " class"], float]:
    """The most probable class of every item, how often each is, and the expected error."""
    found = Spread(posterior.crew, len(posterior))
    parts = posterior.crew.call("labels", [posterior.ref, (seed, 1)], creates=[found.name])
    total = sum(parts[1:], parts[0])
    return found, total[:-1], float(1 - total[-1] / len(posterior))


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """As `np.savez`; arrays that are cut by workers are written a block at a time."""
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                if not isinstance(array, CutArray):
                    np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
                    continue
                head = np.lib.format.dtype_to_descr(array.dtype)
                said = {"descr": head, "fortran_order": False, "shape": array.shape}
                np.lib.format.write_array_header_1_0(file, said)
                for rows in array.blocks():
                    file.write(np.ascontiguousarray(rows).data)


def table_of(
    items: pa.Array,
    classes: tuple[str, ...],
    posterior: Float[np.ndarray, "item class"],
    label: np.ndarray,
    difficulty: np.ndarray | None,
) -> pa.Table:
    """Columns task, label, confidence, difficulty (where there is one) and p_<class>."""
    columns: dict[str, Any] = {
        "task": items,
        "label": pa.array(classes).take(pa.array(label)),
        "confidence": posterior[np.arange(len(label)), label],
    }
    if difficulty is not None:
        columns["difficulty"] = difficulty
    for k, name in enumerate(classes):
        columns[f"p_{name}"] = np.ascontiguousarray(posterior[:, k])
    return pa.table(columns)
