"""The one loop of all attacks by optimisation.

Story       dummy images are moved until what they would have sent is what was sent. What is
            compared and how, what images are likely, where they start and how they move are
            arguments; an attack of the literature is a choice of these.
Restarts    are rows of one batch: `torch.func.vmap` takes the step of all of them at once. One
            restart goes by plain autograd, which costs less.
Kept        the best images so far of every restart. A restart whose loss or slope is no longer
            finite is set back to them, its slope ignored; when none is finite for ten iterations
            the attack ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.func import vmap

from fedsec.core.functional import Parameters
from fedsec.errors import SettingsError
from fedsec.inversion.case import Case, Observed, Reconstruction, delta_to_gradient
from fedsec.inversion.distances import Distance, cosine
from fedsec.inversion.optimisers import Adam, Losses, Optimiser
from fedsec.inversion.priors import Coupling, ImagePrior
from fedsec.inversion.starts import Start, noise
from fedsec.inversion.trials import (
    GradientOf,
    Trial,
    Variables,
    at_start,
    functional_gradient,
    plain_gradient,
)

Adaptation = Callable[[Parameters, Parameters], Parameters]
"""(trial, observed) -> the trial as a defence that the attacker knows would have left it."""

Objective = Callable[[Variables], Tensor]
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
    adapt: Adaptation | None = None,
    watch: Watch | None = None,
) -> Reconstruction:
    """Look for the images behind a case.

    labels   of the images; None to learn them too, from N(0, 1) logits
    trials   one for each observed round: what would have been sent; the gradient at the parameters
             sent where None
    extras   what a trial learns beside the images: the start of one restart, by name
    adapt    what a known defence does to a trial

    Raises SettingsError where the trials are not as many as the rounds.
    """
    watch = Watch() if watch is None else watch
    begun = time.perf_counter()
    made = [at_start] * len(case.observed) if trials is None else list(trials)
    if len(made) != len(case.observed):
        raise SettingsError(f"{len(made)} trials for {len(case.observed)} observed rounds")
    variables = _start(case, search, labels, extras or {}, generator)
    evaluate = evaluator(case, search, made, labels, adapt, variables)
    stepper = search.optimiser.begin(variables)
    x = variables["x"]
    kept, lowest = x.clone(), torch.full((search.restarts,), inf, device=x.device, dtype=x.dtype)
    best_labels = variables[LABELS].clone() if LABELS in variables else None
    history: list[Losses] = []
    stopped, n_lost = "done", 0
    for iteration in range(search.iterations):
        stopped = _ended(watch, begun)
        if stopped:
            break
        losses, slopes = evaluate()
        better = losses < lowest
        lowest = torch.where(better, losses, lowest)
        _keep(kept, x, better)
        if best_labels is not None:
            _keep(best_labels, variables[LABELS], better)
        history.append(losses)
        fine = _finite(losses, slopes)
        if fine is not None:
            _keep(x, kept, ~fine)
            losses, slopes = torch.where(fine, losses, lowest), _ignored(slopes, ~fine)
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
            watch.progress(iteration + 1, search.iterations, float(lowest.min()))
    best = int(lowest.argmin())
    return Reconstruction(
        x=kept[best].clamp(0, 1), labels=_labels(labels, best_labels, best),
        loss=float(lowest[best]), history=_stacked(history, search.restarts),
        candidates=kept.clamp(0, 1), best=best,
        evaluations=len(history) * search.restarts * len(made),
        seconds=time.perf_counter() - begun, stopped=stopped or "done", knowledge=case.knowledge,
    )  # fmt: skip


def evaluator(
    case: Case,
    search: Search,
    trials: Sequence[Trial],
    labels: Int[Tensor, " sample"] | None,
    adapt: Adaptation | None,
    variables: Variables,
) -> Callable[[], tuple[Losses, Variables]]:
    """What gives losses and slopes of all restarts where the variables are when it is called."""
    coupling = search.coupling
    if len(variables["x"]) == 1:
        plain = objective(case, search, trials, labels, adapt, plain_gradient)
        return lambda: _one(plain, variables)
    at_once = vmap(objective(case, search, trials, labels, adapt, functional_gradient))
    return lambda: _many(at_once, coupling, variables)


def objective(
    case: Case,
    search: Search,
    trials: Sequence[Trial],
    labels: Int[Tensor, " sample"] | None,
    adapt: Adaptation | None,
    gradient: GradientOf,
) -> Objective:
    """One restart's loss: the mean distance over the observed rounds, and the image priors."""
    sides = [
        _side(case, search.distance, seen, trial, adapt, gradient)
        for seen, trial in zip(case.observed, trials, strict=True)
    ]

    def loss(variables: Variables) -> Tensor:
        extra = variables[LABELS].softmax(dim=1) if labels is None else labels
        found = sides[0](variables, extra)
        for side in sides[1:]:
            found = found + side(variables, extra)
        if len(sides) > 1:
            found = found / len(sides)
        for prior in search.priors:
            found = found + prior(variables["x"])
        return found

    return loss


