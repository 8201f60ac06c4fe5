"""All attacks on one budget: settings by which each takes about as many steps of the copy.

Story       methods differ in how often they learn from an answer: the published online ones once,
            MEGA in many epochs. On an equal budget the one that takes more steps has an advantage
            that is none of its idea. So each learns an answer `passes` times, in batches of
            `batch`: about passes * budget / batch steps, whatever the method.
How         MEGA and noise by epochs over the pool; DaST, DFME and MAZE by steps repeated on a
            batch; TandemGAN, which takes one step a batch, by smaller batches; ZSDB3KD, whose
            budget goes into few images, and Knockoff by epochs over what they have.
Ends        none ends itself before the budget is used up: MEGA's detector of a collapse is off.
Shared      networks, codes, batch, and the images that are remembered. Learning rates and all else
            are each method's own, as published.
"mega+"     MEGA with what later papers add against a generator that makes ever fewer kinds of
            images: fresh codes, replay, batch entropy; then a rate of 1e-4 holds for G.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fedsec.errors import SettingsError
from fedsec.stealing.attack import StealSettings
from fedsec.stealing.dast import Dast
from fedsec.stealing.dfme import Dfme
from fedsec.stealing.disagreement import by_differences, through_copy
from fedsec.stealing.knockoff import AdaptiveKnockoff, Knockoff
from fedsec.stealing.maze import Maze
from fedsec.stealing.mega import Mega
from fedsec.stealing.noise import UniformNoise
from fedsec.stealing.oracle import Mode, Shape
from fedsec.stealing.surrogate import Surrogate
from fedsec.stealing.tandem import Tandem
from fedsec.stealing.zsdb3kd import Zsdb3kd

CONTROL = "noise"
MEMORY = 50_000  # images that a method goes on learning from
MAX_POOL = 10_000
ROUNDS = 20  # pools in a budget
SMALL_SIDE, SMALL_LATENT, LATENT = 8, 32, 128
TANDEM_LEAST = 16  # images in a batch that batch statistics are good for


@dataclass(frozen=True, kw_only=True)
class Stake:
    """What all methods get alike.

    budget     queries
    mode       what is answered
    shape      (channel, height, width) of the victim's images
    n_classes  of the victim
    passes     times that a copy learns an answer
    batch      images in a step of the copy
    surrogate  images of something else, for those methods that have some
    """

    budget: int
    mode: Mode
    shape: Shape
    n_classes: int
    passes: int = 5
    batch: int = 256
    surrogate: Surrogate | None = None

    def __post_init__(self) -> None:
        for name, least in (("budget", 1), ("passes", 1), ("batch", 2)):
            if getattr(self, name) < least:
                raise SettingsError(f"{name} = {getattr(self, name)}: give at least {least}")

    @property
    def steps(self) -> int:
        """Steps of the copy that each method should come to."""
        return max(1, round(self.passes * self.budget / self.batch))

    @property
    def pool(self) -> int:
        """Queries of an iteration of methods that learn by pools."""
        return max(2, min(self.budget // ROUNDS, MAX_POOL))

    @property
    def latent(self) -> int:
        """Numbers in a code."""
        return SMALL_LATENT if self.shape[1] <= SMALL_SIDE else LATENT


def _mega(stake: Stake) -> Mega:
    return Mega(
        pool=stake.pool, batch=stake.batch, latent=stake.latent, s_epochs=stake.passes,
        warm_epochs=2 * stake.passes, collapsed=0,
    )  # fmt: skip


def _mega_plus(stake: Stake) -> Mega:
    return Mega(
        pool=stake.pool, batch=stake.batch, latent=stake.latent, s_epochs=stake.passes,
        warm_epochs=2 * stake.passes, collapsed=0,
        lr_g=1e-4, diversity=1.0, fresh_codes=True, replay=MEMORY,
    )  # fmt: skip


def _tandem(stake: Stake) -> Tandem:
    published = Tandem()
    asked = published.queries(stake.mode) / published.batch  # in batches, for s_steps steps
    batch = round(stake.batch * published.s_steps / (asked * stake.passes))
    return Tandem(batch=max(batch, TANDEM_LEAST), latent=stake.latent)


def _noise(stake: Stake) -> UniformNoise:
    return UniformNoise(
        pool=stake.pool, epochs=stake.passes, memory=max(MEMORY, stake.pool), batch=stake.batch
    )


def _dast(stake: Stake) -> Dast:
    return Dast(batch=stake.batch, latent=stake.latent, repeats=stake.passes)


def _dfme(stake: Stake) -> Dfme:
    seek = through_copy if stake.mode == "labels" else by_differences
    found = Dfme(batch=stake.batch, latent=stake.latent, seek=seek)
    batches = found.queries_per_iteration / found.batch
    repeats = max(1, round(stake.passes * batches / found.copy_steps))
    return Dfme(batch=stake.batch, latent=stake.latent, seek=seek, repeats=repeats)


def _maze(stake: Stake) -> Maze:
    seek = through_copy if stake.mode == "labels" else by_differences
    found = Maze(batch=stake.batch, latent=stake.latent, seek=seek)
    steps = stake.passes * found.queries_per_iteration // found.batch
    replays = max(0, min(found.replays, steps - found.copy_steps))
    repeats = max(1, round((steps - replays) / found.copy_steps))
    return Maze(
        batch=stake.batch, latent=stake.latent, seek=seek, repeats=repeats, replays=replays,
        memory=MEMORY,
    )  # fmt: skip


def _zsdb3kd(stake: Stake) -> Zsdb3kd:
    """Most images cost less than the most that one can, and the last rounds are small ones."""
    published = Zsdb3kd()
    n = stake.budget // published.queries_per_image(stake.n_classes)
    images = min(max(2, n // ROUNDS), published.images)
    rounds = range(1, n // images + ROUNDS // 2)
    a_pass = sum(-(-min(images * have, published.memory) // published.batch) for have in rounds)
    return Zsdb3kd(images=images, epochs=max(1, round(stake.steps / max(a_pass, 1))))


def _knockoff(stake: Stake) -> Knockoff:
    surrogate, epochs = _of_surrogate(stake)
    return Knockoff(surrogate=surrogate, batch=stake.batch, pool=stake.pool, epochs=epochs)


def _adaptive(stake: Stake) -> AdaptiveKnockoff:
    surrogate, epochs = _of_surrogate(stake)
    return AdaptiveKnockoff(surrogate=surrogate, batch=stake.batch, epochs=epochs)


def _of_surrogate(stake: Stake) -> tuple[Surrogate, int]:
    if stake.surrogate is None:
        raise SettingsError("knockoff asks about images of its own: give a surrogate")
    n = min(len(stake.surrogate.images), stake.budget)
    return stake.surrogate, max(1, round(stake.steps * stake.batch / n))


LINEUP: dict[str, Callable[[Stake], StealSettings]] = {
    "mega": _mega,
    "mega+": _mega_plus,
    "tandemgan": _tandem,
    "dast": _dast,
    "dfme": _dfme,
    "maze": _maze,
    "zsdb3kd": _zsdb3kd,
    "knockoff": _knockoff,
    "knockoff-adaptive": _adaptive,
    CONTROL: _noise,
}
"""Name -> settings of an attack, given what all get alike."""

WITH_IMAGES = ("knockoff", "knockoff-adaptive")
"""Those that need a surrogate."""


def method_for(name: str, stake: Stake) -> StealSettings:
    """The attack of this name, sized to the stake.

    Raises SettingsError for a name that there is not, and where a surrogate is missing.
    """
    if name not in LINEUP:
        raise SettingsError(f"there is no method {name!r}: choose from {', '.join(LINEUP)}")
    return LINEUP[name](stake)
