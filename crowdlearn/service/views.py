"""An item as a reviewer sees it: votes with reliabilities, why this label, what would flip it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import digamma
from sqlalchemy import Connection, bindparam, select

from crowdlearn.aggregation import Aggregation, Explanation, History, Interval
from crowdlearn.explain import explain
from crowdlearn.online import stream
from crowdlearn.predictors import MixturePredictor, ProductPredictor
from crowdlearn.service.access import Actor
from crowdlearn.service.answers import history_of
from crowdlearn.service.items import Item, read_decided
from crowdlearn.service.projects import Project, read_project
from crowdlearn.service.workers import counts_of
from crowdlearn.store.tables import events, folding, workers
from crowdlearn.votes import Votes

MOST_VOTES = 200  # of one item that are shown and weighed


@dataclass(frozen=True)
class SeenVote:
    """A vote of the item with what is known of its worker; `weight` in nats for the label against
    the runner-up, None where the worker has not been folded or is blocked."""

    worker: str
    label: str
    at: int
    n_votes: int
    accuracy: float | None
    low: float | None
    high: float | None
    flag: str | None
    weight: float | None


@dataclass(frozen=True)
class ItemView:
    """An item in full. `seen` is the number of the decision that stands (0: none)."""

    item: Item
    votes: tuple[SeenVote, ...]
    n_votes: int
    explanation: Explanation | None
    history: list[dict[str, Any]]
    seen: int
    decided_by: str | None


def view_item(db: Connection, actor: Actor, project: str, name: str) -> ItemView:
    """An item with everything that was said of it. Raises NotFoundError."""
    return view_guarded(db, read_project(db, actor, project, "read item"), name)


def view_guarded(db: Connection, about: Project, name: str) -> ItemView:
    """`view_item` for a caller who has asked for the right already."""
    item, seen = read_decided(db, about, name)
    said = history_of(db, about, item.number)
    rows = _vote_rows(db, about.id, item.number)
    found = _explained(db, about, item, rows)
    weights: dict[tuple[str, str], float] = {}
    if found is not None:
        weights = {(vote.worker, vote.label): vote.weight for vote in found.votes}
    decided_by = next((event["actor"] for event in said if event["seq"] == seen), None)
    return ItemView(
        item=item,
        votes=tuple(
            SeenVote(
                row.name, about.classes[row.label], row.at, row.n_votes, row.accuracy, row.low,
                row.high, row.flag, weights.get((row.name, about.classes[row.label])),
            )
            for row in rows
        ),
        n_votes=item.n_votes,
        explanation=found,
        history=said,
        seen=seen,
        decided_by=None if decided_by is None else decided_by.removeprefix("user:"),
    )  # fmt: skip


def _vote_rows(db: Connection, project: int, item: int) -> list[Any]:
    return list(db.execute(_VOTES, {"here": project, "number": item}).all())


_VOTES = (
    select(
        events.c.label, events.c.at, workers.c.name, workers.c.n_votes, workers.c.accuracy,
        workers.c.low, workers.c.high, workers.c.flag, workers.c.counts,
    )
    .join(
        workers,
        (workers.c.project == events.c.project) & (workers.c.number == events.c.worker),
    )
    .where(events.c.project == bindparam("here"), events.c.item == bindparam("number"))
    .where(events.c.kind == "vote")
    .order_by(events.c.seq)
    .limit(MOST_VOTES)
)  # fmt: skip
_HEAD = select(folding.c.prior, folding.c.guess).where(folding.c.project == bindparam("here"))


def _explained(db: Connection, about: Project, item: Item, rows: list[Any]) -> Explanation | None:
    """What the last fold's parameters make of the votes; None where there is nothing to weigh."""
    weighed = [
        (row, counts)
        for row in rows
        if row.flag != "blocked" and (counts := counts_of(about, row)) is not None
    ]
    if not weighed:
        return None
    head = db.execute(_HEAD, {"here": about.id}).one()
    if head.prior is None or len(head.prior) != 8 * len(about.classes):
        return None
    names = list(dict.fromkeys(row.name for row, _ in weighed))
    counts = np.stack([next(c for row, c in weighed if row.name == name) for name in names])
    accuracy = {row.name: row.accuracy for row, _ in weighed}
    votes = Votes.from_codes(
        np.zeros(len(weighed), dtype=np.int64),
        np.array([names.index(row.name) for row, _ in weighed]),
        np.array([row.label for row, _ in weighed]),
        items=[item.name],
        workers=names,
        classes=about.classes,
    )
    fit = _as_fit(
        about, votes, counts, np.frombuffer(head.prior), np.frombuffer(head.guess),
        np.array([accuracy[name] for name in names], dtype=np.float64),
    )  # fmt: skip
    return explain(fit, 0)


def _as_fit(
    about: Project,
    votes: Votes,
    counts: Float[np.ndarray, "worker class class"],
    prior: Float[np.ndarray, " class"],
    guess: Float[np.ndarray, " class"],
    accuracy: Float[np.ndarray, " worker"],
) -> Aggregation:
    """The parameters of the last fold as a fit of this item alone."""
    table = np.exp(digamma(counts) - digamma(counts.sum(axis=2, keepdims=True)))
    likelihood = np.ascontiguousarray(table.transpose(0, 2, 1))
    base = np.exp(digamma(prior) - digamma(prior.sum()))
    method = stream(about.settings.method)
    predictor: ProductPredictor | MixturePredictor
    if about.settings.method == "idbla":
        said = np.exp(digamma(guess) - digamma(guess.sum()))
        predictor = MixturePredictor(base, likelihood, said, np.array([method.easy, method.hard]))
    else:
        predictor = ProductPredictor(base, likelihood, np.arange(len(base)))
    posterior = predictor.predict(votes)
    return Aggregation(
        method=method.name,
        settings={},
        votes=votes,
        posterior=posterior,
        labels=posterior.argmax(axis=1).astype(np.int32),
        prior=prior / prior.sum(),
        confusion=counts / counts.sum(axis=2, keepdims=True),
        worker_accuracy=Interval(accuracy, accuracy, accuracy),
        history=History(np.zeros(1), np.zeros(1), "none", True),
        predictor=predictor,
        gold=np.full(1, -1, dtype=np.int32),
        seconds=0.0,
    )
