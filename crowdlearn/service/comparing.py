"""Methods side by side on a project's votes, judged by the experts' answers where there are any."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int32
from sqlalchemy import Connection, insert, select

from crowdlearn.aggregators import aggregator
from crowdlearn.errors import ConvergenceWarning, SettingsError
from crowdlearn.evaluation.accuracy import error, log_loss
from crowdlearn.evaluation.calibration import wilson
from crowdlearn.evaluation.twins import find_twins
from crowdlearn.service.access import Actor
from crowdlearn.service.log import answered_items, blocked_workers, decisions, gold, read_votes
from crowdlearn.service.projects import Project, read_project
from crowdlearn.store.database import now
from crowdlearn.store.tables import fits, folding, items, workers
from crowdlearn.votes import Votes

COMPARED = (
    "majority", "wawa", "dawid-skene", "one-coin", "bcc", "ebcc", "idbla", "glad", "mace",
    "zencrowd", "hierarchical",
)  # fmt: skip
MOST_VOTES = 2_000_000
LISTED = 50  # items that methods disagree on


@dataclass(frozen=True, eq=False)
class Material:
    """Votes of a project with names, and the class that experts gave each item (-1: none)."""

    votes: Votes
    answers: Int32[np.ndarray, " item"]
    upto: int
    fold: int


@dataclass(frozen=True)
class Compared:
    """How a method does. Errors are shares; those against experts' answers are None without any.

    The method has not been told the answers. `low` and `high` are the 95 % Wilson interval of the
    error; `differs` counts items whose label is not the majority's.
    """

    method: str
    n_items: int
    n_answers: int
    error: float | None
    low: float | None
    high: float | None
    log_loss: float | None
    expected_error: float
    differs: int
    seconds: float
    note: str = ""


@dataclass(frozen=True)
class TwinPair:
    """Two workers who agree more often than two independent ones of their reliability would."""

    worker: str
    other: str
    n_common: int
    agreed: int
    expected: float
    p_value: float


def gather(db: Connection, actor: Actor, project: str) -> Material | None:
    """The votes of a project (blocked workers left out) and its answers; None without votes.

    Raises SettingsError where there are more than two million: export them and use the command
    line.
    """
    about = read_project(db, actor, project, "compare methods")
    if about.n_votes > MOST_VOTES:
        raise SettingsError(
            f"{about.n_votes:,} votes are more than the {MOST_VOTES:,} that are compared here: "
            "export them, and use `crowdlearn compare`"
        )
    upto = about.n_events
    columns = read_votes(db, about.id, 0, upto).without(blocked_workers(db, about.id, upto))
    if len(columns) == 0:
        return None
    found, item = np.unique(columns.item, return_inverse=True)
    seen, worker = np.unique(columns.worker, return_inverse=True)
    votes = Votes.from_codes(
        item, worker, columns.label, items=pa.array(_names(db, items, about, found)),
        workers=pa.array(_names(db, workers, about, seen)), classes=about.classes,
    )  # fmt: skip
    told = gold(decisions(db, about.id, answered_items(db, about.id, upto)))
    answers = np.array([_class(told.get(i)) for i in found.tolist()], dtype=np.int32)
    head = select(folding.c.number).where(folding.c.project == about.id)
    return Material(votes, answers, upto, int(db.execute(head).scalar_one()))


def compare_methods(material: Material, methods: Sequence[str]) -> tuple[list[Compared], list[str]]:
    """Fit each method; how they do, and the names of items that they disagree on (at most 50).

    Raises SettingsError for a method that is not compared here.
    """
    for name in methods:
        if name not in COMPARED:
            raise SettingsError(f"method {name!r} is not one of {', '.join(COMPARED)}")
    majority = aggregator("majority").fit(material.votes).labels
    labels, rows = [], []
    for name in methods:
        row, label = _compared(name, material, majority)
        rows.append(row)
        labels.append(label)
    if not labels:
        return [], []
    table = np.stack(labels)
    torn = np.flatnonzero((table != table[0]).any(axis=0))[:LISTED]
    return rows, [str(material.votes.items[int(i)].as_py()) for i in torn]


def keep_comparison(
    db: Connection, actor: Actor, project: str, material: Material, rows: Sequence[Compared]
) -> None:
    """Keep a comparison among the project's fits."""
    about = read_project(db, actor, project, "compare methods")
    for row in rows:
        db.execute(
            insert(fits).values(
                project=about.id, kind="compared", method={"name": row.method},
                fold=material.fold, upto=material.upto, seconds=row.seconds, at=now(),
                summary=asdict(row), state=None,
            )
        )  # fmt: skip


def list_fits(
    db: Connection, actor: Actor, project: str, *, limit: int = 100
) -> list[dict[str, Any]]:
    """Fits that were kept, the newest first: snapshots of the stream, and compared methods."""
    about = read_project(db, actor, project, "read fits")
    columns = (
        fits.c.id, fits.c.kind, fits.c.method, fits.c.fold, fits.c.upto, fits.c.seconds,
        fits.c.summary, fits.c.at,
    )  # fmt: skip
    query = select(*columns).where(fits.c.project == about.id).order_by(fits.c.id.desc())
    return [dict(row._mapping) for row in db.execute(query.limit(limit))]


def similar_workers(material: Material, *, rate: float = 0.05) -> list[TwinPair]:
    """Pairs of workers who look like one, by `crowdlearn.evaluation.find_twins` on a BCC fit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = find_twins(
            aggregator("bcc", off_diagonal=_spread(material)).fit(material.votes), rate=rate
        )
    return [
        TwinPair(
            str(material.votes.workers[int(found.worker_a[k])].as_py()),
            str(material.votes.workers[int(found.worker_b[k])].as_py()),
            int(found.n_common[k]), int(found.agreed[k]), float(found.expected[k]),
            float(found.p_value[k]),
        )
        for k in np.flatnonzero(found.found).tolist()
    ]  # fmt: skip


def _spread(material: Material) -> float:
    """Prior counts off the diagonal that come to one a row, however many classes there are."""
    return 1 / (material.votes.n_classes - 1)


def _compared(name: str, material: Material, majority: np.ndarray) -> tuple[Compared, np.ndarray]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", ConvergenceWarning)
        fit = aggregator(name).fit(material.votes)
    known = int((material.answers >= 0).sum())
    wrong = low = high = loss = None
    if known:
        wrong, loss = (
            error(fit.posterior, material.answers),
            log_loss(fit.posterior, material.answers),
        )
        bounds = wilson(np.array([wrong * known]), np.array([known]))
        low, high = float(bounds[0][0]), float(bounds[1][0])
    row = Compared(
        method=name,
        n_items=material.votes.n_items,
        n_answers=known,
        error=wrong,
        low=low,
        high=high,
        log_loss=loss,
        expected_error=float(1 - fit.posterior.max(axis=1).mean()),
        differs=int((fit.labels != majority).sum()),
        seconds=fit.seconds,
        note="; ".join(str(warning.message) for warning in said),
    )
    return row, fit.labels


def _names(db: Connection, table: Any, about: Project, numbers: np.ndarray) -> list[str]:
    query = select(table.c.number, table.c.name).where(table.c.project == about.id)
    found: dict[int, str] = dict(db.execute(query).all())
    return [found[number] for number in numbers.tolist()]


def _class(label: int | None) -> int:
    return -1 if label is None else label
