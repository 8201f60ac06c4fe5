"""The one loop of all attacks by optimisation.

Story       dummy images are moved until what they would have sent is what was sent. What is
            compared and how, what images are likely, where they start and how they move are
            arguments; an attack of the literature is a choice of these.
Images      are what is moved, or what a generator makes of it (`Search.image`).
Restarts    are rows of one batch: `torch.func.vmap` takes the step of all of them at once. One
            restart goes by plain autograd, which costs less.
Kept        where every restart was at its best so far. A restart whose loss or slope is no longer
            finite is set back to them, its slope ignored; when none is finite for ten iterations
            the attack ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.func import vmap
from torch.nn.functional import one_hot

from fedsec.core.functional import Parameters
from fedsec.core.memory import keep_freed_memory
from fedsec.errors import SettingsError
from fedsec.inversion.case import Case, Reconstruction, delta_to_gradient
from fedsec.inversion.distances import Distance, as_row, cosine, row_of, rows_of
from fedsec.inversion.optimisers import Adam, Losses, Optimiser
from fedsec.inversion.priors import Coupling, ImagePrior
from fedsec.inversion.starts import Start, noise
from fedsec.inversion.trials import (
    Trial,
    Variables,
    at_start,
    descended_gradient,
    functional_gradient,
)

Adaptation = Callable[[Parameters, Parameters], Parameters]
"""(trial, observed) -> the trial as a defence that the attacker knows would have left it."""

Objective = Callable[[Variables], Losses]
"""A loss for every row of the variables."""
ExtraOf = Callable[[Variables], Any]
"""variables -> what else the victim's loss depends on, as steps and noise of a diffusion model."""
ImageOf = Callable[[Tensor], Tensor]
"""(sample channel height width) -> images of that form; no sample depends on another."""
LABELS = "labels"  # among the variables: the logits of labels that are learnt
GIVEN_UP = 10  # iterations in a row without a finite restart


@dataclass(frozen=True, kw_only=True)
class Watch:
    """How an attack is followed, and when it is ended early.

    progress  is told (iteration, of how many, lowest loss so far) every `every` iterations
    stop      is asked before each iteration whether to end
    seconds   of wall time, after which it ends
    """

    progress: Callable[[int, int, float], None] | None = None
    stop: Callable[[], bool] | None = None
    seconds: float | int = inf
    every: int = 50


@dataclass(frozen=True, kw_only=True)
class Search:
    """How images are looked for.

    distance    between what was sent and what would have been
    priors      what makes images likely; each adds to the distance
    coupling    penalty over restarts, or None
    start       of the images
    optimiser   how they move
    iterations  at most; 1 or more
    restarts    at once; the one of least loss is the answer
    box         images are held in [0, 1]
    langevin    standard deviation, in units of the rate, of noise added to every step
    image       makes images of what is moved, as a generator does of latents; None where the
                images themselves are
    """

    distance: Distance = cosine
    priors: tuple[ImagePrior, ...] = ()
    coupling: Coupling | None = None
    start: Start = noise
    optimiser: Optimiser = field(default_factory=Adam)
    iterations: int = 1000
    restarts: int = 1
    box: bool = True
    langevin: float = 0.0
    image: ImageOf | None = None

    def __post_init__(self) -> None:
        for name in ("iterations", "restarts"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} = {getattr(self, name)}: give at least 1")


def invert(
    case: Case,
    search: Search,
    *,
    labels: Int[Tensor, " sample"] | None,
    generator: torch.Generator,
    trials: Sequence[Trial] | None = None,
    extras: Variables | None = None,
    extra: ExtraOf | None = None,
    starts: Variables | None = None,
    adapt: Adaptation | None = None,
    watch: Watch | None = None,
) -> Reconstruction:
    """Look for the images behind a case.

    labels   of the images; None to learn them too, from N(0, 1) logits
    trials   one for each observed round: what would have been sent; the gradient at the parameters
             sent where None
    extras   what a trial learns beside the images: the start of one restart, by name
    extra    what the loss depends on in place of labels, given all that is learnt; then no labels
             are
    starts   where every restart starts, by name, "x" for the images: (restart, ...), in place of
             what the search and `extras` say
    adapt    what a known defence does to a trial

    Raises SettingsError where the trials are not as many as the rounds.
    """
    made = [at_start] * len(case.observed) if trials is None else list(trials)
    if len(made) != len(case.observed):
        raise SettingsError(f"{len(made)} trials for {len(case.observed)} observed rounds")
    learns_labels = labels is None and extra is None
    variables = start_of(case, search, learns_labels, extras or {}, generator)
    variables |= {name: value.detach().clone() for name, value in (starts or {}).items()}
    evaluate = evaluator(case, search, made, labels, adapt, variables, extra)
    done = descend(search, variables, evaluate, generator, watch)
    return rebuilt(case, search, done, slice(None), labels, len(made))


