"""Why an item got its label: every vote's weight, and the least change that flips the answer.

Everything is asked of the fit's predictor, on copies of the item with votes left out or changed, so
it works for any method, and says what that method would answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crowdlearn.aggregation import Aggregation, Explanation, VoteWeight
from crowdlearn.soft_votes import SoftVotes, with_opinions
from crowdlearn.votes import Votes

TINY = 1e-30

Variant = tuple[np.ndarray, np.ndarray]
"""Which of the item's votes are kept, and which of these are changed to the runner-up."""


def explain(fit: Aggregation, item: int) -> Explanation:
    """Explain the label of the item with this code; see `Aggregation.explain`."""
    votes = fit.votes
    here = votes.votes_of(item)
    worker, label = votes.worker[here], votes.label[here]
    n_votes = len(worker)
    posterior = fit.posterior[item]
    answer = int(fit.labels[item])
    runner_up = int(np.argmax(np.where(np.arange(len(posterior)) == answer, -1, posterior)))

    def log_odds(variants: Sequence[Variant]) -> np.ndarray:
        p = np.maximum(fit.predictor.predict(_items(votes, item, runner_up, variants)), TINY)
        return np.log(p[:, answer]) - np.log(p[:, runner_up])

    everyone, none = np.arange(n_votes), np.zeros(0, dtype=np.int64)
    odds = log_odds([(everyone, none), *((np.delete(everyone, v), none) for v in everyone)])
    weights = odds[0] - odds[1:]
    order = np.argsort(-weights, kind="stable")

    described = tuple(
        VoteWeight(
            worker=str(votes.workers[int(worker[v])].as_py()),
            label=votes.classes[label[v]],
            weight=float(weights[v]),
            worker_accuracy=float(fit.worker_accuracy.mean[worker[v]]),
        )
        for v in everyone
    )
    gold = bool(fit.gold[item] >= 0)

    def smallest_flip(variants: list[Variant]) -> tuple[VoteWeight, ...]:
        if gold or not variants:
            return ()
        read = fit.predictor.predict(_items(votes, item, runner_up, variants))
        answers = np.argmax(read, axis=1)
        flipped = np.flatnonzero(answers != answer)
        return tuple(described[v] for v in order[: flipped[0] + 1]) if len(flipped) else ()

    supporters = [n for n in range(1, len(order) + 1) if weights[order[n - 1]] > 0]
    return Explanation(
        item=str(votes.items[item].as_py()),
        label=votes.classes[answer],
        runner_up=votes.classes[runner_up],
        posterior={c: float(p) for c, p in zip(votes.classes, posterior, strict=True)},
        votes=tuple(described[v] for v in order),
        flip_by_removing=smallest_flip(
            [(np.delete(everyone, order[:n]), none) for n in supporters]
        ),
        flip_by_changing=smallest_flip([(everyone, order[:n]) for n in supporters]),
        gold=gold,
    )


def _items(votes: Votes, item: int, runner_up: int, variants: Sequence[Variant]) -> Votes:
    """One item per variant, coded as in `votes`; what is changed is sure of the runner-up."""
    first = int(votes.item_offsets[item])
    sizes = np.array([len(kept) for kept, _ in variants])
    place = first + np.concatenate([kept for kept, _ in variants]).astype(np.int64)
    changed = np.concatenate([np.isin(kept, changed) for kept, changed in variants])
    plain = Votes(
        items=votes.items.slice(0, 0),
        workers=votes.workers,
        classes=votes.classes,
        item_offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        worker=votes.worker[place],
        label=np.where(changed, runner_up, votes.label[place]).astype(np.int32),
    )
    if not isinstance(votes, SoftVotes):
        return plain
    sure = np.eye(votes.n_classes)[runner_up]
    return with_opinions(plain, np.where(changed[:, None], sure, votes.opinion[place]))
