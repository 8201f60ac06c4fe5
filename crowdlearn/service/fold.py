"""The aggregator as a fold over the log: the same log, cut at the same places, gives the same bits.

A fold takes in the events up to one number: `update` those since the last, `rescore` settles all
items anew, `restart` begins with everything (a new method or class, a worker blocked, many votes at
once). `folds` keeps where each one ended, so that the state can be rebuilt from the log alone.
Streams know items, workers and classes by the project's numbers.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int64
from scipy.special import betaincinv

from crowdlearn.aggregation import Interval
from crowdlearn.online import load_stream, save_stream, stream
from crowdlearn.service.log import VoteColumns
from crowdlearn.votes import Votes


@dataclass(eq=False)
class Running:
    """A stream, and what has been told of items that nobody has voted on. Consumed by a fold."""

    description: dict[str, Any]  # name of the method, number of classes
    number: int = 0  # of the last fold
    upto: int = 0  # the last event taken in
    waiting: dict[int, int] = field(default_factory=dict)  # item -> class
    state: Any = None

    def __post_init__(self) -> None:
        self.method = stream(self.description["name"])
        if self.state is None:
            self.state = self.method.init(self.classes)
            self.state.grow()

    @property
    def classes(self) -> list[str]:
        return [str(k) for k in range(self.description["classes"])]

    def prior(self) -> Float[np.ndarray, " class"]:
        """Dirichlet parameters of the shares of the classes."""
        live: np.ndarray = self.state.prior.live
        return np.maximum(live * self.state.scale, 0) + self.method.prior_count

    def guess(self) -> Float[np.ndarray, " class"]:
        """Dirichlet parameters of what guesses say; flat for a method without guesses."""
        live: np.ndarray = self.state.guessed.live
        return np.maximum(live * self.state.scale, 0) + getattr(self.method, "guess_count", 1.0)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a fold changed: posteriors of these items, and these workers (places in the stream)."""

    item: Int64[np.ndarray, " item"]
    posterior: Float[np.ndarray, "item class"]
    voted: np.ndarray  # [item], whether anybody has voted or answered
    worker: Int64[np.ndarray, " worker"]


def restart(
    description: dict[str, Any],
    votes: VoteColumns,
    answers: Mapping[int, int | None],
    blocked: set[int],
) -> tuple[Running, Outcome]:
    """A stream that begins with all these votes and answers, settled together.

    Votes of `blocked` workers do not count; items with none other are as if new.
    """
    every, votes = votes, votes.without(blocked)
    running = Running(description)
    told = {i: k for i, k in answers.items() if k is not None}
    voted = set(np.unique(votes.item).tolist())
    running.waiting = {i: k for i, k in told.items() if i not in voted}
    if len(votes):
        known = {str(i): str(k) for i, k in told.items() if i in voted}
        running.state = running.method.begin(running.classes, _votes(running, votes), known)
    orphans = set(np.unique(every.item).tolist()) - voted - running.waiting.keys()
    return running, _joined(everything(running), _unvoted(running, sorted(orphans)))


def update(
    running: Running, votes: VoteColumns, answers: Mapping[int, int | None]
) -> tuple[Running, Outcome]:
    """Take in votes, and what experts now say of items (None: nothing)."""
    codes = running.state.ledger.item_codes
    voted = set(np.unique(votes.item).tolist())
    told: dict[str, str | None] = {}
    unvoted: list[int] = []
    for item, label in answers.items():
        if item in voted or str(item) in codes:
            running.waiting.pop(item, None)
            told[str(item)] = None if label is None else str(label)
        else:
            unvoted.append(item)
            running.waiting.pop(item, None)
            if label is not None:
                running.waiting[item] = label
    for item in sorted(voted & running.waiting.keys()):
        told[str(item)] = str(running.waiting.pop(item))
    if not (len(votes) or told):
        return running, _unvoted(running, unvoted)
    batch = _votes(running, votes) if len(votes) else None
    running.state, found = running.method.update(running.state, batch, told)
    touched = running.state.ledger.touched(found.codes)
    here = Outcome(
        np.array([int(name) for name in found.items.to_pylist()], dtype=np.int64),
        found.posterior.copy(),
        np.ones(len(found.items), dtype=np.bool_),
        touched.rows.astype(np.int64),
    )
    return running, _joined(here, _unvoted(running, unvoted))


def rescore(running: Running) -> tuple[Running, Outcome]:
    """Settle all items anew from all votes."""
    if running.state.n_votes:
        running.method.settle_anew(running.state)
    return running, everything(running)


