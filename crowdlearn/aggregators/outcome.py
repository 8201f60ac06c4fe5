"""From sums to a result: labels, intervals, plain-worded warnings. Shared by all methods."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
from jaxtyping import Float, Int32
from scipy.optimize import linear_sum_assignment
from scipy.special import betaincinv

from crowdlearn.aggregation import Aggregation, Draws, History, Interval, Outcome
from crowdlearn.aggregators.settings import settings_of
from crowdlearn.errors import ConvergenceWarning
from crowdlearn.predictors import Predictor
from crowdlearn.sweeps.cuts import CutArray, InBlocks
from crowdlearn.sweeps.items import clamped as clamped
from crowdlearn.sweeps.pool import split
from crowdlearn.votes import Votes, VoteSet

WORKERS_AT_ONCE = 1 << 16  # looked at together, so that a conclusion takes little memory
TIE = 1e-9  # probabilities closer than this are a tie


def pick_labels(
    posterior: Float[np.ndarray, "item class"], rng: np.random.Generator
) -> Int32[np.ndarray, " item"]:
    """The most probable class of every item; ties drawn uniformly."""
    labels = posterior.argmax(axis=1).astype(np.int32)
    top = posterior[np.arange(len(labels)), labels]
    tied = np.flatnonzero((posterior >= top[:, None] - TIE).sum(axis=1) > 1)
    noise = rng.random((len(tied), posterior.shape[1]))
    among = posterior[tied] >= top[tied, None] - TIE
    labels[tied] = np.where(among, noise, -1).argmax(axis=1)
    return labels


def beta_interval(
    mean: Float[np.ndarray, " entry"], variance: Float[np.ndarray, " entry"], level: float = 0.9
) -> Interval:
    """Central interval of the Beta distribution with these moments."""
    inside = np.clip(mean, 1e-9, 1 - 1e-9)
    size = np.maximum(inside * (1 - inside) / np.maximum(variance, 1e-18) - 1, 1e-3)
    tail = (1 - level) / 2
    low, high = (betaincinv(inside * size, (1 - inside) * size, q) for q in (tail, 1 - tail))
    return Interval(mean=mean, low=np.minimum(low, mean), high=np.maximum(high, mean), level=level)


def dirichlet_accuracy(
    alpha: Float[np.ndarray, "worker label class"], prior: Float[np.ndarray, " class"]
) -> Interval:
    """Accuracy, on items drawn from `prior`, of workers whose rows are Dirichlet(alpha).

    Mean and variance are exact given the Dirichlets; the interval is the Beta with these moments.
    """
    return beta_interval(*moments(alpha, prior))


def moments(
    alpha: Float[np.ndarray, "worker label class"], prior: Float[np.ndarray, " class"]
) -> tuple[Float[np.ndarray, " worker"], Float[np.ndarray, " worker"]]:
    """Mean and variance of the accuracy of workers whose rows are Dirichlet(alpha)."""
    diagonal = np.einsum("wkk->wk", alpha)
    total = alpha.sum(axis=1)
    mean = diagonal / total
    variance = mean * (1 - mean) / (total + 1)
    return mean @ prior, variance @ prior**2


def accuracy_of(
    counts: Any,
    extra: Float[np.ndarray, "*worker label class"],
    prior: Float[np.ndarray, " class"],
    n_workers: int,
) -> Interval:
    """`dirichlet_accuracy` of a method's counts and what its story adds to each worker's.

    States of a class are added up. Counts may be cut by workers.
    """
    if isinstance(counts, InBlocks):
        found: Interval = counts.accuracy(extra, prior)  # type: ignore[attr-defined]
        return found
    n = len(prior)
    cube = np.asarray(counts).reshape(n_workers, n, n, -1)
    parts = [
        moments(cube[a:b].sum(axis=3) + (extra[a:b] if extra.ndim > 2 else extra), prior)
        for a, b in split(len(cube), len(cube) // WORKERS_AT_ONCE + 1)
    ]
    mean, variance = (np.concatenate(each) for each in zip(*parts, strict=True))
    return beta_interval(mean, variance)


def by_truth(
    table: Any, votes: VoteSet, share: Float[np.ndarray, "class subtype"] | None = None
) -> Any:
    """A flat (worker, label, state) table as confusion[worker, truth, label].

    `share` weighs the subtypes of each class, where states are not the classes themselves. The
    confusion of a table that is cut by workers is a `CutArray`.
    """
    if isinstance(table, InBlocks):
        return table.confusion(share)  # type: ignore[attr-defined]
    n_classes = votes.n_classes
    if share is not None:
        rows = table.reshape(-1, n_classes, *share.shape)
        return np.einsum("wckg,kg->wkc", rows, share, dtype=np.float64)
    cube = table.reshape(votes.n_workers, n_classes, -1)
    return np.ascontiguousarray(cube.transpose(0, 2, 1), dtype=np.float64)


def by_label(table: Any, votes: VoteSet) -> Any:
    """A flat table as predictors hold it, (worker, label, state); a `CutArray` where it is cut."""
    if isinstance(table, InBlocks):
        return table.cube()  # type: ignore[attr-defined]
    return table.reshape(votes.n_workers, votes.n_classes, -1)


def conclude(
    method: Any,
    votes: VoteSet,
    *,
    gold: Any,
    posterior: Any,
    prior: Float[np.ndarray, " class"],
    confusion: Float[np.ndarray, "worker class class"] | CutArray,
    worker_accuracy: Interval,
    history: History,
    predictor: Predictor,
    started: float,
    difficulty: Any = None,
    draws: Draws | None = None,
    sampler: dict[str, np.ndarray] | None = None,
    findings: tuple[str, ...] = (),
) -> Outcome:
    """The result of a fit, its labels picked and its warnings raised as well as kept."""
    found = (*findings, *_convergence(method, history), *_swapped(confusion, votes, prior))
    for text in found:
        warnings.warn(f"{method.name}: {text}", ConvergenceWarning, stacklevel=4)
    shared: dict[str, Any] = {
        "method": method.name, "settings": settings_of(method), "votes": votes,
        "posterior": posterior, "prior": prior, "confusion": confusion,
        "worker_accuracy": worker_accuracy, "history": history, "predictor": predictor,
        "difficulty": difficulty, "draws": draws, "warnings": found,
    }  # fmt: skip
    if not isinstance(votes, Votes):
        return _concluded_in_shards(method, gold, shared, started)
    return Aggregation(
        **shared,
        labels=pick_labels(posterior, np.random.default_rng([method.seed, 1])),
        gold=gold,
        sampler=sampler or {},
        seconds=time.perf_counter() - started,
    )


def _concluded_in_shards(method: Any, gold: Any, shared: dict[str, Any], started: float) -> Any:
    from crowdlearn.shards.result import ShardedAggregation, with_labels

    labels, counts, error = with_labels(shared["posterior"], method.seed)
    return ShardedAggregation(
        **shared, labels=labels, label_counts=counts, expected_error=error, n_gold=len(gold),
        seconds=time.perf_counter() - started,
    )  # fmt: skip


def _convergence(method: Any, history: History) -> tuple[str, ...]:
    if history.converged or history.stopped or not hasattr(method, "max_sweeps"):
        return ()
    return (
        f"not converged after {history.n_sweeps} sweeps: posteriors still move by "
        f"{history.change[-1]:.1e}, the tolerance is {method.tolerance:.1e}; raise max_sweeps",
    )


def _swapped(
    confusion: Float[np.ndarray, "worker class class"] | CutArray,
    votes: VoteSet,
    prior: Float[np.ndarray, " class"],
) -> tuple[str, ...]:
    """Label switching: another naming of the classes fits the votes better than their own."""
    share = votes.votes_per_worker / votes.n_votes
    overlap = prior[:, None] * _mean(share, confusion)  # [truth, label]
    truth, label = linear_sum_assignment(-overlap)
    gain = overlap[truth, label].sum() - np.trace(overlap)
    moved = [(t, c) for t, c in zip(truth, label, strict=True) if t != c]
    if not moved or gain < 0.02:
        return ()
    pairs = ", ".join(f"{votes.classes[t]} is mostly voted {votes.classes[c]}" for t, c in moved)
    return (
        f"classes look swapped ({pairs}): either most workers err the same way, or the fit "
        "is in the wrong optimum; gold answers for a few items settle it",
    )


def _mean(
    share: Float[np.ndarray, " worker"],
    confusion: Float[np.ndarray, "worker class class"] | CutArray,
) -> Float[np.ndarray, "class class"]:
    """The confusion of all workers, each by its share."""
    if isinstance(confusion, np.ndarray):
        return np.einsum("w,wkc->kc", share, confusion)
    cut = confusion.cut
    parts = (
        np.einsum("w,wkc->kc", share[cut.span(k)], rows)
        for k, rows in enumerate(confusion.blocks())
    )
    return np.sum(list(parts), axis=0)
