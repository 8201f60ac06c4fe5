"""Twins: workers more alike than the fit allows, and what they do to its posterior.

Null        Given the truth, workers vote independently, each by its confusion matrix. So, given the
            votes of all others on item i, workers a and b say the same with probability

                p[i] = sum over k, c of rest[i, k] confusion[a, k, c] confusion[b, k, c]

            where rest[i] is the posterior of the truth without the votes of a and b: with them, the
            test would ask how alike they are given that they are alike.
Test        The number of items on which a pair agrees is a sum of independent yes or no, with
            chances p[i]: its exact (Poisson binomial) upper tail, or beyond 2,000 common items the
            normal one. Half of the probability of the number seen counts (mid-p). Pairs are judged
            together by Benjamini and Hochberg (1995).
Caveats     Confusions are taken as known. They were learned from the same votes, twins' included: a
            large ring looks right to the fit, and hides a part of its likeness. Methods whose story
            is not one of independent votes (`ebcc`, the IDBLA family) are read by their confusions.
Paper       The model check is the local dependence residual of latent class analysis (Qu, Tan and
            Kutner 1996, Biometrics 52); leaving out the pair, and the rest of the procedure, is
            ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import ndtr

from crowdlearn.aggregation import Aggregation
from crowdlearn.errors import SettingsError
from crowdlearn.evaluation.accuracy import item_log_losses
from crowdlearn.evaluation.agreement import CommonItems, common_items
from crowdlearn.gold import gold_codes
from crowdlearn.votes import Votes

EXACT = 2000  # common items up to which the tail is summed and not approximated
CHUNK = 1 << 22  # array entries held at a time
TINY = 1e-30


@dataclass(frozen=True, eq=False)
class Twins:
    """Every pair of workers with enough items in common, and the groups that twins form.

    `agreed_wrong` counts items on which a pair said the same, each by the probability that this was
    wrong given the votes of all others; the fit expects `expected_wrong`. `p_value` is of `agreed`.
    """

    votes: Votes
    worker_a: Int[np.ndarray, " pair"]
    worker_b: Int[np.ndarray, " pair"]
    n_common: Int[np.ndarray, " pair"]
    agreed: Int[np.ndarray, " pair"]
    expected: Float[np.ndarray, " pair"]
    z: Float[np.ndarray, " pair"]
    agreed_wrong: Float[np.ndarray, " pair"]
    expected_wrong: Float[np.ndarray, " pair"]
    z_wrong: Float[np.ndarray, " pair"]
    p_value: Float[np.ndarray, " pair"]
    found: Bool[np.ndarray, " pair"]
    group: Int[np.ndarray, " worker"]  # number of a worker's group, -1 for a worker without twin
    rate: float  # of false discoveries, at most

    @property
    def n_groups(self) -> int:
        return int(self.group.max(initial=-1)) + 1

    def groups(self) -> list[list[str]]:
        """The names of the workers of each group, largest group first."""
        return [
            [str(self.votes.workers[int(w)].as_py()) for w in np.flatnonzero(self.group == g)]
            for g in range(self.n_groups)
        ]

    def to_table(self) -> pa.Table:
        """One row a pair, least probable first: names, counts, expectations, z, p_value, twins."""
        order = np.lexsort((-self.z, self.p_value))
        names = {
            side: self.votes.workers.take(pa.array(codes[order]))
            for side, codes in (("worker_a", self.worker_a), ("worker_b", self.worker_b))
        }
        numbers = ("n_common", "agreed", "expected", "z", "agreed_wrong", "expected_wrong")
        columns = {name: getattr(self, name)[order] for name in (*numbers, "z_wrong", "p_value")}
        return pa.table(names | columns | {"twins": self.found[order]})


@dataclass(frozen=True)
class TwinsEffect:
    """What changes when each group of twins counts as one worker. Losses are nan without truth."""

    n_groups: int
    n_workers: int  # in groups
    n_votes_before: int
    n_votes_after: int
    n_labels_changed: int
    confidence_before: float  # mean over items
    confidence_after: float
    log_loss_before: float
    log_loss_after: float


def find_twins(fit: Aggregation, *, min_common: int = 10, rate: float = 0.05) -> Twins:
    """Pairs of workers that agree more than the fit expects, at this rate of false discoveries.

    Only pairs with at least `min_common` items in common are looked at; of repeated votes of a
    worker on an item the first counts. Raises SettingsError for a rate outside (0, 1), VotesError
    where more than 2e8 pairs of votes would have to be held.
    """
    if not 0 < rate < 1:
        raise SettingsError(f"rate is {rate!r}: it must lie in (0, 1)")
    pairs = common_items(fit.votes, min_common)
    same = pairs.label_a == pairs.label_b
    chance, wrong, wrong_mean, wrong_square = _expected(fit, pairs)
    n_common = np.diff(pairs.offsets)
    agreed = _by_pair(same.astype(np.float64), pairs).astype(np.int64)
    mean, variance = _by_pair(chance, pairs), _by_pair(chance * (1 - chance), pairs)
    p_value = _tails(agreed, chance, pairs.offsets, mean, variance)
    seen_wrong, expected_wrong = _by_pair(wrong, pairs), _by_pair(wrong_mean, pairs)
    spread = _by_pair(wrong_square - wrong_mean**2, pairs)
    found = discoveries(p_value, rate)
    a, b = np.divmod(pairs.pair, fit.votes.n_workers)
    return Twins(
        votes=fit.votes,
        worker_a=a,
        worker_b=b,
        n_common=n_common,
        agreed=agreed,
        expected=mean,
        z=_z(agreed - mean, variance),
        agreed_wrong=seen_wrong,
        expected_wrong=expected_wrong,
        z_wrong=_z(seen_wrong - expected_wrong, spread),
        p_value=p_value,
        found=found,
        group=_groups(a[found], b[found], fit.votes.n_workers),
        rate=rate,
    )


def twins_effect(
    fit: Aggregation, twins: Twins, method: Any, truth: Int[np.ndarray, " item"] | None = None
) -> tuple[TwinsEffect, Aggregation]:
    """The fit again with each group as one worker, by the same `method` and gold, and how it moved.

    `truth` holds class codes, -1 where unknown.
    """
    once = merged(fit, twins)
    after = method.fit(once, gold=gold_codes(once, fit.gold))
    before_loss, after_loss = (
        math.nan if truth is None else float(item_log_losses(f.posterior, truth).mean())
        for f in (fit, after)
    )
    return TwinsEffect(
        n_groups=twins.n_groups,
        n_workers=int((twins.group >= 0).sum()),
        n_votes_before=fit.votes.n_votes,
        n_votes_after=once.n_votes,
        n_labels_changed=int((fit.labels != after.labels).sum()),
        confidence_before=float(fit.confidence.mean()),
        confidence_after=float(after.confidence.mean()),
        log_loss_before=before_loss,
        log_loss_after=after_loss,
    ), after


def merged(fit: Aggregation, twins: Twins) -> Votes:
    """The votes with each group as one worker, who says once what most of the group say of an item.

    A tie goes to what the most accurate of those who tie says.
    """
    votes = fit.votes
    group = twins.group[votes.worker]
    alone = group < 0
    item, label = votes.item.astype(np.int64), votes.label
    place = np.flatnonzero(~alone)
    cell = (item[place] * max(twins.n_groups, 1) + group[place]) * votes.n_classes + label[place]
    cells, inverse, size = np.unique(cell, return_inverse=True, return_counts=True)
    best = np.full(len(cells), -np.inf)
    np.maximum.at(best, inverse, fit.worker_accuracy.mean[votes.worker[place]])
    order = np.lexsort((-best, -size, cells // votes.n_classes))
    owner, said = np.divmod(cells[order], votes.n_classes)
    _, first = np.unique(owner, return_index=True)
    owner, said = owner[first], said[first]
    names = [str(name) for name in votes.workers.to_pylist()]
    names += ["+".join(members) for members in twins.groups()]
    everyone = Votes.from_codes(
        np.concatenate([item[alone], owner // max(twins.n_groups, 1)]),
        np.concatenate([votes.worker[alone], votes.n_workers + owner % max(twins.n_groups, 1)]),
        np.concatenate([label[alone], said]),
        items=votes.items,
        workers=names,
        classes=votes.classes,
    )
    left = np.concatenate([twins.group < 0, np.ones(twins.n_groups, dtype=bool)])
    return everyone.only_workers(left)


def discoveries(p_value: Float[np.ndarray, " pair"], rate: float) -> Bool[np.ndarray, " pair"]:
    """Which hypotheses Benjamini and Hochberg (1995) reject at this rate of false discoveries."""
    if len(p_value) == 0:
        return np.zeros(0, dtype=bool)
    ranked = np.sort(p_value)
    passed = np.flatnonzero(ranked <= rate * np.arange(1, len(ranked) + 1) / len(ranked))
    return p_value <= (ranked[passed[-1]] if len(passed) else -1.0)


def upper_tail(seen: int, chance: Float[np.ndarray, " trial"]) -> float:
    """P(more than `seen` of independent trials succeed) + P(as many) / 2, exactly."""
    below = np.zeros(len(chance) + 1)
    below[0] = 1.0
    for n, p in enumerate(chance, start=1):
        below[1 : n + 1] = below[1 : n + 1] * (1 - p) + below[:n] * p
        below[0] *= 1 - p
    return float(below[seen + 1 :].sum() + below[seen] / 2)


def _tails(
    agreed: Int[np.ndarray, " pair"],
    chance: Float[np.ndarray, " common"],
    offsets: Int[np.ndarray, " offset"],
    mean: Float[np.ndarray, " pair"],
    variance: Float[np.ndarray, " pair"],
) -> Float[np.ndarray, " pair"]:
    """Mid-p of every pair's agreement: the normal one, and where it is small or at hand the exact.

    A pair of more than EXACT items keeps the normal tail; so does one whose normal tail is above
    one half, of which nothing depends.
    """
    tails = ndtr(-_z(agreed - mean, variance))
    for p in np.flatnonzero((np.diff(offsets) <= EXACT) & (tails <= 0.5)):
        tails[p] = upper_tail(int(agreed[p]), chance[offsets[p] : offsets[p + 1]])
    return tails


def _expected(
    fit: Aggregation, pairs: CommonItems
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For every common item of every pair, under the fit and given all other votes:

    the chance to agree; the chance that what they agree on is wrong, 0 where they do not; the mean
    of that, and of its square.
    """
    size = max(1, CHUNK // fit.votes.n_classes**2)
    evidence = _evidence(fit)
    parts = [
        _expected_of(fit, pairs, evidence, slice(start, start + size))
        for start in range(0, len(pairs.item), size)
    ]
    if not parts:
        return np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0)
    chance, wrong, mean, square = (np.concatenate(part) for part in zip(*parts, strict=True))
    return chance, wrong, mean, square