@dataclass(frozen=True, eq=False)
class Descent:
    """What the loop came to: a row a restart.

    kept     the variables, where each restart had its least loss, `lowest`
    """

    kept: Variables
    lowest: Losses
    history: Float[np.ndarray, "iteration restart"]
    stopped: str
    seconds: float


def descend(
    search: Search,
    variables: Variables,
    evaluate: Callable[[], tuple[Losses, Variables]],
    generator: torch.Generator,
    watch: Watch | None,
) -> Descent:
    """Move the variables, in place, to where `evaluate` gives least."""
    watch = Watch() if watch is None else watch
    keep_freed_memory()
    begun = time.perf_counter()
    stepper = search.optimiser.begin(variables)
    x = variables["x"]
    best = _BestOfOne(variables) if len(x) == 1 else _Best(variables)
    history: list[Losses] = []
    stopped, n_lost = "done", 0
    for iteration in range(search.iterations):
        stopped = _ended(watch, begun)
        if stopped:
            break
        losses, slopes = evaluate()
        history.append(losses)
        if best.keep(losses, slopes, variables):
            n_lost = 0
        else:
            fine = _finite(losses, slopes)
            _keep_all(variables, best.kept, ~fine)
            losses, slopes = torch.where(fine, losses, best.lowest), _ignored(slopes, ~fine)
            n_lost = 0 if bool(fine.any()) else n_lost + 1
            if n_lost == GIVEN_UP:
                stopped = "diverged"
                break
        stepper.step(losses, slopes, iteration / search.iterations)
        if search.langevin:
            x += search.langevin * torch.randn(
                x.shape, generator=generator, device=x.device, dtype=x.dtype
            )
        if search.box:
            x.clamp_(0, 1)
        if watch.progress is not None and (iteration + 1) % watch.every == 0:
            watch.progress(iteration + 1, search.iterations, float(best.lowest.min()))
    seconds = time.perf_counter() - begun
    return Descent(best.kept, best.lowest, _stacked(history, len(x)), stopped or "done", seconds)


class _Best:
    """Where every restart had its least loss."""

    def __init__(self, variables: Variables) -> None:
        x = variables["x"]
        self.kept = {name: value.clone() for name, value in variables.items()}
        self.lowest = torch.full((len(x),), inf, device=x.device, dtype=x.dtype)

    def keep(self, losses: Losses, slopes: Variables, variables: Variables) -> bool:
        """Take what is better; whether the sum of all losses and slopes is finite."""
        better = losses < self.lowest
        self.lowest = torch.where(better, losses, self.lowest)
        _keep_all(self.kept, variables, better)
        return isfinite(float(sum((value.sum() for value in slopes.values()), start=losses.sum())))


class _BestOfOne(_Best):
    """The same of a single restart, whose loss is looked at as a number: fewer operations."""

    def __init__(self, variables: Variables) -> None:
        super().__init__(variables)
        self._least = inf

    def keep(self, losses: Losses, slopes: Variables, variables: Variables) -> bool:
        """As of many."""
        loss = float(losses)
        if loss < self._least:
            self._least, self.lowest = loss, losses
            for name, value in self.kept.items():
                value.copy_(variables[name])
        return isfinite(loss) and all(isfinite(float(value.sum())) for value in slopes.values())


def rebuilt(
    case: Case, search: Search, done: Descent, rows: slice, labels: Tensor | None, n_trials: int
) -> Reconstruction:
    """What some rows of a descent say of a case; they have an equal share of its time."""
    lowest, history = done.lowest[rows], done.history[:, rows]
    kept = {name: value[rows] for name, value in done.kept.items()}
    best, n = int(lowest.argmin()), len(lowest)
    with torch.no_grad():
        x = imaged(kept["x"], search.image).clamp(0, 1)
    learnt = {name: value for name, value in kept.items() if name != "x"}
    if LABELS in learnt:
        labels = learnt[LABELS][best].argmax(dim=1)
    return Reconstruction(
        x=x[best], labels=labels, loss=float(lowest[best]), history=history, candidates=x,
        best=best, evaluations=history.size * n_trials,
        seconds=done.seconds * n / len(done.lowest), stopped=done.stopped,
        knowledge=case.knowledge, learnt=learnt,
    )  # fmt: skip


def imaged(moved: Tensor, image: ImageOf | None) -> Tensor:
    """Images of all restarts: (restart, sample, channel, height, width), made in one batch."""
    if image is None:
        return moved
    return image(moved.flatten(0, 1)).unflatten(0, moved.shape[:2])


def evaluator(
    case: Case,
    search: Search,
    trials: Sequence[Trial],
    labels: Int[Tensor, " sample"] | None,
    adapt: Adaptation | None,
    variables: Variables,
    extra: ExtraOf | None = None,
) -> Callable[[], tuple[Losses, Variables]]:
    """What gives losses and slopes of all restarts where the variables are when it is called."""
    rows = objective(case, search, trials, labels, adapt, len(variables["x"]), extra)
    return lambda: losses_and_slopes(rows, search, variables)


