"""Sections of the report about the items: errors, classes, certainty, contested items."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Int

from crowdlearn import plots
from crowdlearn.aggregation import Aggregation
from crowdlearn.explain import explain
from crowdlearn.highlights import (
    contested,
    counted,
    item_names,
    label_share,
    plain,
    scores,
    vote_share,
)
from crowdlearn.report.blocks import (
    ItemCard,
    Items,
    Note,
    Section,
    Table,
    number,
    picture,
)

MAX_ITEMS, MAX_CLASSES = 20, 30
CERTAIN, MIN_ITEMS = 0.995, 5  # surer items are listed only up to this number
MAX_VOTES_EXPLAINED = 100  # an item with more votes is counted, not explained vote by vote
MAX_LINES, MAX_LETTERS = 14, 160


def against_truth(fit: Aggregation, truth: Int[np.ndarray, " item"]) -> Section:
    """Errors and calibration on the items whose truth is known and was not given as gold."""
    from crowdlearn.evaluation.accuracy import per_class
    from crowdlearn.evaluation.calibration import reliability_curve

    found = scores(fit, truth)
    asked = np.where(fit.gold >= 0, -1, truth)
    curve = reliability_curve(fit.posterior, asked)
    drawn, (ax,) = plots.figure(4.6, 4.4)
    plots.reliability(ax, curve)
    better = found["majority_error"] - found["error"]
    verdict = "as many as" if better == 0 else ("fewer than" if better > 0 else "more than")
    measures = (
        ("wrong labels", f"{found['error']:.2%}", "ties count in parts"),
        ("wrong labels of plain majority", f"{found['majority_error']:.2%}", "on the same items"),
        ("log loss", number(found["log_loss"]), "nats; 0 is best"),
        ("Brier score", number(found["brier"]), "0 is best, 2 is worst"),
        ("calibration error (ECE)", number(found["ece"]), "10 bins; 0 is best"),
    )
    rows = per_class(fit.labels, asked, fit.votes.classes).to_pylist()[:MAX_CLASSES]
    return Section(
        "truth",
        "Against the truth",
        f"{counted(found['n_truth'], 'item')} have a known truth. {found['error']:.2%} of their "
        f"labels are wrong, {verdict} by plain majority ({found['majority_error']:.2%}). Below the "
        "diagonal the probabilities promise more than they keep.",
        (
            Table("Scores", ("measure", "value", "note"), measures),
            picture(
                drawn,
                "Reliability diagram: share of right labels against their mean probability, "
                f"in 10 bins; the calibration error is {found['ece']:.3f}",
            ),
            Table(
                "By class",
                ("class", "precision", "recall", "F1", "items"),
                [
                    (
                        plain(r["class"], MAX_LETTERS),
                        *(number(r[k]) for k in ("precision", "recall", "f1")),
                        f"{r['support']:,}",
                    )
                    for r in rows
                ],
            ),
        ),
    )


def classes(fit: Aggregation) -> Section:
    """How votes and labels are spread over the classes."""
    names, votes, labels = fit.votes.classes, vote_share(fit.votes), label_share(fit)
    shown = np.argsort(-labels, kind="stable")[:MAX_CLASSES]
    drawn, (ax,) = plots.figure(7, 0.8 + 0.48 * len(shown))
    plots.class_balance(ax, names, votes, labels)
    left_out = len(names) - len(shown)
    return Section(
        "classes",
        "Classes",
        "How often each class was said, how often it is the label, and how probable the method "
        "holds it for an item of which nothing is known yet."
        + (f" The {left_out} rarest classes are left out." if left_out else ""),
        (
            picture(drawn, f"Bars: share of votes and of labels of {len(shown)} classes"),
            Table(
                "Class balance",
                ("class", "votes", "labels", "prior"),
                [
                    (
                        plain(names[k], MAX_LETTERS),
                        f"{votes[k]:.1%}",
                        f"{labels[k]:.1%}",
                        f"{fit.prior[k]:.1%}",
                    )
                    for k in shown
                ],
            ),
        ),
    )


def certainty(fit: Aggregation) -> Section:
    """How probable the labels are."""
    confidence = fit.confidence
    drawn, (ax,) = plots.figure(7, 2.7)
    plots.certainty(ax, confidence, fit.votes.n_classes)
    edges = (0.0, 0.6, 0.8, 0.95, 0.99, 1.0)
    counts = np.histogram(np.minimum(confidence, 1), edges)[0]
    rows = [
        (f"{low:.0%} to {high:.0%}", f"{n:,}", f"{n / len(confidence):.1%}")
        for low, high, n in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    return Section(
        "certainty",
        "How sure the labels are",
        "The probability of each item's label, given its votes and what was learned about the "
        "workers. Items far to the left are worth another vote or an expert's look.",
        (
            picture(drawn, "Histogram of the probability of the items' labels"),
            Table("Labels by probability", ("probability", "items", "share"), rows),
        ),
    )


def items(fit: Aggregation) -> Section:
    """The least certain items, each with its votes."""
    found = contested(fit, MAX_ITEMS)
    n_open = int((fit.confidence[found] < CERTAIN).sum())
    found = found[: max(n_open, MIN_ITEMS)]
    cards = tuple(
        _card(fit, int(item), name)
        for item, name in zip(found, item_names(fit.votes, found), strict=True)
    )
    return Section(
        "items",
        "Most contested items",
        "The items whose label is least certain. Unfold one to see its votes: the number before a "
        "vote says how much it speaks for the label against the runner-up (in nats; negative "
        "speaks against).",
        (Items(cards),) if cards else (Note("Every item has a gold answer: none is contested."),),
    )


def _card(fit: Aggregation, item: int, name: str) -> ItemCard:
    posterior, classes = fit.posterior[item], fit.votes.classes
    order = np.argsort(-posterior, kind="stable")
    answer = int(fit.labels[item])
    others = [
        f"{plain(classes[k], MAX_LETTERS)} ({posterior[k]:.3f})" for k in order if k != answer
    ][:3]
    n_votes = int(fit.votes.votes_per_item[item])
    return ItemCard(
        name=plain(name, MAX_LETTERS),
        label=plain(classes[answer], MAX_LETTERS),
        probability=f"{posterior[answer]:.3f}",
        others=", ".join(others),
        n_votes=counted(n_votes, "vote")
        + ("" if fit.difficulty is None else f"; difficulty {fit.difficulty[item]:.2f}"),
        lines=_explained(fit, item, n_votes),
    )


def _explained(fit: Aggregation, item: int, n_votes: int) -> tuple[str, ...]:
    """The lines of the explanation, the middle votes left out where there are many."""
    if n_votes > MAX_VOTES_EXPLAINED:
        said = fit.votes.label[fit.votes.votes_of(item)]
        counts = np.bincount(said, minlength=fit.votes.n_classes)
        order = np.argsort(-counts, kind="stable")[:MAX_LINES]
        return tuple(
            f"{counts[k]:,} said {plain(fit.votes.classes[k], MAX_LETTERS)}"
            for k in order
            if counts[k]
        )
    without_name = replace(explain(fit, item), item="")  # a name may hold line breaks
    lines = [plain(line.strip(), MAX_LETTERS) for line in str(without_name).splitlines()[1:]]
    n_left_out = len(lines) - MAX_LINES
    if n_left_out <= 1:
        return tuple(lines)
    half = MAX_LINES // 2
    return (*lines[:half], f"… {n_left_out} more lines …", *lines[-half:])
