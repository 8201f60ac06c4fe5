"""World: simulated votes with everything that was drawn to make them; the steps all stories share.

Every story is a function (settings, seed) -> World. The seed is split into independent streams, one
for each thing drawn, so that changing how many votes there are leaves the truth and the workers as
they were.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Int32

from crowdlearn.errors import SettingsError
from crowdlearn.votes import Votes

CHUNK = 1 << 20  # votes drawn at a time: bounds the memory

Assign = Callable[
    [np.random.Generator, int, int],
    tuple[Int32[np.ndarray, " vote"], Int32[np.ndarray, " vote"]],
]
"""Who judges what: (rng, n_items, n_workers) -> item and worker of every vote."""


@dataclass(frozen=True, eq=False)
class World:
    """Simulated votes and their causes. What a story does not draw is None.

    `confusion[w, k, c]` is the probability that worker `w` says `c` on an item of class `k` where
    nothing else interferes: before guessing (idbla), averaged over subtypes (ebcc), over time
    (drifting) or over copied and own answers (colluding). `difficulty` is in [0, 1].
    """

    votes: Votes
    truth: Int32[np.ndarray, " item"]
    confusion: Float[np.ndarray, "worker class class"]
    prior: Float[np.ndarray, " class"]
    difficulty: Float[np.ndarray, " item"] | None = None  # chance that a vote is a guess
    guess: Float[np.ndarray, " class"] | None = None  # what is said when guessing
    subtype: Int32[np.ndarray, " item"] | None = None
    subtype_share: Float[np.ndarray, "class subtype"] | None = None
    subtype_confusion: Float[np.ndarray, "worker class subtype class"] | None = None
    honest: Bool[np.ndarray, " worker"] | None = None  # False: adversaries and spammers
    leader: Int32[np.ndarray, " worker"] | None = None  # whom a worker copies; itself if nobody
    accuracy_path: Float[np.ndarray, "moment worker"] | None = None  # at even times, first to last
    population: Float[np.ndarray, "class class"] | None = None  # confusion of the typical worker


def streams(seed: int, n_streams: int) -> list[np.random.Generator]:
    """Independent generators from one seed; the first ones do not depend on how many there are."""
    return np.random.default_rng(seed).spawn(n_streams)


def uniform_or(
    prior: Float[np.ndarray, " class"] | None, n_classes: int
) -> Float[np.ndarray, " class"]:
    """The given prior, or the uniform one. Raises SettingsError for another length or sum."""
    if prior is None:
        return np.full(n_classes, 1 / n_classes)
    if len(prior) != n_classes or (prior < 0).any() or not math.isclose(prior.sum(), 1):
        raise SettingsError(
            f"prior is {prior.tolist()}: it needs {n_classes} probabilities that sum to one"
        )
    return prior


def check_sizes(n_items: int, n_workers: int, n_classes: int) -> None:
    """Raises SettingsError unless there are items, workers and at least two classes."""
    for name, found, least in (
        ("n_items", n_items, 1),
        ("n_workers", n_workers, 1),
        ("n_classes", n_classes, 2),
    ):
        if found < least:
            raise SettingsError(f"{name} is {found}: at least {least} is needed")


def draw_truth(
    rng: np.random.Generator, prior: Float[np.ndarray, " class"], n_items: int
) -> Int32[np.ndarray, " item"]:
    """truth[i] ~ Categorical(prior)."""
    return draw_rows(rng, prior[None], np.zeros(n_items, dtype=np.int32))


def draw_rows(
    rng: np.random.Generator,
    rows: Float[np.ndarray, "row class"],
    row: Int[np.ndarray, " draw"],
) -> Int32[np.ndarray, " draw"]:
    """One class from the distribution `rows[row[d]]` for every draw `d`.

    Inverts the cumulative sums by bisection: log2(classes) gathers a draw, in chunks.
    """
    n_steps = math.ceil(math.log2(rows.shape[1]))
    cumulative = np.ones((len(rows), 2**n_steps))
    np.cumsum(rows[:, :-1], axis=1, out=cumulative[:, : rows.shape[1] - 1])
    flat = np.minimum(cumulative, 1).ravel()
    classes = np.empty(len(row), dtype=np.int32)
    for start in range(0, len(row), CHUNK):
        here = row[start : start + CHUNK].astype(np.int64) << n_steps
        uniform = rng.random(len(here))
        position = here.copy()
        for step in reversed(range(n_steps)):
            position += (flat[position + (1 << step) - 1] <= uniform).astype(np.int64) << step
        classes[start : start + CHUNK] = position - here
    return classes


def draw_labels(
    rng: np.random.Generator,
    confusion: Float[np.ndarray, "worker state class"],
    item: Int32[np.ndarray, " vote"],
    worker: Int32[np.ndarray, " vote"],
    state: Int32[np.ndarray, " item"],
) -> Int32[np.ndarray, " vote"]:
    """label[v] ~ Categorical(confusion[worker[v], state[item[v]]])."""
    n_workers, n_states, n_classes = confusion.shape
    row = worker.astype(np.int64) * n_states
    row += state[item]
    return draw_rows(rng, confusion.reshape(n_workers * n_states, n_classes), row)


def make_votes(
    item: Int32[np.ndarray, " vote"],
    worker: Int32[np.ndarray, " vote"],
    label: Int32[np.ndarray, " vote"],
    n_items: int,
    confusion: Float[np.ndarray, "worker class class"],
) -> Votes:
    """Votes whose names are the codes."""
    n_workers, n_classes, _ = confusion.shape
    return Votes.from_codes(
        item, worker, label, items=n_items, workers=n_workers, classes=n_classes
    )


def spread_errors(
    diagonal: Float[np.ndarray, "worker class"], errors: Float[np.ndarray, "worker class class"]
) -> Float[np.ndarray, "worker class class"]:
    """Confusion with this diagonal whose errors are shared out in proportion to `errors`."""
    n_classes = diagonal.shape[1]
    off = errors * (1 - np.eye(n_classes))
    confusion = off / off.sum(axis=2, keepdims=True) * (1 - diagonal)[:, :, None]
    confusion[:, np.arange(n_classes), np.arange(n_classes)] = diagonal
    return confusion
