"""Sections of the report about the workers: ranking, confusion matrices, agreement."""

from __future__ import annotations

import numpy as np

from crowdlearn import plots
from crowdlearn.aggregation import Aggregation, Interval
from crowdlearn.highlights import (
    busiest_workers,
    extreme_workers,
    plain,
    pooled_confusion,
    worker_names,
)
from crowdlearn.report.blocks import (
    Note,
    Section,
    Table,
    number,
    picture,
)
from crowdlearn.votes import Votes

MAX_WORKERS, MAX_MATRICES, MAX_CLASSES, MAX_LETTERS = 50, 8, 30, 160
MAX_AGREEMENT_ITEMS, N_RESAMPLES = 20_000, 400


def workers(fit: Aggregation) -> Section:
    """Workers by estimated accuracy, with intervals."""
    shown = extreme_workers(fit, MAX_WORKERS)
    names = [plain(name, MAX_LETTERS) for name in worker_names(fit.votes, shown)]
    all_of = fit.worker_accuracy
    accuracy = Interval(all_of.mean[shown], all_of.low[shown], all_of.high[shown], all_of.level)
    drawn, (ax,) = plots.figure(7, plots.size_of_ranking(len(shown)))
    plots.worker_ranking(ax, names, accuracy, float(fit.prior.max()))
    agreed = _agreement_with_labels(fit)
    rows = [
        (
            name,
            f"{fit.votes.votes_per_worker[w]:,}",
            number(float(all_of.mean[w])),
            f"{number(float(all_of.low[w]))} to {number(float(all_of.high[w]))}",
            f"{agreed[w]:.1%}",
        )
        for w, name in zip(shown, names, strict=True)
    ]
    n_seen = int((fit.votes.votes_per_worker > 0).sum())
    some = f" Shown are {len(shown)} of {n_seen:,}: the surest at either end."
    return Section(
        "workers",
        "Workers",
        "How probably a worker's vote is right, on an item drawn by the prior. A short bar is a "
        "worker of whom much is known." + (some if n_seen > len(shown) else ""),
        (
            picture(drawn, f"Estimated accuracy of {len(shown)} workers with intervals"),
            Table(
                "Workers, most accurate first",
                (
                    "worker",
                    "votes",
                    "accuracy",
                    f"{all_of.level:.0%} interval",
                    "agrees with labels",
                ),
                rows,
            ),
        ),
    )


def confusions(fit: Aggregation) -> Section:
    """Who mistakes what for what: all workers together, and the busiest ones."""
    shown = busiest_workers(fit.votes, MAX_MATRICES)
    names = worker_names(fit.votes, shown)
    drawn, axes = plots.grid_of(1 + len(shown), 3, 2.6)
    matrices = [pooled_confusion(fit), *(fit.confusion[w] for w in shown)]
    titles = ["all workers", *names]
    for ax, matrix, title in zip(axes, matrices, titles, strict=True):
        plots.confusion(ax, matrix, fit.votes.classes, title)
    return Section(
        "confusion",
        "Confusion matrices",
        "Each row is a true class and says how often each label is given to it; a dark diagonal "
        "is a good worker. First the average over all votes, then the workers with most votes.",
        (picture(drawn, _confusion_in_words(fit)),),
    )


def agreement(fit: Aggregation) -> Section:
    """How far the workers agree beyond chance."""
    from crowdlearn.evaluation.agreement import (
        class_agreement,
        krippendorff_alpha,
        percent_agreement,
    )

    votes = _sample(fit.votes, MAX_AGREEMENT_ITEMS)
    intro = (
        "Krippendorff's alpha compares how often two votes on an item differ with how often they "
        "would by chance: 1 is perfect agreement, 0 is chance."
    )
    if votes.votes_per_item.max() < 2:
        note = Note("No item has two votes, so there is nothing to compare.")
        return Section("agreement", "Agreement", intro, (note,))
    alpha = krippendorff_alpha(votes, n_resamples=N_RESAMPLES)
    if votes is not fit.votes:
        intro += f" Computed on {votes.n_items:,} items drawn at random."
    rows = (
        ("Krippendorff's alpha", number(alpha.alpha)),
        (f"{alpha.interval:.0%} interval", f"{number(alpha.low)} to {number(alpha.high)}"),
        ("pairs of votes that agree", f"{percent_agreement(votes):.1%}"),
        ("items with two votes or more", f"{alpha.n_items:,}"),
    )
    by_class = [
        (plain(row["class"], MAX_LETTERS), f"{row['share']:.1%}", number(row["agreement"]))
        for row in class_agreement(votes).to_pylist()[:MAX_CLASSES]
    ]
    return Section(
        "agreement",
        "Agreement",
        intro,
        (
            Table("Agreement between votes", ("measure", "value"), rows),
            Table(
                "By class: how often a second vote says the class too, once one does",
                ("class", "votes", "agreement"),
                by_class,
            ),
        ),
    )


def _sample(votes: Votes, n: int) -> Votes:
    """The votes of `n` items drawn at random, or all where there are not more."""
    if votes.n_items <= n:
        return votes
    keep = np.zeros(votes.n_items, dtype=bool)
    keep[np.random.default_rng(0).choice(votes.n_items, n, replace=False)] = True
    return votes.only_items(keep)


def _agreement_with_labels(fit: Aggregation) -> np.ndarray:
    return fit.workers_table()["agreement"].to_numpy()


def _confusion_in_words(fit: Aggregation) -> str:
    pooled = pooled_confusion(fit)
    right = float(fit.prior @ np.diag(pooled))
    off = pooled - np.diag(np.diag(pooled))
    truth, label = np.unravel_index(int(np.argmax(off)), off.shape)
    names = fit.votes.classes
    return (
        f"Confusion matrices. On average a vote is right with probability {right:.2f}; most often "
        f"{plain(names[truth])} is called {plain(names[label])} "
        f"({off[truth, label]:.2f} of its votes)"
    )