def objective(
    case: Case,
    search: Search,
    trials: Sequence[Trial],
    labels: Int[Tensor, " sample"] | None,
    adapt: Adaptation | None,
    n_restarts: int,
    extra: ExtraOf | None = None,
) -> Objective:
    """Loss of every restart: mean distance over the observed rounds, and the image priors."""
    gradient = descended_gradient() if n_restarts == 1 else functional_gradient
    if labels is not None and n_restarts > 1:  # of labels, vmap takes the loss apart in Python
        labels = one_hot(labels, case.n_classes).to(case.dtype)
    targets = [delta_to_gradient(seen.update, case.knowledge) for seen in case.observed]
    distances = [search.distance(as_row(target)) for target in targets]
    sent = [
        {
            name: value.detach().requires_grad_(n_restarts == 1)
            for name, value in seen.parameters.items()
        }
        for seen in case.observed
    ]

    def given(variables: Variables) -> Any:
        if extra is not None:
            return extra(variables)
        return variables[LABELS].softmax(dim=1) if labels is None else labels

    def one(variables: Variables) -> tuple[list[Parameters], list[Tensor]]:
        beside = given(variables)
        found = [
            trial(case.victim.loss, parameters, variables, beside, gradient)
            for trial, parameters in zip(trials, sent, strict=True)
        ]
        if adapt is not None:
            found = [adapt(made, target) for made, target in zip(found, targets, strict=True)]
        return found, [prior(variables["x"]) for prior in search.priors]

    def losses(variables: Variables) -> Losses:
        if n_restarts == 1:  # by plain autograd, which costs less
            found, priors = one({name: value.squeeze(0) for name, value in variables.items()})
            rows = [row_of(made, target) for made, target in zip(found, targets, strict=True)]
            priors = [prior[None] for prior in priors]
        else:
            found, priors = vmap(one)(variables)
            rows = [rows_of(made, target) for made, target in zip(found, targets, strict=True)]
        total = distances[0](rows[0])
        for against, row in zip(distances[1:], rows[1:], strict=True):
            total = total + against(row)
        return sum(priors, start=total / len(rows) if len(rows) > 1 else total)

    return losses


def losses_and_slopes(
    objective: Objective, search: Search, variables: Variables
) -> tuple[Losses, Variables]:
    """Losses of all rows and their slopes.

    No distance depends on another row's images, so the slopes of the sum are all theirs.
    """
    leaves = {name: value.detach().requires_grad_() for name, value in variables.items()}
    losses = objective({**leaves, "x": imaged(leaves["x"], search.image)})
    if search.coupling is not None:
        losses = losses + search.coupling(leaves["x"])
    slopes = torch.autograd.grad(
        losses, tuple(leaves.values()), torch.ones_like(losses), materialize_grads=True
    )
    return losses.detach(), dict(zip(leaves, slopes, strict=True))


def start_of(
    case: Case,
    search: Search,
    learns_labels: bool,
    extras: Variables,
    generator: torch.Generator,
) -> Variables:
    """Where the restarts start: (restart, ...) by name."""

    def rows(draw: Callable[[], Tensor]) -> Tensor:
        return torch.stack([draw() for _ in range(search.restarts)]).to(case.device, case.dtype)

    shape = (case.n, *case.shape)
    variables = {"x": rows(lambda: search.start(shape, generator, case.device))}
    if search.box:
        variables["x"].clamp_(0, 1)
    if learns_labels:
        logits = case.n, case.n_classes
        variables[LABELS] = rows(
            lambda: torch.randn(logits, generator=generator, device=case.device)
        )
    return variables | {name: rows(value.clone) for name, value in extras.items()}


def _ended(watch: Watch, begun: float) -> str:
    """Why to end now, or nothing."""
    if watch.stop is not None and watch.stop():
        return "interrupted"
    return "time" if time.perf_counter() - begun > watch.seconds else ""


def _finite(losses: Losses, slopes: Variables) -> Tensor:
    """Which restarts are finite."""
    fine = losses.isfinite()
    for value in slopes.values():
        fine = fine & value.reshape(len(value), -1).sum(1).isfinite()
    return fine


def _ignored(slopes: Variables, which: Tensor) -> Variables:
    """The slopes, zero in some restarts."""
    return {name: value.masked_fill(_rows(which, value), 0) for name, value in slopes.items()}


def _keep_all(kept: Variables, values: Variables, better: Tensor) -> None:
    """Copy the rows that are better."""
    for name, value in values.items():
        torch.where(_rows(better, value), value, kept[name], out=kept[name])


def _rows(chosen: Tensor, value: Tensor) -> Tensor:
    return chosen.view(-1, *[1] * (value.ndim - 1))


def _stacked(history: list[Losses], n: int) -> Float[np.ndarray, "iteration restart"]:
    if not history:
        return np.empty((0, n), dtype=np.float32)
    found: Float[np.ndarray, "iteration restart"] = torch.stack(history).cpu().numpy()
    return found
