"""How far a project is: expected error over time, costs, votes saved, agreement, when to stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, bindparam, func, select

from crowdlearn.evaluation.agreement import krippendorff_alpha, percent_agreement
from crowdlearn.service.access import Actor
from crowdlearn.service.projects import Project, read_project
from crowdlearn.store.tables import (
    ACCEPTED,
    FLAGGED,
    events,
    folding,
    progress,
    standings,
)
from crowdlearn.votes import Votes

POINTS = 500  # of the curve at most
SAMPLED = 20_000  # items that agreement is computed on


@dataclass(frozen=True)
class Progress:
    """Where a project stands. Shares and errors are from 0 to 1, costs in the project's currency.

    `expected_error` is the mean of 1 - confidence over items with votes or answers, as the model
    has it; `n_stopped` items need no more votes for a mean error of `target`. `votes_saved` are
    those that the redundancy still asks for on such items.
    """

    n_items: int
    n_votes: int
    n_workers: int
    n_open: int
    n_answered: int
    n_accepted: int
    n_flagged: int
    expected_error: float | None
    target: float
    reached: bool
    n_stopped: int
    votes_saved: int
    cost: float
    n_pending: int  # events that the aggregator has not taken in yet
    classes: dict[str, int]  # items by their most probable class


@dataclass(frozen=True)
class Head:
    """The last fold in a few numbers, quick to read: `upto` is the last event it has taken in."""

    number: int
    upto: int
    n_pending: int
    expected_error: float | None


@dataclass(frozen=True)
class Agreement:
    """How alike workers vote on items with two votes or more; alpha is Krippendorff's, with its
    95 % interval."""

    percent: float
    alpha: float
    low: float
    high: float
    n_items: int


def read_progress(db: Connection, actor: Actor, project: str) -> Progress:
    """Where the project stands now."""
    about = read_project(db, actor, project, "read progress")
    head = db.execute(_FOLDING, {"here": about.id}).one()
    set_aside: dict[int, int] = dict(db.execute(_SET_ASIDE, {"here": about.id}).all())
    n_accepted, n_flagged = set_aside.get(ACCEPTED, 0), set_aside.get(FLAGGED, 0)
    error = head.expected_error
    by_class = [*(head.by_class or []), *[0] * len(about.classes)][: len(about.classes)]
    return Progress(
        n_items=about.n_items,
        n_votes=about.n_votes,
        n_workers=about.n_workers,
        n_open=about.n_items - about.n_answers - n_accepted - n_flagged,
        n_answered=about.n_answers,
        n_accepted=n_accepted,
        n_flagged=n_flagged,
        expected_error=error,
        target=about.settings.target,
        reached=error is not None and about.n_votes > 0 and error <= about.settings.target,
        n_stopped=head.n_stopped,
        votes_saved=head.votes_saved,
        cost=cost(about, about.n_votes, about.n_answers),
        n_pending=about.n_events - head.upto,
        classes=dict(zip(about.classes, by_class, strict=True)),
    )


def read_head(db: Connection, actor: Actor, project: str) -> Head:
    """How far the aggregator is, without counting anything."""
    about = read_project(db, actor, project, "read progress")
    row = db.execute(_FOLDING, {"here": about.id}).one()
    return Head(row.number, row.upto, about.n_events - row.upto, row.expected_error)


_FOLDING = select(
    folding.c.number, folding.c.upto, folding.c.expected_error, folding.c.n_stopped,
    folding.c.votes_saved, folding.c.by_class,
).where(folding.c.project == bindparam("here"))  # fmt: skip
_SET_ASIDE = (  # open and answered items need no counting
    select(standings.c.state, func.count())
    .where(standings.c.project == bindparam("here"))
    .where(standings.c.state.in_((ACCEPTED, FLAGGED)))
    .group_by(standings.c.state)
)


def cost(about: Project, n_votes: int, n_answers: int) -> float:
    """What votes and answers cost."""
    return about.settings.vote_cost * n_votes + about.settings.answer_cost * n_answers


def curve(db: Connection, actor: Actor, project: str) -> list[dict[str, Any]]:
    """Expected error and cost over time, at most 500 points, the last one always among them."""
    about = read_project(db, actor, project, "read progress")
    here = progress.c.project == about.id
    last = db.execute(select(func.max(progress.c.fold)).where(here)).scalar() or 0
    step = max(last // POINTS, 1)
    query = select(progress).where(here, (progress.c.fold % step == 0) | (progress.c.fold == last))
    return [
        {
            "at": row.at, "n_votes": row.n_votes, "n_answers": row.n_answers,
            "expected_error": row.expected_error, "n_stopped": row.n_stopped,
            "cost": cost(about, row.n_votes, row.n_answers),
        }
        for row in db.execute(query.order_by(progress.c.fold))
    ]  # fmt: skip


def agreement(db: Connection, actor: Actor, project: str) -> Agreement | None:
    """How alike workers vote, on the first items of the project; None where no item has two
    votes."""
    about = read_project(db, actor, project, "read progress")
    votes = sample_votes(db, about, SAMPLED)
    if votes is None:
        return None
    if votes.votes_per_item.max() < 2:
        return None
    found = krippendorff_alpha(votes, n_resamples=200)
    return Agreement(percent_agreement(votes), found.alpha, found.low, found.high, found.n_items)


def sample_votes(db: Connection, about: Project, n_items: int) -> Votes | None:
    """The votes on the first items of a project, by name numbers; None without any."""
    rows = db.execute(
        select(events.c.item, events.c.worker, events.c.label)
        .where(events.c.project == about.id, events.c.item < n_items, events.c.kind == "vote")
        .order_by(events.c.item, events.c.seq)
    ).all()
    if not rows:
        return None
    columns = np.array([tuple(row) for row in rows], dtype=np.int64)
    seen, worker = np.unique(columns[:, 1], return_inverse=True)
    items, item = np.unique(columns[:, 0], return_inverse=True)
    return Votes.from_codes(
        item, worker, columns[:, 2], items=[str(i) for i in items.tolist()],
        workers=[str(w) for w in seen.tolist()], classes=about.classes,
    )  # fmt: skip
