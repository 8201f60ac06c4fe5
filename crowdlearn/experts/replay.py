"""What would a stopping rule have done? Real votes, shown one at a time as if asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Int64

from crowdlearn.evaluation import error, item_errors
from crowdlearn.experts.stopping import stop_items
from crowdlearn.votes import Votes


@dataclass(frozen=True)
class Replay:
    """Outcome of a replay. Errors are shares of items with known truth, ties in parts.

    `stopped_error` is that of the stopped items alone, which the target is about; `expected_error`
    is what the posteriors said it would be. Items that used up their votes go to an expert.
    """

    target: float
    n_votes: int
    stopped: float  # share of items
    stopped_error: float
    expected_error: float
    error: float
    rounds: int


def simulate_redundancy(
    votes: Votes,
    truth: Int[np.ndarray, " item"],
    method: Any,
    target: float,
    *,
    first: int = 3,
    seed: int = 0,
) -> Replay:
    """Ask for votes until `stop_items` is content, in the order of a shuffle of the real votes.

    Every item gets `first` votes; then one more each round until it has stopped or all its votes
    are used. One that stopped is opened again where votes on others make it doubtful. `method` is
    an aggregator, fitted each round to all votes seen.
    """
    place = vote_places(votes, seed)
    seen, rounds, item = place < first, 0, votes.item
    while True:
        posterior = method.fit(votes_where(votes, seen)).posterior
        stopped = stop_items(posterior, target)
        shown = np.bincount(item[seen], minlength=votes.n_items)
        used_up = shown >= votes.votes_per_item
        rounds += 1
        if np.all(stopped | used_up):
            break
        seen |= (place == shown[item]) & ~stopped[item]
    known = stopped & (truth >= 0)
    return Replay(
        target=target,
        n_votes=int(seen.sum()),
        stopped=float(stopped.mean()),
        stopped_error=float(item_errors(posterior[known], truth[known]).mean())
        if known.any()
        else 0.0,
        expected_error=float((1 - posterior[stopped].max(axis=1)).mean()) if stopped.any() else 0.0,
        error=error(posterior, truth),
        rounds=rounds,
    )


def fixed_redundancy(
    votes: Votes, truth: Int[np.ndarray, " item"], method: Any, n_votes: int, *, seed: int = 0
) -> tuple[int, float]:
    """Votes used and error where every item gets its first `n_votes` votes of the same shuffle."""
    seen = vote_places(votes, seed) < n_votes
    return int(seen.sum()), error(method.fit(votes_where(votes, seen)).posterior, truth)


def vote_places(votes: Votes, seed: int) -> Int64[np.ndarray, " vote"]:
    """The place of every vote among those of its item, in random order."""
    luck: Float[np.ndarray, " vote"] = np.random.default_rng(seed).random(votes.n_votes)
    order = np.lexsort((luck, votes.item))
    place = np.empty(votes.n_votes, dtype=np.int64)
    place[order] = np.arange(votes.n_votes) - votes.item_offsets[votes.item]
    return place


def votes_where(votes: Votes, keep: Bool[np.ndarray, " vote"]) -> Votes:
    """These votes alone; items, workers and classes are all."""
    return Votes.from_codes(
        votes.item[keep], votes.worker[keep], votes.label[keep],
        items=votes.items, workers=votes.workers, classes=votes.classes,
    )  # fmt: skip
