"""The only way to the victim: it answers images, counts them, and stops at the budget.

Story       a prediction API. It clips what it is sent to [0, 1], answers with labels or with
            probabilities, and bills every image. An attack holds an `Oracle` and nothing else.
Counting    one query an image. A batch larger than what the budget leaves is not answered at all:
            ask `remaining()`, or let `ask` cut the batch.
Hidden      what answers, and the counters, lie in a table of this module, not in the oracle: no
            attribute, slot or closure of an oracle leads there.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fedsec.core.functional import State, load_state
from fedsec.errors import DataError, FedsecError, SettingsError

Mode = Literal["labels", "probabilities"]
MODES = ("labels", "probabilities")
Shape = tuple[int, int, int]
Answer = Callable[[Tensor, Tensor], Tensor]
"""A defence: (probabilities, images) -> the probabilities to answer from."""

CHUNK = 1024  # images that the victim sees at once


class QueriesRefused(FedsecError):
    """The oracle does not answer; the driver of the attacks ends them with what they have."""


class BudgetExhausted(QueriesRefused):
    """More images than the budget leaves were asked for; none of them was answered or counted."""


class QueryLog:
    """What was asked: counts, and on request a digest of every image and the first images.

    counts   answers of each class, by the largest probability
    calls    batches that were answered
    hashes   SHA-256 of each image as it was clipped, in order; None unless asked for
    images   the first images, in order; None unless a number is asked for
    """

    def __init__(self, n_classes: int, *, hashes: bool = False, n_images: int = 0) -> None:
        self.counts: Int[Tensor, " class"] = torch.zeros(n_classes, dtype=torch.int64)
        self.calls = 0
        self.hashes: list[str] | None = [] if hashes else None
        self.images: list[Tensor] | None = [] if n_images else None
        self._n_images = n_images

    def add(self, x: Float[Tensor, "sample ..."], answers: Tensor) -> None:
        """Note one batch. Nothing here waits for the device unless images are kept."""
        top = answers if answers.ndim == 1 else answers.argmax(dim=1)
        if self.counts.device != top.device:
            self.counts = self.counts.to(top.device)
        self.counts.scatter_add_(0, top, torch.ones_like(top))
        self.calls += 1
        if self.hashes is not None:
            self.hashes += digests(x)
        if self.images is not None and len(self.images) < self._n_images:
            self.images += list(x[: self._n_images - len(self.images)].cpu())


@runtime_checkable
class Oracle(Protocol):
    """Answers images.

    n_classes   classes that it tells apart
    shape       (channel, height, width) of an image
    mode        whether it answers labels or probabilities
    budget      queries in all; None: no end
    queries     images answered so far
    log         what was asked
    """

    @property
    def n_classes(self) -> int: ...  # noqa: D102
    @property
    def shape(self) -> Shape: ...  # noqa: D102
    @property
    def mode(self) -> Mode: ...  # noqa: D102
    @property
    def budget(self) -> int | None: ...  # noqa: D102
    @property
    def queries(self) -> int: ...  # noqa: D102
    @property
    def log(self) -> QueryLog: ...  # noqa: D102

    def __call__(self, x: Float[Tensor, "sample channel height width"]) -> Tensor:
        """Labels `(sample,)` int64, or probabilities `(sample, class)`, without a graph.

        Raises BudgetExhausted where the batch is larger than what is left: then nothing was asked.
        """
        ...

    def remaining(self) -> int | None:
        """Queries that are left; None where there is no budget."""
        ...

    def resume(self, queries: int, calls: int, counts: Int[Tensor, " class"]) -> None:
        """Go on from these counts. They only go up: raises SettingsError for fewer queries."""
        ...


class ModelOracle:
    """A local victim behind the counter; see `Oracle` and the module.

    The network is copied, set to evaluation mode and never differentiated, so that it neither
    changes by being asked nor with what becomes of `net`.

    answers   defences, applied in this order to the probabilities before they are answered
    device    where the victim computes; None: where its state lies

    Raises SettingsError for a budget below 1, an unknown mode, or a shape that is none.
    """

    __slots__ = ("__weakref__",)

    def __init__(
        self,
        net: nn.Module,
        state: State,
        shape: Shape,
        n_classes: int,
        *,
        mode: Mode = "labels",
        budget: int | None = None,
        answers: tuple[Answer, ...] = (),
        device: torch.device | str | None = None,
        log: QueryLog | None = None,
    ) -> None:
        check_oracle(shape, n_classes, mode, budget)
        where = next(iter(state.parameters.values())).device if device is None else device
        victim = load_state(copy.deepcopy(net), state).to(where).eval().requires_grad_(False)
        answer = _answering(victim, torch.device(where), n_classes, mode, answers)
        log = QueryLog(n_classes) if log is None else log
        _HIDDEN[self] = _Books(answer, (*shape,), n_classes, mode, budget, log)

    @property
    def n_classes(self) -> int:
        """Classes that it tells apart."""
        return _HIDDEN[self].n_classes

    @property
    def shape(self) -> Shape:
        """(channel, height, width) of an image."""
        return _HIDDEN[self].shape

    @property
    def mode(self) -> Mode:
        """Whether it answers labels or probabilities."""
        return _HIDDEN[self].mode

    @property
    def budget(self) -> int | None:
        """Queries in all; None: no end."""
        return _HIDDEN[self].budget

    @property
    def queries(self) -> int:
        """Images answered so far."""
        return _HIDDEN[self].queries

    @property
    def log(self) -> QueryLog:
        """What was asked."""
        return _HIDDEN[self].log

    def remaining(self) -> int | None:
        """Queries that are left; None where there is no budget."""
        return left(self.budget, self.queries)

    def __call__(self, x: Float[Tensor, "sample channel height width"]) -> Tensor:
        """Labels or probabilities of a batch, on its device; see `Oracle`.

        Raises DataError for images of another shape, and for none.
        """
        admit(self, x)
        try:
            return _answered(self, x)
        except QueriesRefused as error:
            refusal = error.with_traceback(None)  # its frames would show the victim
        raise refusal

    def resume(self, queries: int, calls: int, counts: Int[Tensor, " class"]) -> None:
        """Go on from these counts; see `Oracle`."""
        check_resumed(self, queries)
        books = _HIDDEN[self]
        books.queries, books.log.calls = queries, calls
        books.log.counts = counts.clone()

    def __copy__(self) -> ModelOracle:
        raise TypeError("an oracle is not copied: its budget would be had twice")

    def __deepcopy__(self, memo: object) -> ModelOracle:
        raise TypeError("an oracle is not copied: its budget would be had twice")

    def __reduce__(self) -> str:
        raise TypeError("an oracle is not pickled: it would take the victim along")


def ask(
    oracle: Oracle, x: Float[Tensor, "sample channel height width"]
) -> tuple[Float[Tensor, "asked channel height width"], Tensor]:
    """As many of these images as the budget leaves, clipped, and their answers.

    Raises BudgetExhausted where nothing is left.
    """
    n = affordable(oracle, len(x))
    if n < 1:
        raise BudgetExhausted(f"all {oracle.budget} queries are used up")
    x = x[:n].detach().clamp(0, 1)
    return x, oracle(x)


def affordable(oracle: Oracle, n: int) -> int:
    """How many of `n` queries are left."""
    rest = oracle.remaining()
    return n if rest is None else min(n, rest)


def labels_of(answers: Tensor) -> Int[Tensor, " sample"]:
    """The label of each answer: itself, or the class of the largest probability."""
    return answers if answers.ndim == 1 else answers.argmax(dim=1)


def digests(x: Float[Tensor, "sample ..."]) -> list[str]:
    """SHA-256 of each image, as float32."""
    rows = x.detach().to("cpu", torch.float32).contiguous().numpy()
    return [hashlib.sha256(row.tobytes()).hexdigest() for row in rows]


def left(budget: int | None, queries: int) -> int | None:
    """What a budget leaves."""
    return None if budget is None else budget - queries


def admit(oracle: Oracle, x: Tensor) -> None:
    """Raise DataError for what cannot be asked, BudgetExhausted for more than is left."""
    if x.ndim != 4 or tuple(x.shape[1:]) != oracle.shape or not len(x):
        wanted = ", ".join(str(size) for size in oracle.shape)
        raise DataError(
            f"a batch of shape {tuple(x.shape)}: give (sample, {wanted}), with one sample or more"
        )
    rest = oracle.remaining()
    if rest is not None and len(x) > rest:
        raise BudgetExhausted(
            f"{len(x)} images were asked for, {rest} of {oracle.budget} queries are left: none was"
            " answered"
        )


def check_oracle(shape: Shape, n_classes: int, mode: str, budget: int | None) -> None:
    """Raise SettingsError for what no oracle can be."""
    if len(shape) != 3 or min(shape) < 1:
        raise SettingsError(f"shape = {tuple(shape)}: give (channel, height, width)")
    if n_classes < 2:
        raise SettingsError(f"n_classes = {n_classes}: give at least 2")
    if mode not in MODES:
        raise SettingsError(f"mode = {mode!r}: choose from {', '.join(MODES)}")
    if budget is not None and budget < 1:
        raise SettingsError(f"budget = {budget}: give at least 1 query")


def check_resumed(oracle: Oracle, queries: int) -> None:
    """Raise SettingsError where a count would fall, or pass the budget."""
    if queries < oracle.queries:
        raise SettingsError(
            f"{oracle.queries} queries were asked: the count cannot go back to {queries}"
        )
    if oracle.budget is not None and queries > oracle.budget:
        raise SettingsError(f"{queries} queries were asked: the budget is {oracle.budget}")


@dataclass(eq=False, slots=True)
class _Books:
    """What an oracle hides."""

    answer: Callable[[Tensor], Tensor]
    shape: Shape
    n_classes: int
    mode: Mode
    budget: int | None
    log: QueryLog
    queries: int = 0


_HIDDEN: WeakKeyDictionary[ModelOracle, _Books] = WeakKeyDictionary()


def _answered(oracle: ModelOracle, x: Tensor) -> Tensor:
    """The answers, counted once they are all there: a defence that refuses costs nothing."""
    books = _HIDDEN[oracle]
    with torch.no_grad():
        clipped = x.detach().clamp(0, 1)
        if len(x) <= CHUNK:
            answers = books.answer(clipped)
        else:
            answers = torch.cat([books.answer(part) for part in clipped.split(CHUNK)])
        books.queries += len(x)
        books.log.add(clipped, answers)
    return answers.to(x.device)


def _answering(
    victim: nn.Module,
    device: torch.device,
    n_classes: int,
    mode: Mode,
    defences: tuple[Answer, ...],
) -> Callable[[Tensor], Tensor]:
    soft = mode == "probabilities" or bool(defences)

    def answer(x: Tensor) -> Tensor:
        x = x.to(device)
        found: Tensor = victim(x)
        if found.ndim != 2 or found.shape[1] != n_classes:
            raise DataError(
                f"the victim gives {tuple(found.shape)} for {len(x)} images: {n_classes} classes"
                " were announced"
            )
        if soft:
            found = found.softmax(dim=1)
            for defence in defences:
                found = defence(found, x)
        return found.argmax(dim=1) if mode == "labels" else found

    return answer
