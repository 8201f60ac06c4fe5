"""Do the workers agree more than chance would have them? Alpha, kappas and plain shares.

Everything is computed from how many votes each item has for each class; no table of items by
workers is ever made. Items with a single vote say nothing about agreement and are left out.

Papers      Krippendorff (2011), "Computing Krippendorff's alpha-reliability"; Fleiss (1971);
            Cohen (1960).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int32, Int64

from crowdlearn.errors import SettingsError, VotesError
from crowdlearn.votes import Votes

CHUNK = 4_000_000  # array entries held at a time
MAX_PAIRS = 200_000_000  # pairs of votes on the same item that `cohen_kappas` is ready to hold

Level = Literal["nominal", "ordinal", "interval"]
"""What the classes are: names, ranks, or numbers 0, 1, 2, ... in the order of `votes.classes`."""


@dataclass(frozen=True)
class Alpha:
    """Krippendorff's alpha with a percentile interval from resampled items.

    1 is perfect agreement, 0 what chance gives; nan where all votes say the same.
    """

    alpha: float
    low: float
    high: float
    interval: float  # probability the interval holds
    level: str  # of measurement
    n_items: int  # with at least two votes


@dataclass(frozen=True)
class FleissKappa:
    """Fleiss' kappa on the items that have exactly `n_votes` votes, the most frequent number."""

    kappa: float
    n_items: int
    n_left_out: int  # items with votes, but of another number
    n_votes: int


