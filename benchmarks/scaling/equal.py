"""Is the result on a cluster that of one process, however many actors there are? Public votes.

Once more with two actors and the tables of the workers cut into blocks, where a method can.

Methods that draw nothing are compared with the same votes in memory, as `Votes`; those that draw
with one process that holds all buckets: their streams belong to buckets. Compared are posteriors
and confusions after so many sweeps, and of samplers every draw that they keep.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inversion.cells import Key, Row
from benchmarks.scaling.fit import QUIET
from crowdlearn import datasets
from crowdlearn.aggregators import aggregator
from crowdlearn.errors import VotesError
from crowdlearn.output import write_csv
from crowdlearn.shards import code_votes, open_votes
from crowdlearn.shards.votes import METHODS, UNCUT_METHODS
from crowdlearn.simulate import dawid_skene
from crowdlearn.votes import Votes

ACTORS = (1, 2, 4)
WORKER_BLOCKS, CUT = 5, "2, tables cut by workers"
DRAWS = {"n_warmup": 5, "n_draws": 20, "n_chains": 2}
DRAWING = ("ebcc", "bcc-gibbs", "idbla-gibbs", "fixed-idbla-gibbs")


def keys(given: Any) -> list[Key]:
    """A cell a method."""
    return [
        {"set": given.set, "method": method, "sweeps": given.equal_sweeps} for method in METHODS
    ]


def cell(key: Key) -> Row:
    """The largest difference for each number of actors."""
    os.environ.update(QUIET)
    import ray

    warnings.simplefilter("ignore")
    if not ray.is_initialized():
        ray.init(
            num_cpus=max(ACTORS), include_dashboard=False, log_to_driver=False,
            object_store_memory=200 << 20,
        )  # fmt: skip
    gibbs, draws = "gibbs" in key["method"], key["method"] in DRAWING
    settings = DRAWS if gibbs else {"max_sweeps": key["sweeps"], "tolerance": 0.0}
    there = aggregator(key["method"], device="ray", **settings)
    with tempfile.TemporaryDirectory() as folder:
        name, source = public_votes(key["set"])
        write_csv(source.to_table(), Path(folder) / "votes.csv")
        coded = Path(folder) / "coded"
        code_votes(Path(folder) / "votes.csv", coded)
        here = aggregator(key["method"], **settings).fit(open_votes(coded) if draws else source)
        found = {str(n): difference(there.fit(open_votes(coded, n_actors=n)), here) for n in ACTORS}
        if key["method"] not in UNCUT_METHODS:
            votes = open_votes(coded, n_actors=2, worker_blocks=WORKER_BLOCKS)
            found[CUT] = difference(there.fit(votes), here)
    against = "one process" if draws else "votes in memory"
    return {
        "set": name, "votes": source.n_votes, "classes": source.n_classes,
        "against": against, "difference": found,
    }  # fmt: skip


def public_votes(name: str) -> tuple[str, Votes]:
    """A public set, or a world of the size of LabelMe where it is not on this machine."""
    try:
        return name, datasets.load(name)
    except VotesError:
        return "simulated", dawid_skene(1000, 60, 8, seed=0).votes


def difference(one: Any, other: Any) -> float:
    """The largest, of posteriors, confusions and draws; items and workers by their names."""
    gaps = [np.abs(posterior(one) - posterior(other)).max()]
    gaps.append(np.abs(confusion(one) - confusion(other)).max())
    if one.draws is not None:
        mine, theirs = one.draws.to_arrays(), other.draws.to_arrays()
        gaps += [np.abs(mine[n] - theirs[n]).max() for n in mine if mine[n].size]
    return float(max(gaps))


def posterior(fit: Any) -> np.ndarray:
    """Rows in the order of the items' names."""
    table = fit.to_table()
    columns = [table[f"p_{name}"].to_numpy() for name in fit.votes.classes]
    return np.stack(columns, axis=1)[np.argsort(table["task"].to_pylist())]


def confusion(fit: Any) -> np.ndarray:
    """In the order of the workers' names."""
    return np.asarray(fit.confusion)[np.argsort(fit.votes.workers.to_pylist())]


def summary(rows: list[Row]) -> dict[str, Any]:
    """A row a method."""
    import ray

    ray.shutdown()
    return {"set": rows[0]["set"], "sweeps": rows[0]["sweeps"], "table": rows, "largest": max(
        value for row in rows for value in row["difference"].values()
    )}  # fmt: skip
