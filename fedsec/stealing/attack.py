"""The one loop of all attacks that copy a victim by its answers.

Story       an attack is its settings, `begin`, which makes its parts, and `step`, one iteration.
            The loop here counts, records, keeps the best copy, saves, and ends cleanly: when the
            budget is used up, when an attack is done or has collapsed, or when it is interrupted.
Best        the copy that agrees most with the victim, in the mean over classes, on queries kept
            apart, which are part of the budget: an attacker has no test images. The best on the
            owner's test images is told apart from it, as what it is: optimistic.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from fedsec.core.functional import State, state_of
from fedsec.errors import SettingsError
from fedsec.federated.history import described
from fedsec.stealing.checkpoint import Course, load_run, save_run
from fedsec.stealing.oracle import BudgetExhausted, Oracle, QueriesRefused
from fedsec.stealing.parts import Parts, Step, held_out
from fedsec.stealing.records import CopyScore, StealRecord, predict, predict_logits

Stopped = Literal["budget", "done", "interrupted", "collapsed", "refused"]
Evaluate = Callable[[State], CopyScore]
RESUMED = ("", "interrupted", "refused")  # a run that stopped so is gone on with


@dataclass(frozen=True, kw_only=True)
class Watch:
    """How an attack is followed, saved and ended early.

    progress  is told (queries, budget, latest record) after every iteration
    stop      is asked before each iteration whether to end
    every     queries between records, at least
    seconds   between checkpoints, at least; one is written at the end too
    """

    progress: Callable[[int, int | None, StealRecord | None], None] | None = None
    stop: Callable[[], bool] | None = None
    every: int = 5_000
    seconds: float | int = 30.0


@dataclass(eq=False, kw_only=True)
class Stolen:
    """What an attack has got.

    state             the last copy
    best              the one that agrees most with held-out queries, made at `best_queries`
    records           the curve; the last one is of the last copy
    queries           asked in all
    substitute_steps  of the copy's optimiser
    seconds           of wall time, of earlier sessions too
    stopped           why it ended: "budget" used up, "done", "interrupted", "collapsed", or
                      "refused" by a defence
    """

    state: State
    best: State
    best_queries: int
    records: list[StealRecord] = field(default_factory=list)
    queries: int
    substitute_steps: int
    seconds: float
    stopped: Stopped

    @property
    def best_on_test(self) -> float | None:
        """The highest test accuracy of the curve. Optimistic: an attacker cannot choose by it."""
        found = [record.accuracy for record in self.records if record.accuracy is not None]
        return max(found, default=None)


@runtime_checkable
class Method(Protocol):
    """What the loop needs of an attack: frozen settings with these two methods."""

    @property
    def name(self) -> str: ...  # noqa: D102

    def begin(self, oracle: Oracle, substitute: nn.Module, seed: int) -> Parts:
        """The parts at the start, on the substitute's device. Asks nothing.

        The same arguments give the same parts. Raises SettingsError where settings do not fit.
        """
        ...

    def step(self, oracle: Oracle, parts: Parts) -> Step:
        """One iteration, in place."""
        ...


@runtime_checkable
class StealAttack(Protocol):
    """Copies a victim by its answers."""

    @property
    def name(self) -> str: ...  # noqa: D102

    def __call__(
        self,
        oracle: Oracle,
        substitute: nn.Module,
        *,
        seed: int,
        watch: Watch | None = None,
        evaluate: Evaluate | None = None,
        checkpoint: Path | None = None,
    ) -> Stolen:
        """The copy; see `steal`."""
        ...


@dataclass(frozen=True, kw_only=True)
class StealSettings:
    """What all attacks have.

    batch     images in a step
    latent    numbers in a code of the generator
    held_out  share of the queries that is kept apart to choose the best copy
    """

    batch: int = 256
    latent: int = 128
    held_out: float | int = 0.02

    def __post_init__(self) -> None:
        for name, least in (("batch", 2), ("latent", 1)):
            if getattr(self, name) < least:
                raise SettingsError(f"{name} = {getattr(self, name)}: give at least {least}")
        if not 0 <= self.held_out < 1:
            raise SettingsError(f"held_out = {self.held_out}: give a share from 0 to below 1")

    def __call__(
        self: Method,
        oracle: Oracle,
        substitute: nn.Module,
        *,
        seed: int,
        watch: Watch | None = None,
        evaluate: Evaluate | None = None,
        checkpoint: Path | None = None,
    ) -> Stolen:
        """The copy; see `steal`."""
        return steal(
            self, oracle, substitute, seed=seed, watch=watch, evaluate=evaluate,
            checkpoint=checkpoint,
        )  # fmt: skip


def steal(
    method: Method,
    oracle: Oracle,
    substitute: nn.Module,
    *,
    seed: int,
    watch: Watch | None = None,
    evaluate: Evaluate | None = None,
    checkpoint: Path | None = None,
) -> Stolen:
    """Run an attack until it ends; see the module.

    substitute  a network at its start; it is copied, and left as it is
    evaluate    scores a copy on the owner's test images; what it finds is recorded, never used
    checkpoint  file to go on from where it is there, and to save to; a run that had ended is not
                run again. Without, nothing is saved

    Ctrl-C ends an attack as `watch.stop` does, but within an iteration: what that one did is in the
    copy, and not in the checkpoint; so it is where a defence refuses. Raises what `begin` and
    `load_run` raise, and what an oracle raises that cannot be asked or answers nonsense: the
    checkpoint is then there to go on from.
    """
    watch = Watch() if watch is None else watch
    _check_fit(oracle, substitute)
    parts = method.begin(oracle, copy.deepcopy(substitute), seed)
    course = Course(state_of(parts.substitute))
    settings = _settings(method, oracle, substitute, seed)
    if checkpoint is not None and checkpoint.exists():
        course = load_run(checkpoint, parts, oracle, settings)
    run = _Run(method, oracle, parts, course, watch, evaluate, checkpoint, settings)
    if course.stopped in RESUMED:
        course.stopped = _to_the_end(run)
        run.finish()
    return Stolen(
        state=state_of(parts.substitute), best=course.best, best_queries=course.best_queries,
        records=course.records, queries=oracle.queries, substitute_steps=course.steps,
        seconds=course.seconds, stopped=course.stopped,  # type: ignore[arg-type]
    )  # fmt: skip


@dataclass(eq=False)
class _Run:
    """One session of an attack."""

    method: Method
    oracle: Oracle
    parts: Parts
    course: Course
    watch: Watch
    evaluate: Evaluate | None
    checkpoint: Path | None
    settings: Mapping[str, Any]

    def __post_init__(self) -> None:
        self.begun = time.perf_counter() - self.course.seconds
        self.saved = time.perf_counter()
        self.last = Step(steps=0)
        self.whole = True  # the parts are those of a whole number of iterations

    def iterate(self) -> str:
        """One iteration; why it was the last, or nothing."""
        self.whole = False
        step = self.last = self.method.step(self.oracle, self.parts)
        self.course.steps += step.steps
        self.parts.numbers["iteration"] = self.parts.iteration + 1
        if self.oracle.queries - self.course.recorded >= self.watch.every:
            self.record()
        self.whole = True
        if self.watch.progress is not None:
            latest = self.course.records[-1] if self.course.records else None
            self.watch.progress(self.oracle.queries, self.oracle.budget, latest)
        if time.perf_counter() - self.saved >= self.watch.seconds:
            self.save()
        return step.ended

    def record(self) -> None:
        """Add a point to the curve, and keep the copy where it is the best so far."""
        step, course, parts = self.last, self.course, self.parts
        state = state_of(parts.substitute)
        score = None if self.evaluate is None else self.evaluate(state)
        counts = () if step.histogram is None else tuple(step.histogram.tolist())
        course.records.append(
            StealRecord(
                queries=self.oracle.queries, steps=course.steps, iteration=parts.iteration,
                seconds=time.perf_counter() - self.begun,
                accuracy=None if score is None else score.accuracy,
                agreement=None if score is None else score.agreement,
                held_out=self._kept(state), histogram=counts,
                confidence=_number(step.confidence), flips=_number(step.flips),
                losses={name: float(value) for name, value in step.losses.items()},
            )
        )  # fmt: skip
        course.recorded = self.oracle.queries

    def _kept(self, state: State) -> float | None:
        """Agreement with the held-out queries; the better copy of this and the best is kept."""
        course, held = self.course, held_out(self.parts)
        found = None if held is None else _agreement(self.parts.substitute, state, held)
        if (
            held is None
            or found is None
            or found >= _agreement(self.parts.substitute, course.best, held)
        ):
            course.best, course.best_queries = state, self.oracle.queries
        return found

    def finish(self) -> None:
        """The last record and checkpoint. What is to be resumed is saved as it was found."""
        course = self.course
        course.seconds = time.perf_counter() - self.begun
        if course.stopped in RESUMED:
            if self.whole:
                self.save()
            self._kept(state_of(self.parts.substitute))
        else:
            last = course.records[-1] if course.records else None
            if last is None or (last.queries, last.steps) != (self.oracle.queries, course.steps):
                self.record()
            self.save()

    def save(self) -> None:
        """Write the checkpoint, where one is wanted."""
        if self.checkpoint is not None:
            self.course.seconds = time.perf_counter() - self.begun
            save_run(self.checkpoint, self.parts, self.course, self.oracle, self.settings)
            self.saved = time.perf_counter()


def _to_the_end(run: _Run) -> Stopped:
    """Iterate until there is a reason to stop."""
    try:
        while True:
            if run.oracle.remaining() == 0:
                return "budget"
            if run.watch.stop is not None and run.watch.stop():
                return "interrupted"
            ended = run.iterate()
            if ended:
                return "collapsed" if ended == "collapsed" else "done"
    except BudgetExhausted:
        return "budget"
    except QueriesRefused:
        return "refused"
    except KeyboardInterrupt:
        return "interrupted"


@torch.no_grad()
def _check_fit(oracle: Oracle, substitute: nn.Module) -> None:
    """Raise SettingsError where a copy cannot take the images, or has other classes."""
    device = next(substitute.parameters()).device
    wanted = 1, oracle.n_classes
    try:
        x = torch.zeros((1, *oracle.shape), device=device)
        found = tuple(predict_logits(substitute, state_of(substitute), x).shape)
    except RuntimeError as error:
        raise SettingsError(f"the copy cannot take images of {oracle.shape}: {error}") from error
    if found != wanted:
        raise SettingsError(
            f"the copy gives {found} for an image, where {oracle.n_classes} classes are answered"
        )


def _settings(method: Method, oracle: Oracle, substitute: nn.Module, seed: int) -> dict[str, Any]:
    """What a checkpoint must have been made with."""
    return {
        "attack": {"name": method.name, **described(method)},
        "seed": seed,
        "oracle": {
            "mode": oracle.mode, "budget": oracle.budget, "n_classes": oracle.n_classes,
            "shape": list(oracle.shape),
        },
        "substitute": {name: list(value.shape) for name, value in substitute.named_parameters()},
    }  # fmt: skip


@torch.no_grad()
def _agreement(net: nn.Module, state: State, held: tuple[Tensor, Tensor]) -> float:
    """Mean over the classes of the share of held-out queries of a class that is agreed on.

    Not the plain share: where most answers are one class, as of noise, a copy that says nothing
    else would have most of it.
    """
    x, labels = held
    same = (predict(net, state, x) == labels).double()
    counts = torch.bincount(labels).double()
    agreed = torch.zeros_like(counts).scatter_add_(0, labels, same)
    return float((agreed / counts)[counts > 0].mean())


def _number(value: Tensor | float | None) -> float | None:
    return None if value is None else float(value)
