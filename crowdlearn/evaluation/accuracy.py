"""How right a posterior, its labels and its workers are, where the truth is known.

Truth is an array of class codes with -1 where it is unknown; unknown items are left out everywhere.
The functions that start with `item_` give one number per known item, in item order: paired
comparisons are made of them (`crowdlearn.evaluation.comparison`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int, Int64

from crowdlearn.aggregation import Aggregation
from crowdlearn.errors import VotesError
from crowdlearn.votes import Votes

TIE = 1e-9  # probabilities closer than this to the largest count as equal to it
CLIP = 1e-15  # least probability a logarithm is taken of, as is usual in the crowd literature


@dataclass(frozen=True)
class WorkerAccuracyError:
    """How far estimated worker accuracies are from the share of right votes on known items.

    Both numbers weigh a worker by its votes on known items. The share of right votes is itself
    noisy, so `coverage` falls short of `level` where workers have few such votes.
    """

    mean_absolute: float
    coverage: float  # nan where the method gives no intervals
    level: float
    n_workers: int  # with a vote on a known item
    n_votes: int  # on known items


def item_errors(
    posterior: Float[np.ndarray, "item class"], truth: Int[np.ndarray, " item"]
) -> Float[np.ndarray, " known"]:
    """Chance that the answer is wrong when ties are broken at random: 0, 1, or 1 - 1/k.

    Classes within 1e-9 of the largest probability tie. An item whose truth is among k tied classes
    costs 1 - 1/k. Raises VotesError as `known_rows` does.
    """
    rows, codes = known_rows(posterior, truth)
    tied = rows >= rows.max(axis=1, keepdims=True) - TIE
    return 1 - tied[np.arange(len(codes)), codes] / tied.sum(axis=1)


def item_log_losses(
    posterior: Float[np.ndarray, "item class"], truth: Int[np.ndarray, " item"]
) -> Float[np.ndarray, " known"]:
    """Minus the natural log of the probability of the truth, which is clipped at 1e-15 first."""
    rows, codes = known_rows(posterior, truth)
    return -np.log(np.clip(rows[np.arange(len(codes)), codes], CLIP, 1))


def item_briers(
    posterior: Float[np.ndarray, "item class"], truth: Int[np.ndarray, " item"]
) -> Float[np.ndarray, " known"]:
    """Squared distance of the posterior to the truth's indicator, summed over classes, 0 to 2."""
    rows, codes = known_rows(posterior, truth)
    own = rows[np.arange(len(codes)), codes]
    return (rows**2).sum(axis=1) - own**2 + (1 - own) ** 2


def error(posterior: Float[np.ndarray, "item class"], truth: Int[np.ndarray, " item"]) -> float:
    """Share of known items answered wrongly; ties count fractionally (see `item_errors`)."""
    return float(item_errors(posterior, truth).mean())


def error_of_names(
    items: Sequence[str],
    posterior: Float[np.ndarray, "item class"],
    classes: Sequence[str],
    truths: Mapping[str, str],
) -> float | None:
    """`error` among the items whose name has a true class in `truths`; None where none has."""
    place = {name: k for k, name in enumerate(classes)}
    rows = [(i, place[truths[name]]) for i, name in enumerate(items) if name in truths]
    if not rows:
        return None
    item, label = np.array(rows).T
    return error(posterior[item], label)


def log_loss(posterior: Float[np.ndarray, "item class"], truth: Int[np.ndarray, " item"]) -> float:
    """Mean negative log probability of the truth in nats, probabilities clipped at 1e-15.

    An item that is sure and wrong thus costs 34.5 nats.
    """
    return float(item_log_losses(posterior, truth).mean())


def brier(posterior: Float[np.ndarray, "item class"], truth: Int[np.ndarray, " item"]) -> float:
    """Mean Brier score, summed over classes (Brier 1950): 0 is best, 2 is sure and wrong."""
    return float(item_briers(posterior, truth).mean())


def label_error(labels: Int[np.ndarray, " item"], truth: Int[np.ndarray, " item"]) -> float:
    """Share of known items whose label is not the truth. Raises VotesError where none is known."""
    labels, codes = _known_labels(labels, truth)
    return float((labels != codes).mean())


