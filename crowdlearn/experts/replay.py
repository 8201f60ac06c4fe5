"""What would a stopping rule have done? Real votes, shown one at a time as if asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Int64

from crowdlearn.errors import SettingsError
from crowdlearn.evaluation import error, item_errors
from crowdlearn.experts.audit import certified_items
from crowdlearn.experts.stopping import stop_items
from crowdlearn.votes import Votes


@dataclass(frozen=True)
class Replay:
    """Outcome of a replay, of the items that were not audited. Errors are shares of items with
    known truth, ties in parts.

    `stopped_error` is that of the stopped items alone, which the target is about; `expected_error`
    is what the posteriors said it would be; `error` is that of all. Items that used up their votes
    without stopping go to an expert.
    """

    target: float
    n_votes: int
    n_audited: int
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
    n_audited: int = 0,
    first: int = 3,
    seed: int = 0,
) -> Replay:
    """Ask for votes until all items may stop, in the order of a shuffle of the real votes.

    Every item gets `first` votes; then one more each round until it has stopped or all its votes
    are used. One that stopped is opened again where votes on others make it doubtful. `method` is
    an aggregator, fitted each round to all votes seen.

    The rule is `stop_items`; with `n_audited` items that an expert has checked, drawn at random
    among those with truth, it is `certified_items`: one half of the audit says after every round
    who needs more votes, the other half is looked at once, at the end, and says who has stopped.
    So the guarantee holds as it stands, however many rounds there were.
    """
    place = vote_places(votes, seed)
    steer, certify = draw_audit(truth, n_audited, seed)
    free = (steer < 0) & (certify < 0)
    seen, rounds, item = place < first, 0, votes.item
    while True:
        posterior = method.fit(votes_where(votes, seen)).posterior
        stopped = _stopped(posterior, target, steer)
        shown = np.bincount(item[seen], minlength=votes.n_items)
        used_up = shown >= votes.votes_per_item
        rounds += 1
        if np.all(stopped | used_up):
            break
        seen |= (place == shown[item]) & ~stopped[item]
    if n_audited:
        stopped = certified_items(posterior, target, certify, answered=steer >= 0)
    known = stopped & (truth >= 0)
    return Replay(
        target=target,
        n_votes=int(seen.sum()),
        n_audited=int((~free).sum()),
        stopped=float(stopped[free].mean()),
        stopped_error=float(item_errors(posterior[known], truth[known]).mean())
        if known.any()
        else 0.0,
        expected_error=float((1 - posterior[stopped].max(axis=1)).mean()) if stopped.any() else 0.0,
        error=error(posterior[free], truth[free]),
        rounds=rounds,
    )


def draw_audit(
    truth: Int[np.ndarray, " item"], n_audited: int, seed: int
) -> tuple[Int64[np.ndarray, " item"], Int64[np.ndarray, " item"]]:
    """Two audits of half the items each: truth of items drawn at random from those with truth.

    -1 elsewhere. The luck is not that of `vote_places`. Raises SettingsError for more items than
    have truth, or a number below 0.
    """
    known = np.flatnonzero(truth >= 0)
    if not 0 <= n_audited <= len(known):
        raise SettingsError(
            f"n_audited is {n_audited}: from 0 to the {len(known)} items with truth is possible"
        )
    chosen = np.random.default_rng([seed, 1]).choice(known, n_audited, replace=False)
    halves = np.full((2, len(truth)), -1, dtype=np.int64)
    halves[0, chosen[::2]], halves[1, chosen[1::2]] = truth[chosen[::2]], truth[chosen[1::2]]
    return halves[0], halves[1]


def _stopped(posterior: np.ndarray, target: float, audit: np.ndarray) -> np.ndarray:
    """The items that get no vote this round; audited ones stop where their like do."""
    if not (audit >= 0).any():
        return stop_items(posterior, target)
    stopped = certified_items(posterior, target, audit)
    doubt = 1 - posterior.max(axis=1)
    return doubt <= doubt[stopped].max(initial=-1.0)


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
