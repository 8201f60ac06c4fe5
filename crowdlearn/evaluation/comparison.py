"""Which method to trust: every method on the same votes, and how sure the differences are.

Differences are paired: both methods answer the same items, so items are resampled (Efron 1979) and
the mean difference of the per-item losses is taken again and again. The interval is the percentile
interval. It says how the difference would vary with other items, not with other workers.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int

from crowdlearn.aggregation import Aggregation
from crowdlearn.errors import ConvergenceWarning, SettingsError, VotesError
from crowdlearn.evaluation.accuracy import item_briers, item_errors, item_log_losses
from crowdlearn.evaluation.calibration import ece
from crowdlearn.votes import Votes

CHUNK = 4_000_000  # resampled entries held at a time


@dataclass(frozen=True)
class Difference:
    """Mean loss of the first method minus that of the second: negative speaks for the first.

    `flips` is the share of resamples in which the sign is the other one, those without difference
    counting half; it is 0.5 where the methods do not differ at all.
    """

    mean: float
    low: float
    high: float
    flips: float
    level: float
    n_items: int


@dataclass(frozen=True, eq=False)
class Run:
    """One method on one seed; scores are nan and `failed` has the message where it raised."""

    method: str
    seed: int | None  # None: nothing is drawn
    error: float
    log_loss: float
    brier: float
    ece: float
    seconds: float
    n_sweeps: int
    converged: bool
    failed: str | None
    item_error: Float[np.ndarray, " known"]
    item_log_loss: Float[np.ndarray, " known"]


COLUMNS: dict[str, pa.DataType] = {
    "method": pa.string(),
    "seed": pa.int64(),
    "error": pa.float64(),
    "log_loss": pa.float64(),
    "brier": pa.float64(),
    "ece": pa.float64(),
    "seconds": pa.float64(),
    "n_sweeps": pa.int64(),
    "converged": pa.bool_(),
    "failed": pa.string(),
}


def paired_difference(
    first: Float[np.ndarray, " known"],
    second: Float[np.ndarray, " same"],
    *,
    seed: int = 0,
    n_resamples: int = 2000,
    level: float = 0.95,
) -> Difference:
    """Bootstrap over items of the difference of two losses per item (`item_errors` and the like).

    Raises SettingsError for losses of different items, no resamples, or a level outside (0, 1).
    """
    if len(first) != len(second) or len(first) == 0:
        raise SettingsError(
            f"{len(first)} losses against {len(second)}: give the losses of the same known items"
        )
    if n_resamples < 1 or not 0 < level < 1:
        raise SettingsError(
            f"n_resamples is {n_resamples} and level {level}: at least 1, and inside (0, 1)"
        )
    difference = first - second
    mean = float(difference.mean())
    means = _resampled_means(np.random.default_rng(seed), difference, n_resamples)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    other = np.mean(means * np.sign(mean) < 0) + np.mean(means == 0) / 2
    return Difference(
        mean=mean,
        low=float(low),
        high=float(high),
        flips=float(other) if mean else 0.5,
        level=level,
        n_items=len(difference),
    )


def compare(
    votes: Votes,
    truth: Int[np.ndarray, " item"],
    methods: Sequence[str] | None = None,
    seeds: Sequence[int] = (0,),
    on_done: Callable[[Run], None] | None = None,
) -> pa.Table:
    """Run methods (all of AGGREGATORS if None) on every seed; methods that draw nothing run once.

    One row a run: method, seed (null where nothing is drawn), error, log_loss, brier, ece, seconds,
    n_sweeps, converged, failed (null, or why there are no scores). `on_done` gets each Run as it
    ends; keep them for `against_best`. Raises SettingsError for an unknown method before anything
    runs, and VotesError where no truth is known.
    """
    plan = _plan(methods, seeds)
    item_errors(votes.shares(), truth)  # refuses an unusable truth before the first fit
    runs = []
    for name, seed, method in plan:
        runs.append(_run(name, seed, method, votes, truth))
        if on_done is not None:
            on_done(runs[-1])
    return to_table(runs)


def to_table(runs: Sequence[Run]) -> pa.Table:
    """The rows of `compare`."""
    return pa.table(
        {name: pa.array([getattr(r, name) for r in runs], kind) for name, kind in COLUMNS.items()}
    )


def summarise(table: pa.Table) -> pa.Table:
    """One row a method of a `compare` table, the lowest error first and failures last.

    For each score its mean and its spread, the standard deviation over seeds (nan for one run);
    n_runs and n_failed; converged is the share of runs that did.
    """
    rows = [_summary(name, table) for name in dict.fromkeys(table["method"].to_pylist())]
    rows.sort(key=lambda row: (np.isnan(row["error"]), row["error"]))
    return pa.Table.from_pylist(rows)


def against_best(
    runs: Sequence[Run],
    *,
    loss: Callable[[Run], Float[np.ndarray, " known"]] = lambda run: run.item_error,
    seed: int = 0,
    n_resamples: int = 2000,
    level: float = 0.95,
) -> pa.Table:
    """Each method's mean loss minus the best method's, with paired intervals over items.

    Losses are averaged over the seeds of a method first, so the interval is that of its average
    run. One row a method, best first: method, loss, difference, low, high, flips. Methods of which
    a run failed are left out. The best was picked on these items: its lead is a little flattered.
    """
    losses = _mean_losses(runs, loss)
    if not losses:
        raise VotesError("no method finished: there is nothing to compare")
    ranked = sorted(losses, key=lambda name: losses[name].mean())
    best = losses[ranked[0]]
    rows = []
    for name in ranked:
        found = paired_difference(
            losses[name], best, seed=seed, n_resamples=n_resamples, level=level
        )
        rows.append(
            {
                "method": name,
                "loss": float(losses[name].mean()),
                "difference": found.mean,
                "low": found.low,
                "high": found.high,
                "flips": found.flips,
            }
        )
    return pa.Table.from_pylist(rows)


def _plan(methods: Sequence[str] | None, seeds: Sequence[int]) -> list[tuple[str, int | None, Any]]:
    """What to run: name, seed (None where the method draws nothing), and the method."""
    from crowdlearn.aggregators import AGGREGATORS, aggregator

    if not seeds:
        raise SettingsError("seeds is empty: at least one is needed")
    plan: list[tuple[str, int | None, Any]] = []
    for name in AGGREGATORS if methods is None else methods:
        if getattr(AGGREGATORS.get(name), "random", False):
            plan += [(name, int(seed), aggregator(name, seed=int(seed))) for seed in seeds]
        else:
            plan.append((name, None, aggregator(name)))
    return plan


def _run(name: str, seed: int | None, method: Any, votes: Votes, truth: np.ndarray) -> Run:
    """Fit and score; an error of the method becomes its row, so that the others still run."""
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a column says it
            fit = method.fit(votes)
        return _scored(name, seed, fit, truth, time.perf_counter() - start)
    except Exception as error:  # whatever a method raises belongs into the table
        seconds = time.perf_counter() - start
        nan, none = float("nan"), np.empty(0)
        why = f"{type(error).__name__}: {error}"
        return Run(name, seed, nan, nan, nan, nan, seconds, 0, False, why, none, none)


def _scored(
    name: str, seed: int | None, fit: Aggregation, truth: np.ndarray, seconds: float
) -> Run:
    wrong = item_errors(fit.posterior, truth)
    surprise = item_log_losses(fit.posterior, truth)
    return Run(
        method=name,
        seed=seed,
        error=float(wrong.mean()),
        log_loss=float(surprise.mean()),
        brier=float(item_briers(fit.posterior, truth).mean()),
        ece=ece(fit.posterior, truth),
        seconds=seconds,
        n_sweeps=fit.history.n_sweeps,
        converged=fit.history.converged,
        failed=None,
        item_error=wrong,
        item_log_loss=surprise,
    )


def _summary(name: str, table: pa.Table) -> dict[str, Any]:
    mine = table.filter(pc.equal(table["method"], name))
    good = mine.filter(pc.is_null(mine["failed"]))
    row: dict[str, Any] = {"method": name}
    for score in ("error", "log_loss", "brier", "ece", "seconds"):
        values = good[score].to_numpy()
        row[score] = float(values.mean()) if len(values) else float("nan")
        row[f"{score}_spread"] = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    row["n_runs"] = mine.num_rows
    row["n_failed"] = mine.num_rows - good.num_rows
    converged = good["converged"].to_numpy()
    row["converged"] = float(converged.mean()) if len(converged) else float("nan")
    return row


def _mean_losses(
    runs: Sequence[Run], loss: Callable[[Run], np.ndarray]
) -> Mapping[str, Float[np.ndarray, " known"]]:
    """Losses per item of each method, averaged over its runs; without those that failed once."""
    failed = {run.method for run in runs if run.failed is not None}
    by_method: dict[str, list[np.ndarray]] = {}
    for run in runs:
        if run.method not in failed:
            by_method.setdefault(run.method, []).append(loss(run))
    return {name: np.mean(losses, axis=0) for name, losses in by_method.items()}


def _resampled_means(
    rng: np.random.Generator, values: Float[np.ndarray, " known"], n_resamples: int
) -> Float[np.ndarray, " resample"]:
    """Means of as many entries drawn with replacement, in chunks."""
    size = max(1, CHUNK // len(values))
    means = np.empty(n_resamples)
    for start in range(0, n_resamples, size):
        part = means[start : start + size]
        part[:] = values[rng.integers(0, len(values), (len(part), len(values)))].mean(axis=1)
    return means
