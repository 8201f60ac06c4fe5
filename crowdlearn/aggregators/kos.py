"""KOS: messages between items and workers, for two classes.

Story       A worker's reliability is 2 * (probability of a right vote) - 1. With classes as -1 and
            +1, vote times truth is the reliability in the mean, whatever the item.
Inference   Every vote carries two messages. The item tells the worker the sum of the other votes on
            it, each times its worker's word; the worker tells the item how its other votes agree
            with what their items said. After `n_rounds` the answer is the sign of the item's sum.
            A power iteration for the leading singular vectors, an item's own echo left out.
Paper       Karger, Oh and Shah (2011), Iterative learning for reliable crowdsourcing systems, NIPS.
Departures  The workers' messages are scaled to mean square one in each round, which no answer
            feels; the paper lets them grow. A gold item tells its workers its answer as loudly as a
            unanimous item of as many votes. The paper gives no probabilities: here the messages are
            put on the scale of reliabilities by least squares, vote times answer against message,
            and an item's log odds are twice its sum on that scale.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int32
from scipy.special import expit

from crowdlearn.aggregation import Aggregation, History, OnSweep, Sweep
from crowdlearn.aggregators.coins import conclude_coins
from crowdlearn.aggregators.outcome import clamped
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.errors import VotesError
from crowdlearn.gold import gold_codes
from crowdlearn.votes import Votes

TINY = 1e-30


@dataclass(frozen=True, kw_only=True)
class Kos:
    """Settings of KOS, for votes of two classes."""

    name: ClassVar[str] = "kos"
    random: ClassVar[bool] = True
    n_classes: ClassVar[int] = 2

    n_rounds: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(
        self, votes: Votes, *, gold: Any = None, on_sweep: OnSweep | None = None
    ) -> Aggregation:
        """Answers and, on our scale, their probabilities; see `Aggregation`.

        Raises VotesError for votes of more than two classes.
        """
        started = time.perf_counter()
        refuse_more_classes(votes)
        known = gold_codes(votes, gold)
        sign = 2.0 * votes.label - 1
        rng = np.random.default_rng(self.seed)
        words = rng.normal(1.0, 1.0, votes.n_votes)  # from each vote's worker to its item
        odds, spoken = log_odds(votes, sign, words), np.zeros(votes.n_workers)
        changes: list[float] = []
        findings: tuple[str, ...] = ()
        stopped = False
        while len(changes) < self.n_rounds and not stopped:
            said, totals = exchange(votes, sign, words, known)
            size = math.sqrt((said**2).mean())
            if size == 0:
                findings = (DIED_OUT.format(len(changes) + 1),)
                break
            words, spoken = said / size, totals / size
            before, odds = odds, log_odds(votes, sign, words)
            changes.append(float(np.abs(expit(odds) - expit(before)).max()))
            if on_sweep is not None:
                sweep = Sweep(len(changes), self.n_rounds, changes[-1], math.nan)
                stopped = bool(on_sweep(sweep))
        return conclude_coins(
            self,
            votes,
            known,
            clamped(np.stack([expit(-odds), expit(odds)], axis=1), known),
            expit(2 * scale(votes, sign, words) * spoken),
            _history(changes or [math.nan], stopped),
            started,
            findings,
        )


DIED_OUT = (
    "the messages died out in round {}: votes that share so few items and workers carry no "
    "further; the answers are those of the round before"
)


def refuse_more_classes(votes: Votes) -> None:
    """Raises VotesError unless there are two classes."""
    if votes.n_classes != 2:
        raise VotesError(
            f"kos is for two classes, and these votes have {votes.n_classes} "
            f"({', '.join(votes.classes[:5])}{', ...' if votes.n_classes > 5 else ''}): "
            "take another method, or ask one class at a time"
        )


def exchange(
    votes: Votes,
    sign: Float[np.ndarray, " vote"],
    words: Float[np.ndarray, " vote"],
    gold: Int32[np.ndarray, " item"],
) -> tuple[Float[np.ndarray, " vote"], Float[np.ndarray, " worker"]]:
    """One round, from the words that each vote's worker sent to its item to the next such words.

    The item answers with the sum of sign times words over its other votes, or with its gold answer.
    The worker's new words to an item sum sign times answer over the worker's other votes; the sum
    over all of them comes second.
    """
    item = votes.item
    terms = sign * words
    answers = np.bincount(item, terms, minlength=votes.n_items)[item] - terms
    truth = (2.0 * gold - 1) * votes.votes_per_item
    agreed = sign * np.where(gold[item] >= 0, truth[item], answers)
    totals = np.bincount(votes.worker, agreed, minlength=votes.n_workers)
    return totals[votes.worker] - agreed, totals


def scale(
    votes: Votes, sign: Float[np.ndarray, " vote"], words: Float[np.ndarray, " vote"]
) -> float:
    """Reliability for a message of one: least squares of vote times answer on the messages."""
    sums = np.bincount(votes.item, sign * words, minlength=votes.n_items)
    return float(np.abs(sums).sum() / max((words**2).sum(), TINY))


def log_odds(
    votes: Votes, sign: Float[np.ndarray, " vote"], words: Float[np.ndarray, " vote"]
) -> Float[np.ndarray, " item"]:
    """Log odds of the second class, with the sign of the item's sum of messages.

    A vote of reliability q has log odds 2 artanh(q), which is 2 q where q is small.
    """
    sums = np.bincount(votes.item, sign * words, minlength=votes.n_items)
    return 2 * scale(votes, sign, words) * sums


def _history(changes: list[float], stopped: bool) -> History:
    return History(
        bound=np.full(len(changes), math.nan),
        change=np.array(changes),
        bound_name="none",
        converged=not stopped,
        stopped=stopped,
    )
