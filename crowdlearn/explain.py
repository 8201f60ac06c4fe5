"""Why an item got its label: every vote's weight, and the least change that flips the answer.

Everything is asked of the fit's predictor, on copies of the item with votes left out or changed, so
it works for any method, and says what that method would answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crowdlearn.aggregation import Aggregation, Explanation, VoteWeight
from crowdlearn.votes import Votes

TINY = 1e-30


def explain(fit: Aggregation, item: int) -> Explanation:
    """Explain the label of the item with this code; see `Aggregation.explain`."""
    votes = fit.votes
    here = votes.votes_of(item)
    worker, label = votes.worker[here], votes.label[here]
    posterior = fit.posterior[item]
    answer = int(fit.labels[item])
    runner_up = int(np.argmax(np.where(np.arange(len(posterior)) == answer, -1, posterior)))

    def log_odds(variants: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        p = np.maximum(fit.predictor.predict(_items(votes, variants)), TINY)
        return np.log(p[:, answer]) - np.log(p[:, runner_up])

    everyone = np.arange(len(worker))
    without = [(np.delete(worker, v), np.delete(label, v)) for v in everyone]
    odds = log_odds([(worker, label), *without])
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

    def smallest_flip(variants: list[tuple[np.ndarray, np.ndarray]]) -> tuple[VoteWeight, ...]:
        if gold or not variants:
            return ()
        answers = np.argmax(fit.predictor.predict(_items(votes, variants)), axis=1)
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
            [(np.delete(worker, order[:n]), np.delete(label, order[:n])) for n in supporters]
        ),
        flip_by_changing=smallest_flip(
            [(worker, _changed(label, order[:n], runner_up)) for n in supporters]
        ),
        gold=gold,
    )


def _changed(label: np.ndarray, where: np.ndarray, to: int) -> np.ndarray:
    copy = label.copy()
    copy[where] = to
    return copy


def _items(votes: Votes, variants: Sequence[tuple[np.ndarray, np.ndarray]]) -> Votes:
    """One item per variant (its workers and labels), coded as in `votes`."""
    sizes = np.array([len(worker) for worker, _ in variants])
    return Votes(
        items=votes.items.slice(0, 0),
        workers=votes.workers,
        classes=votes.classes,
        item_offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        worker=np.concatenate([w for w, _ in variants]).astype(np.int32),
        label=np.concatenate([c for _, c in variants]).astype(np.int32),
    )
