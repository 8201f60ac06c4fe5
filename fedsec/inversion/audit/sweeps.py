"""What is varied in an audit, as jobs: local steps, images in a step, each defence's strength."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from fedsec.data.images import ImageData
from fedsec.diffusion.model import DiffusionModel
from fedsec.errors import FedsecError
from fedsec.federated.local import FullGradient, LocalTraining
from fedsec.inversion.attack import Watch
from fedsec.inversion.attacks import Attack
from fedsec.inversion.audit.client import Recipe, make_client, make_diffusion_client
from fedsec.inversion.audit.clock import Clock, Job
from fedsec.inversion.audit.cost import Cost
from fedsec.inversion.audit.curves import Clients, Curve, Point, best_guess, leak
from fedsec.inversion.audit.findings import ground_of
from fedsec.inversion.audit.ladders import LADDERS, Protection, can_adapt
from fedsec.inversion.audit.scope import Scope
from fedsec.inversion.audit.subject import Subject
from fedsec.inversion.denoiser import DiffusionVictim
from fedsec.inversion.victim import Victim

STEPS, BATCHES, PLAIN = "steps", "batches", "no defence"
FIRST = 1  # clients of curves are others than the one that is audited
USUAL_RATE = 0.01  # of local steps, where the audited client takes none


@dataclass(frozen=True)
class Piece:
    """What one job measured: a field of the point of a curve, or why there is none."""

    curve: str
    at: float | int
    found: Mapping[str, Any]
    why_not: str | None = None


@dataclass(frozen=True, eq=False)
class Sweeps:
    """All that an audit varies, on clients that follow the recipe or a variant of it."""

    victim: Victim
    data: ImageData
    recipe: Recipe
    scope: Scope
    cost: Cost | None
    seed: int
    prior: DiffusionModel | None = None

    @property
    def n_jobs(self) -> int:
        """How many there are."""
        return len(self.jobs({}))

    def measured(self, clock: Clock, attacks: Mapping[str, Attack]) -> tuple[Curve, ...]:
        """The curves, as far as there is time."""
        pieces = list(clock.play(self.jobs(attacks)))
        plain = _points(PLAIN, pieces)
        found = [
            Curve(
                STEPS, "Local steps", "local steps on the same images", _points(STEPS, pieces),
                f"Each step sees all {self.recipe.images} images, at a rate of {self._rate:g}.",
            ),
            Curve(
                BATCHES, "Images in one step", "images that one step averages over",
                _points(BATCHES, pieces),
            ),
        ]  # fmt: skip
        for name in self.scope.ladders:
            ladder = LADDERS[name]
            found.append(
                Curve(
                    name, ladder.title, ladder.axis, _points(name, pieces), ladder.says,
                    plain[0] if plain else None, _why_not(name, pieces),
                )
            )  # fmt: skip
        return tuple(one for one in found if one.points or one.why_not)

    def jobs(self, attacks: Mapping[str, Attack]) -> list[Job[Piece]]:
        """In the order of the report."""
        if not self.scope.clients:
            return []
        made = [
            self._leak_job(STEPS, f"{n} local steps", n, attacks, partial(self._stepping, n))
            for n in self.scope.steps
        ]
        made += [
            self._leak_job(BATCHES, f"{n} images in a step", n, attacks, partial(self._with, n))
            for n in self.scope.batches
        ]
        if self.scope.ladders:
            made.append(self._leak_job(PLAIN, PLAIN, 0, attacks, lambda: self._clients))
            made += self._cost_jobs(PLAIN, PLAIN, 0, None)
        for name in self.scope.ladders:
            made += self._ladder_jobs(name, attacks)
        return made

    def _ladder_jobs(self, name: str, attacks: Mapping[str, Attack]) -> list[Job[Piece]]:
        ladder, found = LADDERS[name], []
        for at in self.scope.strengths(name):
            protection, what = ladder.make(at), f"{ladder.title} {at:g}"
            shared = (name, what, at, attacks, lambda: self._clients, protection)
            found.append(self._leak_job(*shared))
            if can_adapt(protection):
                found.append(self._leak_job(*shared, adaptive=True))
            found += self._cost_jobs(name, what, at, protection)
        return found

    def _leak_job(
        self, curve: str, what: str, at: float | int, attacks: Mapping[str, Attack],
        clients: Callable[[], Clients], protection: Protection | None = None,
        adaptive: bool = False,
    ) -> Job[Piece]:  # fmt: skip
        def run(watch: Watch) -> Piece:
            try:
                made = clients()
                found = leak(
                    made, attacks, seed=self.seed, watch=watch, protection=protection,
                    adaptive=adaptive,
                )  # fmt: skip
            except FedsecError as error:
                return Piece(curve, at, {}, str(error))
            guess = best_guess([ground for _, ground in made])
            return Piece(curve, at, {"adaptive" if adaptive else "leak": found, "guess": guess})

        return Job(f"{what}, attacker knows it" if adaptive else what, run)

    def _cost_jobs(
        self, curve: str, what: str, at: float | int, protection: Protection | None
    ) -> list[Job[Piece]]:
        cost, scope = self.cost, self.scope
        if cost is None or not scope.cost_rounds:
            return []

        def run(watch: Watch) -> Piece:
            try:
                found = cost.accuracy(protection, scope.cost_rounds, scope.cost_seeds)
            except FedsecError as error:
                return Piece(curve, at, {}, str(error))
            return Piece(curve, at, {"accuracy": found})

        return [Job(f"{what}, accuracy", run)]

    @cached_property
    def _clients(self) -> Clients:
        return self._made(self.recipe)

    def _stepping(self, n: int) -> Clients:
        local = LocalTraining(epochs=n, batch=self.recipe.images, lr=self._rate)
        return self._made(replace(self.recipe, local=local))

    def _with(self, n: int) -> Clients:
        local = self.recipe.local
        if not isinstance(local, FullGradient):
            local = LocalTraining(epochs=1, batch=n, lr=self._rate)
        return self._made(Recipe(images=n, local=local))

    @property
    def _rate(self) -> float:
        local = self.recipe.local
        return USUAL_RATE if isinstance(local, FullGradient) else local.lr

    def _made(self, recipe: Recipe) -> Clients:
        seeds = range(self.seed + FIRST, self.seed + FIRST + self.scope.clients)
        made = [self._one(recipe, seed) for seed in seeds]
        return [(one, ground_of(one, self.data.train, self.seed)) for one in made]

    def _one(self, recipe: Recipe, seed: int) -> Subject:
        if isinstance(self.victim, DiffusionVictim):
            return make_diffusion_client(self.victim, self.data, recipe, seed, prior=self.prior)
        return make_client(self.victim, self.data, recipe, seed)


def _points(curve: str, pieces: Iterable[Piece]) -> tuple[Point, ...]:
    """The pieces of a curve put together; places of which nothing is known are left out."""
    found: dict[float | int, dict[str, Any]] = {}
    for piece in pieces:
        if piece.curve == curve:
            known = {key: value for key, value in piece.found.items() if value is not None}
            found.setdefault(piece.at, {}).update(known)
    return tuple(Point(at, **values) for at, values in found.items() if values)


def _why_not(curve: str, pieces: Iterable[Piece]) -> str | None:
    said = [piece.why_not for piece in pieces if piece.curve == curve and piece.why_not]
    return said[0] if said else None
