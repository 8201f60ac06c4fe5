"""A batch for the expert without near-copies: what is like an item already chosen can wait."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int64

from crowdlearn.votes import Votes

Likeness = Callable[[int], np.ndarray]  # item -> likeness to every item, 0 to 1


def choose(
    urgency: Float[np.ndarray, " item"], n: int, likeness: Likeness | None = None
) -> Int64[np.ndarray, " chosen"]:
    """The `n` items to ask about, most urgent first; fewer where fewer can be asked.

    An urgency of -inf rules an item out. With `likeness`, the urgency of an item above the least
    urgent one is multiplied by 1 - likeness for every item chosen before it, so that a copy of one
    that is chosen comes last. Of equals the earlier item comes first.
    """
    allowed = np.isfinite(urgency)
    n = min(n, int(allowed.sum()))
    if likeness is None or n == 0:
        return np.argsort(-urgency, kind="stable")[:n].astype(np.int64)
    score = np.where(allowed, urgency - urgency[allowed].min(), -1.0)
    chosen: list[int] = []
    for _ in range(n):
        best = int(np.argmax(score))
        chosen.append(best)
        score = np.where(score > 0, score * (1 - likeness(best)), score)
        score[best] = -1.0
    return np.array(chosen, dtype=np.int64)


def alike_by_votes(votes: Votes) -> Likeness:
    """Likeness by who said what: shared (worker, label) pairs over all pairs of the two items."""
    pair = votes.worker.astype(np.int64) * votes.n_classes + votes.label
    order, item = np.argsort(pair, kind="stable"), votes.item
    offsets = np.searchsorted(pair[order], np.arange(votes.n_workers * votes.n_classes + 1))
    many = votes.votes_per_item

    def likeness(i: int) -> np.ndarray:
        mine = pair[votes.votes_of(i)]
        same = np.concatenate(
            [item[order[offsets[p] : offsets[p + 1]]] for p in mine] or [item[:0]]
        )
        shared = np.bincount(same, minlength=votes.n_items)
        found: np.ndarray = shared / np.maximum(many + many[i] - shared, 1)
        return np.minimum(found, 1.0)

    return likeness


def alike_by_features(features: Float[np.ndarray, "item feature"], scale: float) -> Likeness:
    """exp(-d^2 / 2 scale^2) of the Euclidean distance d of the features."""
    return lambda i: np.exp(-((features - features[i]) ** 2).sum(axis=1) / (2 * scale**2))
