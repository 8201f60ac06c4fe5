"""The public sets with known truth, and one way to score any method on them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from crowdlearn import datasets
from crowdlearn.evaluation import brier, ece, error, log_loss
from crowdlearn.votes import Votes

BESIDE = Path(__file__).parents[2] / "shared" / "data" / "crowd"
INDEPENDENT = (
    "bluebird",
    "flowers",
    "rte",
    "temp",
    "wsd",
    "dog",
    "face",
    "web",
    "adult",
    "music",
    "labelme",
    "product",
    "sp",
    "trec",
    "cifar10n",
)
DERIVED = ("adult2", "sp_amt")  # parts of adult and sp: shown, never counted in a mean
SETS = INDEPENDENT + DERIVED


def find_data() -> None:
    """Point CROWDLEARN_DATA at the folder beside the repository, unless it is set already."""
    if BESIDE.is_dir():
        os.environ.setdefault("CROWDLEARN_DATA", str(BESIDE))


def load(name: str) -> tuple[Votes, Int[np.ndarray, " item"]]:
    """Votes of a set, and the truth of its items (-1 where unknown)."""
    votes = datasets.load(name)
    return votes, datasets.load_truth(name, votes)


def scores(
    posterior: Float[np.ndarray, "item class"], truth: Int[np.ndarray, " item"]
) -> dict[str, float | None]:
    """Error with fractional ties, log loss, Brier score and ECE.

    The last three are None where the rows are no distributions (scores below zero, or mere labels).
    """
    known = posterior[truth >= 0]
    soft = np.isfinite(known).all() and known.min() >= -1e-9
    soft = soft and np.allclose(known.sum(axis=1), 1, atol=1e-6)
    soft = soft and not np.isin(known, (0, 1)).all()
    answered: dict[str, float | None] = {"error": error(posterior, truth)}
    for name, score in (("log_loss", log_loss), ("brier", brier), ("ece", ece)):
        answered[name] = score(np.clip(posterior, 0, 1), truth) if soft else None
    return answered


def read_posterior(path: Path, votes: Votes) -> Float[np.ndarray, "item class"]:
    """A peer's table (task, then a column a class) in the order of these votes; nan if left out."""
    table = pq.read_table(path)
    row = pc.index_in(votes.items.cast(pa.string()), table["task"].cast(pa.string()))
    row = pc.fill_null(row, -1).to_numpy(zero_copy_only=False)
    posterior = np.zeros((votes.n_items, votes.n_classes))
    for code, name in enumerate(votes.classes):
        if name in table.column_names:
            posterior[:, code] = table[name].to_numpy()[row]
    posterior[row < 0] = np.nan
    return posterior


def write_for_peers(votes: Votes, path: Path) -> None:
    """The votes as a Parquet file of names, which every peer reads alike."""
    if not path.exists():
        pq.write_table(votes.to_table(), path)


def spread(values: list[float]) -> dict[str, Any]:
    """Mean and standard deviation (None for one value)."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "sd": deviation, "n": len(values)}


def cell(values: list[float], digits: int = 1) -> str:
    """Mean ± standard deviation as a table shows them; "-" for no values."""
    if not values:
        return "-"
    of = spread(values)
    text = f"{of['mean']:.{digits}f}"
    return text if of["sd"] is None else f"{text} ± {of['sd']:.{digits}f}"