def krippendorff_alpha(
    votes: Votes,
    level: Level = "nominal",
    *,
    interval: float = 0.95,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Alpha:
    """Krippendorff's alpha, for any number of votes an item, with a bootstrap interval over items.

    Raises VotesError where no item has two votes, SettingsError for an interval outside (0, 1).
    """
    if not 0 < interval < 1 or n_resamples < 1:
        raise SettingsError(
            f"interval is {interval} and n_resamples {n_resamples}: inside (0, 1), and at least 1"
        )
    counts = _pairable(votes)
    rows, repeats = np.unique(counts, axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    resampled = _resampled_alphas(rng, rows, repeats, level, n_resamples)
    defined = resampled[~np.isnan(resampled)]
    tails = [(1 - interval) / 2, (1 + interval) / 2]
    low, high = np.quantile(defined, tails) if len(defined) else (np.nan, np.nan)
    return Alpha(
        alpha=_point_alpha(counts, rows, repeats, level),
        low=float(low),
        high=float(high),
        interval=interval,
        level=level,
        n_items=len(counts),
    )


def fleiss_kappa(votes: Votes) -> FleissKappa:
    """Fleiss' kappa of the items that have the most frequent number of votes, two or more.

    Its formula wants equally many votes an item. Needs statsmodels (extra `agreement`). Raises
    VotesError where no item has two votes.
    """
    try:
        from statsmodels.stats.inter_rater import fleiss_kappa as kappa_of
    except ImportError as error:
        raise ImportError(
            "Fleiss' kappa needs statsmodels: pip install 'crowdlearn[agreement]'"
        ) from error
    counts = _pairable(votes)
    totals = counts.sum(axis=1).astype(np.int64)
    modal = int(np.argmax(np.bincount(totals)))
    used = counts[totals == modal]
    one_class = np.count_nonzero(used.sum(axis=0)) < 2  # 0/0
    return FleissKappa(
        kappa=float("nan") if one_class else float(kappa_of(used, method="fleiss")),
        n_items=len(used),
        n_left_out=int((votes.votes_per_item > 0).sum()) - len(used),
        n_votes=modal,
    )


def cohen_kappas(votes: Votes, *, min_common: int = 10, max_pairs: int = 1000) -> pa.Table:
    """Cohen's kappa of the pairs of workers with at least `min_common` items in common.

    One row a pair, most common items first, at most `max_pairs`: worker_a, worker_b, n_common,
    agreement (share of equal labels), kappa (nan where both always say the same one class). Of
    repeated votes of a worker on an item the first counts. Needs scikit-learn (extra `agreement`).
    Raises VotesError where more than 2e8 pairs of votes would have to be held.
    """
    try:
        from sklearn.metrics import cohen_kappa_score
    except ImportError as error:
        raise ImportError(
            "Cohen's kappa needs scikit-learn: pip install 'crowdlearn[agreement]'"
        ) from error
    pairs = common_items(votes, min_common)
    label_a, label_b, offsets = pairs.label_a, pairs.label_b, pairs.offsets
    sizes = np.diff(offsets)
    ranked = np.argsort(-sizes, kind="stable")[:max_pairs]
    kappas, equal = [], []
    for p in ranked:
        a, b = label_a[offsets[p] : offsets[p + 1]], label_b[offsets[p] : offsets[p + 1]]
        equal.append(float((a == b).mean()))
        constant = (a == a[0]).all() and (b == a[0]).all()
        kappas.append(float("nan") if constant else float(cohen_kappa_score(a, b)))
    worker_a, worker_b = np.divmod(pairs.pair[ranked], votes.n_workers)
    return pa.table(
        {
            "worker_a": votes.workers.take(pa.array(worker_a)),
            "worker_b": votes.workers.take(pa.array(worker_b)),
            "n_common": sizes[ranked],
            "agreement": pa.array(equal, pa.float64()),
            "kappa": pa.array(kappas, pa.float64()),
        }
    )


def percent_agreement(votes: Votes) -> float:
    """Share of equal labels among all pairs of votes on the same item, in [0, 1]."""
    counts = _pairable(votes)
    totals = counts.sum(axis=1)
    return float((counts * (counts - 1)).sum() / (totals * (totals - 1)).sum())


def class_agreement(votes: Votes) -> pa.Table:
    """One row a class: class, share (of all votes), agreement.

    `agreement` is the chance that a second vote on the item says the class too, given that one does
    (the specific agreement of Fleiss, Levin and Paik 2003); nan for a class nobody chose.
    """
    counts = _pairable(votes)
    others = counts.sum(axis=1, keepdims=True) - 1
    equal, pairs = (counts * (counts - 1)).sum(axis=0), (counts * others).sum(axis=0)
    return pa.table(
        {
            "class": pa.array(votes.classes),
            "share": np.bincount(votes.label, minlength=votes.n_classes) / votes.n_votes,
            "agreement": np.divide(equal, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0),
        }
    )


def _pairable(votes: Votes) -> Float[np.ndarray, "pairable class"]:
    """Vote counts of the items with at least two votes."""
    counts = votes.counts()
    counts = counts[counts.sum(axis=1) >= 2]
    if len(counts) == 0:
        raise VotesError("no item has two votes: agreement needs at least one such item")
    return counts


def _point_alpha(
    counts: Float[np.ndarray, "pairable class"],
    rows: Float[np.ndarray, "row class"],
    repeats: Int64[np.ndarray, " row"],
    level: Level,
) -> float:
    """Alpha of all items, by the krippendorff package wherever that fits into memory.

    The package holds several arrays (item, class, class); past 10^7 entries our own sum over
    distinct rows takes over, which gives the same number.
    """
    import krippendorff

    if np.count_nonzero(counts.sum(axis=0)) < 2:
        return float("nan")
    if counts.shape[0] * counts.shape[1] ** 2 <= 10_000_000:
        return float(krippendorff.alpha(value_counts=counts, level_of_measurement=level))
    return float(_alphas(_coincidences(rows, repeats[None].astype(np.float64)), level)[0])


def _resampled_alphas(
    rng: np.random.Generator,
    rows: Float[np.ndarray, "row class"],
    repeats: Int64[np.ndarray, " row"],
    level: Level,
    n_resamples: int,
) -> Float[np.ndarray, " resample"]:
    """Alphas of resampled items. Equal items are one row, drawn multinomially: exact, and fast."""
    n_items, size = int(repeats.sum()), max(1, CHUNK // rows.size)
    parts = []
    for start in range(0, n_resamples, size):
        n_here = min(size, n_resamples - start)
        weights = rng.multinomial(n_items, repeats / n_items, n_here).astype(np.float64)
        parts.append(_alphas(_coincidences(rows, weights), level))
    return np.concatenate(parts)


def _coincidences(
    rows: Float[np.ndarray, "row class"], weights: Float[np.ndarray, "resample row"]
) -> Float[np.ndarray, "resample class class"]:
    """Coincidence matrices of the items, `rows` counted `weights` times."""
    scaled = weights / (rows.sum(axis=1) - 1)
    pairs = (scaled[:, None, :] * rows.T) @ rows
    diagonal = np.arange(rows.shape[1])
    pairs[:, diagonal, diagonal] -= scaled @ rows
    return pairs


def _alphas(
    coincidences: Float[np.ndarray, "resample class class"], level: Level
) -> Float[np.ndarray, " resample"]:
    """1 - observed / expected disagreement; nan where none is expected."""
    totals = coincidences.sum(axis=2)
    distance = _distances(totals, level)
    observed = (coincidences * distance).sum(axis=(1, 2))
    expected = np.einsum("rc,rk,rck->r", totals, totals, distance) / (totals.sum(axis=1) - 1)
    ratio = np.full(len(observed), np.nan)
    np.divide(observed, expected, out=ratio, where=expected > 0)
    return 1 - ratio


def _distances(
    totals: Float[np.ndarray, "resample class"], level: Level
) -> Float[np.ndarray, "resample class class"]:
    """Squared difference of every two classes; of ranks, it depends on the totals."""
    n_resamples, n_classes = totals.shape
    if level == "nominal":
        squared = 1 - np.eye(n_classes)
    elif level == "interval":
        squared = np.subtract.outer(np.arange(n_classes), np.arange(n_classes)) ** 2.0
    elif level == "ordinal":
        middle = np.cumsum(totals, axis=1) - totals / 2  # ranks, as far as differences go
        return (middle[:, :, None] - middle[:, None, :]) ** 2
    else:
        raise SettingsError(f"level is {level!r}: nominal, ordinal or interval is possible")
    return np.broadcast_to(squared, (n_resamples, n_classes, n_classes))


@dataclass(frozen=True, eq=False)
class CommonItems:
    """Pairs of workers with their items in common, pair by pair; see `common_items`."""

    pair: Int64[np.ndarray, " pair"]  # a x n_workers + b, a < b
    offsets: Int64[np.ndarray, " offset"]  # where each pair's items begin
    item: Int64[np.ndarray, " common"]
    label_a: Int32[np.ndarray, " common"]
    label_b: Int32[np.ndarray, " common"]

    @property
    def pair_of(self) -> Int64[np.ndarray, " common"]:
        """The pair that each common item belongs to."""
        return np.repeat(self.pair, np.diff(self.offsets))


def common_items(votes: Votes, min_common: int) -> CommonItems:
    """The pairs of workers with at least `min_common` items in common.

    Of repeated votes of a worker on an item the first counts. Raises VotesError where more than 2e8
    pairs of votes would have to be held, SettingsError for `min_common` below 1.
    """
    item, worker, label = _first_votes(votes, min_common)
    sizes = np.bincount(item, minlength=votes.n_items)
    n_pairs = int((sizes * (sizes - 1) // 2).sum())
    if n_pairs > MAX_PAIRS:
        raise VotesError(
            f"{n_pairs:,} pairs of votes share an item, more than {MAX_PAIRS:,}: "
            "take a sample of the items with votes.only_items"
        )
    starts, firsts, seconds = np.cumsum(sizes) - sizes, [], []
    for size in np.unique(sizes[sizes >= 2]):
        a, b = np.triu_indices(size, 1)
        begin = starts[sizes == size][:, None]
        firsts.append((begin + a).ravel())
        seconds.append((begin + b).ravel())
    first = np.concatenate(firsts) if firsts else np.empty(0, dtype=np.int64)
    second = np.concatenate(seconds) if seconds else np.empty(0, dtype=np.int64)
    code = worker[first].astype(np.int64) * votes.n_workers + worker[second]
    order = np.argsort(code, kind="stable")
    pair, n_common = np.unique(code[order], return_counts=True)
    common = np.repeat(n_common >= min_common, n_common)
    first, second = first[order][common], second[order][common]
    offsets = np.concatenate([[0], np.cumsum(n_common[n_common >= min_common])])
    return CommonItems(
        pair=pair[n_common >= min_common],
        offsets=offsets.astype(np.int64),
        item=item[first],
        label_a=label[first],
        label_b=label[second],
    )


def _first_votes(votes: Votes, min_common: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Item, worker, label of the first vote of each worker on each item, by item then worker.

    Workers with fewer than `min_common` votes cannot have that many items in common; they are left
    out.
    """
    if min_common < 1:
        raise SettingsError(f"min_common is {min_common}: at least 1 is needed")
    busy = np.flatnonzero(votes.votes_per_worker[votes.worker] >= min_common)
    code = votes.item[busy].astype(np.int64) * votes.n_workers + votes.worker[busy]
    code, place = np.unique(code, return_index=True)
    item, worker = np.divmod(code, votes.n_workers)
    return item, worker, votes.label[busy][place]
