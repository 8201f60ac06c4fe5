"""What deserves a look in a result: contested items, workers at either end, the story in words.

The command line and the report show these; nothing here draws or prints.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int, Int64

from crowdlearn.aggregation import Aggregation
from crowdlearn.errors import VotesError
from crowdlearn.votes import Votes

SURE, UNSURE = 0.95, 0.6
CHUNK = 1 << 20  # items handled at a time: bounds the memory


def contested(fit: Aggregation, n: int) -> Int64[np.ndarray, " found"]:
    """Codes of up to `n` items with votes, least certain label first, then most votes first.

    Gold items are not contested.
    """
    n_votes = fit.votes.votes_per_item
    open_items = np.flatnonzero((fit.gold < 0) & (n_votes > 0))
    confidence = fit.confidence[open_items]
    if len(open_items) > n:
        cut = np.partition(confidence, n - 1)[n - 1]
        keep = confidence <= cut
        open_items, confidence = open_items[keep], confidence[keep]
    order = np.lexsort((-n_votes[open_items], confidence))[:n]
    return open_items[order]


def extreme_workers(fit: Aggregation, n: int) -> Int64[np.ndarray, " found"]:
    """Codes of up to `n` workers, most accurate first: all where they fit, else both ends.

    The good end holds those whose interval starts highest, the bad end those whose interval ends
    lowest: workers of whom we are sure. Workers without votes are left out.
    """
    accuracy = fit.worker_accuracy
    seen = np.flatnonzero(fit.votes.votes_per_worker > 0)
    mean = accuracy.mean[seen]
    if len(seen) > n:
        low = np.where(np.isnan(accuracy.low[seen]), mean, accuracy.low[seen])
        high = np.where(np.isnan(accuracy.high[seen]), mean, accuracy.high[seen])
        best = np.argsort(-low, kind="stable")[: n - n // 2]
        rest = np.setdiff1d(np.arange(len(seen)), best)
        worst = rest[np.argsort(high[rest], kind="stable")[: n // 2]]
        seen = seen[np.concatenate([best, worst])]
        mean = accuracy.mean[seen]
    return seen[np.argsort(-mean, kind="stable")]


def busiest_workers(votes: Votes, n: int) -> Int64[np.ndarray, " found"]:
    """Codes of the `n` workers with most votes, the busiest first; nobody without votes."""
    order = np.argsort(-votes.votes_per_worker, kind="stable")[:n]
    return order[votes.votes_per_worker[order] > 0]


def pooled_confusion(fit: Aggregation) -> Float[np.ndarray, "class class"]:
    """The workers' confusion matrices averaged, each weighing by its number of votes."""
    weight = fit.votes.votes_per_worker / fit.votes.n_votes
    return np.tensordot(weight, fit.confusion, axes=1)


def against_majority(fit: Aggregation) -> int:
    """On how many items the label is not among the classes with most votes."""
    votes = fit.votes
    n_classes, n_other = votes.n_classes, 0
    for start in range(0, votes.n_items, CHUNK):
        offsets = votes.item_offsets[start : start + CHUNK + 1]
        labels = fit.labels[start : start + CHUNK]
        item = np.repeat(np.arange(len(labels)), np.diff(offsets))
        cells = item * n_classes + votes.label[offsets[0] : offsets[-1]]
        counts = np.bincount(cells, minlength=len(labels) * n_classes).reshape(-1, n_classes)
        n_other += int((counts[np.arange(len(labels)), labels] < counts.max(axis=1)).sum())
    return n_other


def first_two(fit: Aggregation, item: int) -> tuple[int, int]:
    """Class codes of an item's label and of its runner-up."""
    answer = int(fit.labels[item])
    others = fit.posterior[item].copy()
    others[answer] = -1
    return answer, int(np.argmax(others))


def vote_share(votes: Votes) -> Float[np.ndarray, " class"]:
    """Share of the votes that each class has."""
    return np.bincount(votes.label, minlength=votes.n_classes) / votes.n_votes


def label_share(fit: Aggregation) -> Float[np.ndarray, " class"]:
    """Share of the labels that each class has."""
    return np.bincount(fit.labels, minlength=fit.votes.n_classes) / len(fit.labels)