def worker_figures(
    running: Running, places: Int64[np.ndarray, " worker"]
) -> tuple[Float[np.ndarray, "worker class class"], Interval]:
    """Dirichlet counts [worker, truth, label] and accuracy of the workers at these places.

    The accuracy is that on the items they judged: of the votes, the expected share that is right,
    under a flat prior, with a 90 % interval. (The mean of the Dirichlets leans on their prior,
    which with many classes and few votes says little; and the interval takes labels as they are.)
    """
    state = running.state
    counts = running.method.worker_counts(state)[places]
    seen = np.maximum(state.counts.live[places] * state.scale, 0)  # [worker, label, class]
    right, total = np.einsum("wkk->w", seen), seen.sum(axis=(1, 2))
    wrong = np.maximum(total - right, 0)
    low, high = (betaincinv(1 + right, 1 + wrong, tail) for tail in (0.05, 0.95))
    return counts, Interval((1 + right) / (2 + right + wrong), low, high, 0.9)


def numbers(names: list[str], places: Int64[np.ndarray, " place"]) -> list[int]:
    """The project's numbers of the stream's items or workers at these places."""
    return [int(names[place]) for place in places.tolist()]


def digest(running: Running) -> str:
    """A SHA-256 of every bit of the state: two equal ones go on alike."""
    found = hashlib.sha256()
    ledger = running.state.ledger
    told = (running.description, running.number, running.upto, sorted(running.waiting.items()))
    found.update(repr(told).encode())
    found.update(repr((running.state.n_updates, ledger.item_names, ledger.worker_names)).encode())
    columns = {n: getattr(ledger, n).live for n in ("item", "worker", "label", "gold")}
    for name, array in sorted((columns | running.state.arrays()).items()):
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def size(running: Running) -> int:
    """About how many bytes a snapshot would take."""
    ledger = running.state.ledger
    columns = [getattr(ledger, name).live for name in ("item", "worker", "label", "before")]
    return sum(array.nbytes for array in [*columns, *running.state.arrays().values()])


def to_bytes(running: Running) -> bytes:
    """A snapshot; `from_bytes` goes on from it to the last bit."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "stream.npz"
        save_stream(
            file, running.method, running.state, description=running.description,
            number=running.number, upto=running.upto,
            waiting=[[i, k] for i, k in running.waiting.items()],
        )  # fmt: skip
        return file.read_bytes()


def from_bytes(content: bytes, description: dict[str, Any]) -> Running:
    """The state that `to_bytes` kept."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "stream.npz"
        file.write_bytes(content)
        state, about = load_stream(file, stream(description["name"]))
    waiting = {i: k for i, k in about["waiting"]}
    return Running(about["description"], about["number"], about["upto"], waiting, state)


def _votes(running: Running, votes: VoteColumns) -> Votes:
    items, item = np.unique(votes.item, return_inverse=True)
    workers, worker = np.unique(votes.worker, return_inverse=True)
    return Votes.from_codes(
        item, worker, votes.label, items=pa.array(items), workers=pa.array(workers),
        classes=running.classes,
    )  # fmt: skip


def everything(running: Running) -> Outcome:
    """All items and workers as they stand."""
    state = running.state
    item = np.array([int(name) for name in state.items], dtype=np.int64)
    posterior = state.tau.live.copy().reshape(len(item), len(running.classes))
    here = Outcome(
        item, posterior, np.ones(len(item), dtype=np.bool_), np.arange(len(state.workers))
    )
    return _joined(here, _unvoted(running, list(running.waiting)))


def _unvoted(running: Running, items: list[int]) -> Outcome:
    """Items without votes: the expert's answer, or nothing known."""
    n = len(running.classes)
    posterior = np.full((len(items), n), 1 / n)
    told = np.array([item in running.waiting for item in items], dtype=np.bool_)
    for place, item in enumerate(items):
        if item in running.waiting:
            posterior[place] = np.eye(n)[running.waiting[item]]
    return Outcome(np.array(items, dtype=np.int64), posterior, told, np.empty(0, dtype=np.int64))


def _joined(one: Outcome, other: Outcome) -> Outcome:
    if len(other.item) == 0:
        return one
    return Outcome(
        np.concatenate([one.item, other.item]),
        np.concatenate([one.posterior, other.posterior]),
        np.concatenate([one.voted, other.voted]),
        one.worker,
    )