def _side(
    case: Case,
    distance: Distance,
    seen: Observed,
    trial: Trial,
    adapt: Adaptation | None,
    gradient: GradientOf,
) -> Callable[[Variables, Tensor], Tensor]:
    target = delta_to_gradient(seen.update, case.knowledge)
    against = distance(target)
    sent = {name: value.detach() for name, value in seen.parameters.items()}
    if gradient is plain_gradient:
        sent = {name: value.requires_grad_() for name, value in sent.items()}

    def side(variables: Variables, extra: Tensor) -> Tensor:
        found = trial(case.victim.loss, sent, variables, extra, gradient)
        return against(found if adapt is None else adapt(found, target))

    return side


def _one(plain: Objective, variables: Variables) -> tuple[Losses, Variables]:
    leaves = {name: value[0].detach().requires_grad_() for name, value in variables.items()}
    loss = plain(leaves)
    slopes = torch.autograd.grad(loss, tuple(leaves.values()), materialize_grads=True)
    found = {name: value[None] for name, value in zip(leaves, slopes, strict=True)}
    return loss.detach()[None], found


def _many(
    at_once: Objective, coupling: Coupling | None, variables: Variables
) -> tuple[Losses, Variables]:
    """No distance depends on another restart's images, so the slopes of the sum are all theirs."""
    leaves = {name: value.detach().requires_grad_() for name, value in variables.items()}
    losses = at_once(leaves)
    if coupling is not None:
        losses = losses + coupling(leaves["x"])
    slopes = torch.autograd.grad(losses.sum(), tuple(leaves.values()), materialize_grads=True)
    return losses.detach(), dict(zip(leaves, slopes, strict=True))


def _start(
    case: Case,
    search: Search,
    labels: Tensor | None,
    extras: Variables,
    generator: torch.Generator,
) -> Variables:
    def rows(draw: Callable[[], Tensor]) -> Tensor:
        return torch.stack([draw() for _ in range(search.restarts)]).to(case.device, case.dtype)

    shape = (case.n, *case.shape)
    variables = {"x": rows(lambda: search.start(shape, generator, case.device))}
    if search.box:
        variables["x"].clamp_(0, 1)
    if labels is None:
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


def _finite(losses: Losses, slopes: Variables) -> Tensor | None:
    """Which restarts are finite; None where all are."""
    fine = losses.isfinite()
    for value in slopes.values():
        fine = fine & value.reshape(len(value), -1).sum(1).isfinite()
    return None if bool(fine.all()) else fine


def _ignored(slopes: Variables, which: Tensor) -> Variables:
    """The slopes, zero in some restarts."""
    return {name: value.masked_fill(_rows(which, value), 0) for name, value in slopes.items()}


def _keep(kept: Tensor, value: Tensor, better: Tensor) -> None:
    """Copy the rows that are better."""
    torch.where(_rows(better, value), value, kept, out=kept)


def _rows(chosen: Tensor, value: Tensor) -> Tensor:
    return chosen.view(-1, *[1] * (value.ndim - 1))


def _labels(labels: Tensor | None, learnt: Tensor | None, best: int) -> Tensor | None:
    return labels if learnt is None else learnt[best].argmax(dim=1)


def _stacked(history: list[Losses], n: int) -> Float[np.ndarray, "iteration restart"]:
    if not history:
        return np.empty((0, n), dtype=np.float32)
    found: Float[np.ndarray, "iteration restart"] = torch.stack(history).cpu().numpy()
    return found
