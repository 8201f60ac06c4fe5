"""What a fold writes for pages and clients: standings, workers, and figures of the whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from sqlalchemy import Connection, bindparam, insert, update

from crowdlearn.experts import stop_items
from crowdlearn.service import fold
from crowdlearn.service.projects import Project
from crowdlearn.service.urgency import ranks
from crowdlearn.store.bulk import update_rows
from crowdlearn.store.database import now
from crowdlearn.store.tables import folding, progress, standings, workers

# Built once: building a statement costs more than running it.
_FIGURES = update(folding).where(folding.c.project == bindparam("here"))
_POINT = insert(progress)


def standing_rows(about: Project, running: fold.Running, outcome: fold.Outcome) -> Iterator[Any]:
    """Rows for `write_standings`."""
    rank = ranks(about.settings.strategy, running, outcome)
    posterior = np.ascontiguousarray(outcome.posterior, dtype=np.float64)
    top, confidence = posterior.argmax(axis=1), posterior.max(axis=1)
    columns = zip(
        outcome.item.tolist(), top.tolist(), confidence.tolist(), rank.tolist(),
        outcome.voted.tolist(), strict=True,
    )  # fmt: skip
    for place, (item, best, sure, place_in_queue, voted) in enumerate(columns):
        yield (
            best if voted else None, sure, place_in_queue, posterior[place].tobytes(),
            about.id, item,
        )  # fmt: skip


def write_standings(db: Connection, rows: Iterator[Any]) -> None:
    update_rows(
        db, standings, ("project", "item"), ("top", "confidence", "rank", "posterior"), rows
    )


def worker_rows(
    project: int, running: fold.Running, outcome: fold.Outcome
) -> Iterator[tuple[Any, ...]]:
    """Rows for `write_workers`."""
    if len(outcome.worker) == 0:
        return
    counts, accuracy = fold.worker_figures(running, outcome.worker)
    ledger = running.state.ledger
    n_votes = np.bincount(ledger.worker.live, minlength=ledger.n_workers)[outcome.worker]
    figures = zip(
        n_votes.tolist(), accuracy.mean.tolist(), accuracy.low.tolist(), accuracy.high.tolist(),
        fold.numbers(ledger.worker_names, outcome.worker), strict=True,
    )  # fmt: skip
    for k, (n, mean, low, high, number) in enumerate(figures):
        yield n, mean, low, high, np.ascontiguousarray(counts[k]).tobytes(), project, number


def write_workers(db: Connection, rows: Iterator[Any]) -> None:
    update_rows(
        db, workers, ("project", "number"), ("n_votes", "accuracy", "low", "high", "counts"), rows
    )


def head_figures(about: Project, running: fold.Running) -> dict[str, Any]:
    """How wrong the labels are expected to be, and what may stop, as `folding` has it."""
    posterior = running.state.tau.live.reshape(-1, len(running.classes))
    error, doubt, stopped = _stopping(posterior, about.settings.target)
    ledger = running.state.ledger
    n_votes = np.bincount(ledger.item.live, minlength=len(posterior))
    missing = np.maximum(about.settings.redundancy - n_votes, 0)[stopped].sum()
    by_class = np.bincount(posterior.argmax(axis=1), minlength=len(running.classes))
    return {
        "expected_error": error, "stop_doubt": doubt, "n_stopped": int(stopped.sum()),
        "votes_saved": int(missing), "by_class": by_class.tolist(),
    }  # fmt: skip


def write_head(db: Connection, about: Project, number: int, figures: dict[str, Any]) -> None:
    """Figures of the last fold, and a point of the progress."""
    db.execute(_FIGURES, {"here": about.id} | figures)
    point = {name: figures[name] for name in ("expected_error", "n_stopped")} | {
        "project": about.id, "fold": number, "at": now(), "n_votes": about.n_votes,
        "n_answers": about.n_answers,
    }  # fmt: skip
    db.execute(_POINT, point)


def _stopping(
    posterior: Float[np.ndarray, "item class"], target: float
) -> tuple[float, float, Bool[np.ndarray, " item"]]:
    """Mean doubt, the largest doubt at which an item may stop, and which may.

    Of items with the same doubt all may stop, or none.
    """
    if len(posterior) == 0:
        return 0.0, -1.0, np.zeros(0, dtype=np.bool_)
    doubt = 1 - posterior.max(axis=1)
    stopped = stop_items(posterior, target)
    others = doubt[~stopped].min(initial=np.inf)
    within = stopped & (doubt < others)
    return float(doubt.mean()), float(doubt[within].max(initial=-1.0)), within