def confusion_of_labels(
    labels: Int[np.ndarray, " item"], truth: Int[np.ndarray, " item"], n_classes: int
) -> Int64[np.ndarray, "class class"]:
    """How many known items of each truth got each label: `[truth, label]`."""
    labels, codes = _known_labels(labels, truth)
    cells = codes.astype(np.int64) * n_classes + labels
    return np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes)


def per_class(
    labels: Int[np.ndarray, " item"], truth: Int[np.ndarray, " item"], classes: tuple[str, ...]
) -> pa.Table:
    """One row a class: class, precision, recall, f1, support (known items of that class).

    A ratio of nothing is nan: precision of a class never answered, recall of one never true.
    """
    table = confusion_of_labels(labels, truth, len(classes))
    right, answered, support = np.diag(table), table.sum(axis=0), table.sum(axis=1)
    return pa.table(
        {
            "class": pa.array(classes),
            "precision": _ratio(right, answered),
            "recall": _ratio(right, support),
            "f1": _ratio(2 * right, answered + support),
            "support": support,
        }
    )


def worker_accuracy(
    votes: Votes, truth: Int[np.ndarray, " item"]
) -> tuple[Float[np.ndarray, " worker"], Int64[np.ndarray, " worker"]]:
    """Each worker's share of right votes on known items (nan without any), and their number."""
    if len(truth) != votes.n_items:
        raise VotesError(f"truth has {len(truth)} entries, but there are {votes.n_items} items")
    vote_truth = truth[votes.item]
    known = vote_truth >= 0
    worker = votes.worker[known]
    n_known = np.bincount(worker, minlength=votes.n_workers)
    n_right = np.bincount(worker, votes.label[known] == vote_truth[known], votes.n_workers)
    return _ratio(n_right, n_known), n_known


def worker_accuracy_error(
    fit: Aggregation, votes: Votes, truth: Int[np.ndarray, " item"]
) -> WorkerAccuracyError:
    """Compare the fit's worker accuracies with the votes on known items.

    `votes` are those of the fit, or others of the same workers in the same codes. Raises
    VotesError where no vote is on a known item or the workers differ.
    """
    if votes.n_workers != len(fit.worker_accuracy.mean):
        raise VotesError(
            f"the votes have {votes.n_workers} workers, the fit {len(fit.worker_accuracy.mean)}: "
            "give the votes that were fitted"
        )
    share, n_known = worker_accuracy(votes, truth)
    seen = n_known > 0
    if not seen.any():
        raise VotesError("no vote is on an item of known truth: accuracy cannot be compared")
    weight, estimate = n_known[seen], fit.worker_accuracy
    low, high = estimate.low[seen], estimate.high[seen]
    covered = np.where(np.isnan(low), np.nan, (low <= share[seen]) & (share[seen] <= high))
    return WorkerAccuracyError(
        mean_absolute=float(np.average(np.abs(estimate.mean[seen] - share[seen]), weights=weight)),
        coverage=float(np.average(covered, weights=weight)),
        level=estimate.level,
        n_workers=int(seen.sum()),
        n_votes=int(n_known.sum()),
    )


def known_rows(
    posterior: Float[np.ndarray, "item class"], truth: Int[np.ndarray, " item"]
) -> tuple[Float[np.ndarray, "known class"], Int[np.ndarray, " known"]]:
    """The posterior rows and the truth of the items whose truth is known.

    Raises VotesError where none is known, a code is not among the classes, or a row is nan.
    """
    known = truth >= 0
    if not known.any():
        raise VotesError("no item has a known truth: at least one entry must not be -1")
    rows, codes = posterior[known], truth[known]
    if codes.max() >= posterior.shape[1]:
        raise VotesError(
            f"truth of item {int(np.argmax(truth))} is class {codes.max()}, "
            f"but the posterior has {posterior.shape[1]} classes"
        )
    if np.isnan(rows).any():
        item = int(np.flatnonzero(known)[np.isnan(rows).any(axis=1)][0])
        raise VotesError(f"the posterior of item {item} is nan: the fit that made it failed")
    return rows, codes


def _known_labels(labels: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = truth >= 0
    if not known.any():
        raise VotesError("no item has a known truth: at least one entry must not be -1")
    return labels[known], truth[known]


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, nan where whole is zero."""
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
