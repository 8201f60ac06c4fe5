"""Whether what is derived is what the log says: the aggregator rebuilt, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, func, select

from crowdlearn.service import fold
from crowdlearn.service.access import Actor
from crowdlearn.service.folder import rebuilt
from crowdlearn.service.log import decisions
from crowdlearn.service.projects import read_project
from crowdlearn.store.tables import ANSWERED, DECIDED, events, folding, folds, standings, workers


@dataclass(frozen=True)
class Verified:
    """What was compared, and what was found to differ (nothing, where all is well)."""

    fold: int
    n_items: int
    n_votes: int
    digest: str
    problems: tuple[str, ...]


def verify(db: Connection, actor: Actor, project: str) -> Verified:
    """Rebuild a project's state from its log alone, and compare all that is kept with it.

    Posteriors and workers' counts must be equal to the last bit; numbers of events without gaps,
    votes and decisions of every item as the log has them.
    """
    about = read_project(db, actor, project, "verify")
    problems = [
        *_log_problems(db, about.id, about.n_events),
        *_standing_problems(db, about.id, about.n_answers),
    ]
    head = db.execute(select(folding).where(folding.c.project == about.id)).one()
    if head.number == 0:
        return Verified(0, about.n_items, about.n_votes, "", tuple(problems))
    running = rebuilt(db, about.id)
    last = (folds.c.project == about.id) & (folds.c.number == head.number)
    if db.execute(select(folds.c.written).where(last)).scalar_one():
        problems += _posterior_problems(db, about.id, running)
        problems += _worker_problems(db, about.id, running)
    return Verified(
        head.number, about.n_items, about.n_votes, fold.digest(running), tuple(problems)
    )


def _log_problems(db: Connection, project: int, n_events: int) -> list[str]:
    row = db.execute(
        select(func.count(), func.min(events.c.seq), func.max(events.c.seq)).where(
            events.c.project == project
        )
    ).one()
    if n_events and tuple(row) != (n_events, 1, n_events):
        return [f"the log has {row[0]} events from {row[1]} to {row[2]}, not 1 to {n_events}"]
    return []


def _standing_problems(db: Connection, project: int, n_answers: int) -> list[str]:
    """Counts of votes and decisions beside the log's."""
    counted: dict[int, int] = dict(
        db.execute(
            select(events.c.item, func.count())
            .where(events.c.project == project, events.c.kind == "vote")
            .group_by(events.c.item)
        ).all()
    )  # fmt: skip
    query = select(
        standings.c.item, standings.c.n_votes, standings.c.decision, standings.c.decision_seq,
        standings.c.state,
    ).where(standings.c.project == project)  # fmt: skip
    rows = db.execute(query).all()
    problems = [
        f"item {row.item}: {row.n_votes} votes, where the log has {counted.get(row.item, 0)}"
        for row in rows
        if row.n_votes != counted.get(row.item, 0)
    ]
    spoken = select(events.c.item).where(
        events.c.project == project, events.c.kind.in_(("answer", "accept"))
    )
    told = decisions(db, project, sorted(set(db.execute(spoken).scalars())))
    for row in rows:
        said = told.get(row.item)
        stands = (said[-1].label, said[-1].seq) if said else (None, None)
        if (row.decision, row.decision_seq) != stands:
            problems.append(f"item {row.item}: its decision is not the log's")
        if (row.state in DECIDED) != bool(said):
            problems.append(f"item {row.item}: its state is not the log's")
    answered = sum(row.state == ANSWERED for row in rows)
    if answered != n_answers:
        problems.append(f"{answered} items are answered, where the project says {n_answers}")
    return problems


def _posterior_problems(db: Connection, project: int, running: fold.Running) -> list[str]:
    found = fold.everything(running)
    wanted = {
        item: np.ascontiguousarray(row, dtype=np.float64).tobytes()
        for item, row, voted in zip(
            found.item.tolist(), found.posterior, found.voted.tolist(), strict=True
        )
        if voted
    }
    query = select(standings.c.item, standings.c.posterior, standings.c.top).where(
        standings.c.project == project
    )
    problems, n_seen = [], 0
    for row in db.execute(query):
        n_seen += row.item in wanted
        if row.top is not None and row.posterior != wanted.get(row.item):
            problems.append(f"item {row.item}: its posterior is not the rebuilt one")
        if row.top is None and row.item in wanted:
            problems.append(f"item {row.item}: lacks the posterior that the log gives it")
    if n_seen != len(wanted):
        problems.append(f"{len(wanted) - n_seen} items of the log are not among the standings")
    return problems


def _worker_problems(db: Connection, project: int, running: fold.Running) -> list[str]:
    names = running.state.ledger.worker_names
    if not names:
        return []
    counts = running.method.worker_counts(running.state)
    place = {int(name): k for k, name in enumerate(names)}
    query = select(workers.c.number, workers.c.name, workers.c.counts, workers.c.flag)
    return [
        f"worker {row.name!r}: the counts are not the rebuilt ones"
        for row in db.execute(query.where(workers.c.project == project))
        if row.number in place
        and row.counts != np.ascontiguousarray(counts[place[row.number]]).tobytes()
    ]