def in_words(fit: Aggregation) -> list[str]:
    """The result in a few plain sentences."""
    votes, confidence = fit.votes, fit.confidence
    wrong = float(1 - confidence.mean())
    n_wrong = round(wrong * votes.n_items)
    about = f"about {counted(n_wrong, 'item')}" if n_wrong else "less than one item"
    sentences = [
        f"{counted(votes.n_votes, 'vote')} by {counted(votes.n_workers, 'worker')} on "
        f"{counted(votes.n_items, 'item')} were combined by {fit.method} into labels of "
        f"{votes.n_classes} classes.",
        f"By its own reckoning {wrong:.1%} of the labels are wrong, {about}; methods like this "
        "tend to be too sure of themselves.",
        f"{counted(int((confidence >= SURE).sum()), 'label')} have a probability of at least "
        f"{SURE:.0%}, {int((confidence < UNSURE).sum()):,} of less than {UNSURE:.0%}.",
        f"{counted(against_majority(fit), 'label')} differ from what most voters said.",
    ]
    n_gold = int((fit.gold >= 0).sum())
    if n_gold:
        sentences.append(f"{counted(n_gold, 'item')} had a gold answer, which was kept.")
    return [*sentences, how_it_ended(fit)]


def how_it_ended(fit: Aggregation) -> str:
    """One sentence: did the fit settle, and in what time."""
    sweeps = counted(fit.history.n_sweeps, "sweep")
    if fit.draws is not None:
        n_chains, n_draws = fit.draws.log_density.shape
        drawn = (
            f"{counted(n_chains, 'chain')} of {counted(n_draws, 'draw')} took {fit.seconds:.3g} s"
        )
        if fit.history.stopped:
            return f"{drawn}; sampling was stopped before its end."
        agree = "agree with each other" if fit.history.converged else "do not agree well enough"
        return f"{drawn}; they {agree}."
    if fit.history.stopped:
        return f"The fit was stopped after {sweeps} ({fit.seconds:.3g} s), before it settled."
    if fit.history.converged:
        return f"The fit settled after {sweeps} ({fit.seconds:.3g} s)."
    return f"The fit did not settle within {sweeps} ({fit.seconds:.3g} s)."


def counted(n: int, noun: str) -> str:
    """`counted(1, "item")` is "1 item", `counted(2000, "item")` is "2,000 items"."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def scores(fit: Aggregation, truth: Int[np.ndarray, " item"]) -> dict[str, Any]:
    """How right the fit is where the truth is known, as plain JSON values.

    Gold items are left out: their answer was given. `majority_error` is that of the plain majority
    on the same items. Raises VotesError where no truth is left.
    """
    from crowdlearn.evaluation import accuracy, calibration

    asked = np.where(fit.gold >= 0, -1, truth)
    rows = np.flatnonzero(asked >= 0)
    posterior, codes = fit.posterior[rows], asked[rows]
    if not len(rows):
        raise VotesError("no item with known truth is left to score: all of them are gold items")
    return {
        "n_truth": len(rows),
        "error": accuracy.error(posterior, codes),
        "log_loss": accuracy.log_loss(posterior, codes),
        "brier": accuracy.brier(posterior, codes),
        "ece": calibration.ece(posterior, codes),
        "majority_error": accuracy.error(fit.votes.shares()[rows], codes),
    }


def worker_names(votes: Votes, codes: Int[np.ndarray, " found"]) -> list[str]:
    """The names of these workers as text."""
    return [str(name) for name in votes.workers.take(pa.array(codes)).to_pylist()]


def item_names(votes: Votes, codes: Int[np.ndarray, " found"]) -> list[str]:
    """The names of these items as text."""
    return [str(name) for name in votes.items.take(pa.array(codes)).to_pylist()]


def plain(name: str, width: int = 22) -> str:
    """A name fit for a picture or a terminal: control characters are '·', a long middle '…'."""
    shown = "".join(c if c.isprintable() else "·" for c in name)
    if len(shown) <= width:
        return shown
    return shown[: width - width // 3 - 1] + "…" + shown[-(width // 3) :]