def _expected_of(
    fit: Aggregation, pairs: CommonItems, evidence: Float[np.ndarray, "item class"], here: slice
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    a, b = (worker[here] for worker in np.divmod(pairs.pair_of, fit.votes.n_workers))
    item, label_a, label_b = pairs.item[here], pairs.label_a[here], pairs.label_b[here]
    of_a, of_b = fit.confusion[a], fit.confusion[b]  # (common, class, label)
    rows = np.arange(len(item))
    rest = evidence[item] - np.log(np.maximum(of_a[rows, :, label_a], TINY))
    rest = rest - np.log(np.maximum(of_b[rows, :, label_b], TINY))
    rest = np.exp(rest - rest.max(axis=1, keepdims=True))
    rest /= rest.sum(axis=1, keepdims=True)
    known = fit.gold[item]
    rest[known >= 0] = np.eye(fit.votes.n_classes)[known[known >= 0]]
    both = np.einsum("vk,vkc,vkc->vc", rest, of_a, of_b)  # chance that both say c
    off = 1 - rest
    wrong = np.where(label_a == label_b, off[rows, label_a], 0.0)
    chance = np.clip(both.sum(axis=1), 0, 1)
    return chance, wrong, (both * off).sum(axis=1), (both * off**2).sum(axis=1)


def _evidence(fit: Aggregation) -> Float[np.ndarray, "item class"]:
    """Log prior plus log probability of all votes of an item, class by class; first votes only."""
    votes = fit.votes
    code = votes.item.astype(np.int64) * votes.n_workers + votes.worker
    _, first = np.unique(code, return_index=True)
    logs = np.log(np.maximum(fit.confusion, TINY))
    sums = np.tile(np.log(np.maximum(fit.prior, TINY)), (votes.n_items, 1))
    item = votes.item[first]
    for k in range(votes.n_classes):
        told = logs[votes.worker[first], k, votes.label[first]]
        sums[:, k] += np.bincount(item, told, votes.n_items)
    return sums


def _by_pair(values: Float[np.ndarray, " common"], pairs: CommonItems) -> np.ndarray:
    return np.add.reduceat(values, pairs.offsets[:-1]) if len(values) else np.zeros(0)


def _z(off: np.ndarray, variance: np.ndarray) -> Float[np.ndarray, " pair"]:
    """Standard deviations from what is expected; 0 where nothing could vary."""
    spread = np.sqrt(np.maximum(variance, 0))
    return np.divide(off, spread, out=np.zeros(len(off)), where=spread > 1e-9)


def _groups(
    a: Int[np.ndarray, " found"], b: Int[np.ndarray, " found"], n_workers: int
) -> Int[np.ndarray, " worker"]:
    """Connected components of the twins, the largest numbered 0; -1 for workers without."""
    links = coo_array((np.ones(len(a)), (a, b)), shape=(n_workers, n_workers))
    _, part = connected_components(links, directed=False)
    size = np.bincount(part, minlength=int(part.max()) + 1)
    order = np.argsort(-size, kind="stable")
    number = np.full(len(size), -1)
    number[order] = np.where(size[order] > 1, np.arange(len(size)), -1)
    return number[part]
