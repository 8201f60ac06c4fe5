"""The sections of the report in their order, and the numbers on top; nothing here knows HTML."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from crowdlearn.aggregation import Aggregation
from crowdlearn.report.blocks import KeyFigure, Section
from crowdlearn.report.items import against_truth, certainty, classes, items
from crowdlearn.report.record import convergence, settings
from crowdlearn.report.workers import agreement, confusions, workers


def key_figures(fit: Aggregation) -> tuple[KeyFigure, ...]:
    """The numbers on top of the page."""
    votes = fit.votes
    return (
        KeyFigure(f"{votes.n_items:,}", "items"),
        KeyFigure(f"{votes.n_workers:,}", "workers"),
        KeyFigure(f"{votes.n_votes:,}", "votes"),
        KeyFigure(f"{votes.n_votes / votes.n_items:.3g}", "votes an item"),
        KeyFigure(f"{votes.n_classes:,}", "classes"),
        KeyFigure(f"{1 - fit.confidence.mean():.1%}", "expected errors"),
    )


def sections(fit: Aggregation, truth: Int[np.ndarray, " item"] | None) -> list[Section]:
    """All sections in the order of the page; `truth` None leaves out the one that needs it."""
    return [
        *([] if truth is None else [against_truth(fit, truth)]),
        classes(fit),
        certainty(fit),
        items(fit),
        workers(fit),
        confusions(fit),
        agreement(fit),
        convergence(fit),
        settings(fit),
    ]
