"""GIDM+: a diffusion client's images where time steps and noise are private.

Story       the client told nobody which steps and which noise it drew. The steps are found first;
            then images and noise are moved together, in both phases of GIDM, until their gradient
            is the one sent: 2D unknowns, against as many equations as the network has parameters.
Steps       `read_off`   from the gradient of the first time layer, exactly (`timesteps`)
            `searched`   short attacks for every step; the one of least distance
            `relaxed`    a real step, moved with the rest, and rounded at the end
Noise       starts at N(0, 1) and moves in every iteration; `restarts` of it, because about every
            second start fails. `released_noise_window` moves it when the released code would have
Paper       Huang, Hong, Chen, Roos (2025), GIDM; arXiv 2405.20380: images, noise and steps are
            optimised together. How is reconstructed: images in every iteration, steps early, noise
            late and in sparse windows, all by Adam at a rate of 0.01.
Departures  The released code cannot do what the paper says, and is not copied: its steps get no
            gradient, and end at the true one by an artefact; its noise starts at the truth plus
            1e-4 N(0, 1), and never moves. Reading the steps off, joint noise, restarts, and the
            last iterations by L-BFGS (`polish`) are ours. L-BFGS does most of the work: from grey,
            with joint noise, a start that does not fail is at the floor of single precision after
            200 evaluations, where Adam is at 8 dB after as many. So Adam has few iterations here.

Without a prior there is no phase 1: `phases` then has no latent image. Images of a batch come in no
order, so they are matched to the true ones before they are scored (`fedsec.metrics.matching`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from fedsec.errors import SettingsError
from fedsec.inversion.attack import Adaptation, Search, Watch
from fedsec.inversion.attacks.gidm import (
    ENDED,
    LATENT,
    PIXELS,
    after,
    part_of,
    with_phase,
)
from fedsec.inversion.attacks.knowing import diffusion_victim_of, first_gradient
from fedsec.inversion.case import Case, Reconstruction
from fedsec.inversion.denoiser import NOISE, TIMES, extra_of
from fedsec.inversion.distances import Distance, squared
from fedsec.inversion.each import invert_each
from fedsec.inversion.generator import STEPS, ddim_images
from fedsec.inversion.optimisers import LBFGS, Adam, Optimiser, Separate, always
from fedsec.inversion.starts import Start, grey, noise
from fedsec.inversion.timesteps import Timesteps, recover_timesteps, time_layer_of
from fedsec.inversion.trials import Variables

MOST = 64  # assignments that are tried
AT_ONCE = 32  # of them side by side
POLISHED = "polished"  # the third phase


@runtime_checkable
class TimeRule(Protocol):
    """Finds the time steps of the client's images."""

    def __call__(
        self,
        attack: GIDMPlus,
        case: Case,
        generator: torch.Generator,
        adapt: Adaptation | None,
        watch: Watch | None,
    ) -> tuple[int, ...]:
        """One step for each image, rising."""


def times_of(case: Case) -> Timesteps:
    """What the first time layer's gradient says. Raises as `recover_timesteps` does."""
    victim = diffusion_victim_of(case)
    return recover_timesteps(
        first_gradient(case), time_layer_of(victim.net), victim.schedule.steps, case.n,
        time_map=victim.time_map,
    )  # fmt: skip


def read_off(
    attack: GIDMPlus,
    case: Case,
    generator: torch.Generator,
    adapt: Adaptation | None,
    watch: Watch | None,
) -> tuple[int, ...]:
    """The steps that the time layer shows; where images share one, the assignment of least loss.

    Raises as `recover_timesteps` does, and SettingsError for too many assignments.
    """
    possible = times_of(case).assignments()
    return attack.likeliest(case, possible, generator, adapt, watch)


def searched(
    attack: GIDMPlus,
    case: Case,
    generator: torch.Generator,
    adapt: Adaptation | None,
    watch: Watch | None,
) -> tuple[int, ...]:
    """The step under which a short attack comes nearest. Raises SettingsError for a batch."""
    if case.n != 1:
        raise SettingsError(f"a search for the step is for one image, not {case.n}: read them off")
    steps = [(step,) for step in range(diffusion_victim_of(case).schedule.steps)]
    return attack.likeliest(case, steps, generator, adapt, watch)


def relaxed(
    attack: GIDMPlus,
    case: Case,
    generator: torch.Generator,
    adapt: Adaptation | None,
    watch: Watch | None,
) -> tuple[int, ...]:
    """Real steps, moved with images and noise from uniform starts, and rounded at the end."""
    last = diffusion_victim_of(case).schedule.steps - 1
    rows = attack.restarts, case.n
    drawn = last * torch.rand(rows, generator=generator, device=generator.device)
    starts = attack.starts(case, generator) | {TIMES: drawn.to(case.device, case.dtype)}
    search = attack.search(attack.probe, attack.lr_pixel, moves_time=True)

    def extra(variables: Variables) -> tuple[Tensor, Tensor]:
        return variables[TIMES].clamp(0, last), variables[NOISE]

    (found,) = invert_each(
        [case], search, extra=extra, given=[attack.given(case)], generator=generator,
        starts=[starts], adapt=adapt, watch=watch,
    )  # fmt: skip
    return tuple(sorted(found.learnt[TIMES][found.best].clamp(0, last).round().long().tolist()))


TIME_RULES: dict[str, TimeRule] = {
    "read-off": read_off, "searched": searched, "relaxed": relaxed
}  # fmt: skip


def released_time_window(iteration: int) -> bool:
    """When the released code steps the optimiser of t."""
    return 200 < iteration < 210


def released_noise_window(iteration: int) -> bool:
    """When the released code would step the optimiser of the noise."""
    return 1000 < iteration < 1200 and iteration // 10 % 10 == 0


@dataclass(frozen=True, kw_only=True)
class GIDMPlus:
    """Steps, then images and noise together.

    iterations   of all phases together
    latent       share of Adam's iterations that phase 1 has, where there is a prior
    restarts     of images and noise, side by side
    lr_latent, lr_pixel, lr_noise, lr_time   rates of Adam; all 0.01 as released
    clip, sampling   as of `LatentSearch`
    cosine       rates fall to 0 in each phase; else they are constant, as released
    polish       share of the iterations that are L-BFGS's, at the end; 0 for none, as released
    probe        iterations of each attack that finds steps, by L-BFGS unless steps are relaxed
    times        the rule that finds them, where they are not known
    noise_moves, time_moves   iteration -> whether noise, and real steps, move in it
    start        of the images, where there is no phase 1

    Steps and noise that are known are taken as they are.
    """

    iterations: int = 300
    latent: float = 0.5
    restarts: int = 8
    lr_latent: float = 0.05
    lr_pixel: float = 0.05
    lr_noise: float = 0.05
    lr_time: float = 0.05
    cosine: bool = False
    polish: float = 0.8
    probe: int = 100
    clip: str = "straight-through"
    sampling: int = STEPS
    times: TimeRule = read_off
    noise_moves: Callable[[int], bool] = always
    time_moves: Callable[[int], bool] = always
    start: Start = grey
    distance: Distance = squared

    def __post_init__(self) -> None:
        if not 0 < self.latent < 1:
            raise SettingsError(f"latent = {self.latent}: give a share between 0 and 1")
        if not 0 <= self.polish < 1:
            raise SettingsError(f"polish = {self.polish}: give a share from 0 to below 1")
        for name, least in (("iterations", 3), ("restarts", 1), ("probe", 1)):
            if getattr(self, name) < least:
                raise SettingsError(f"{name} = {getattr(self, name)}: give at least {least}")

    def __call__(
        self,
        case: Case,
        *,
        generator: torch.Generator,
        adapt: Adaptation | None = None,
        watch: Watch | None = None,
    ) -> Reconstruction:
        """Images, and the steps that were found.

        Raises SettingsError for a classifier, and as the rule that finds the steps does.
        """
        (found,) = self.each([case], generator=generator, adapt=adapt, watch=watch)
        return found

    def each(
        self,
        cases: Sequence[Case],
        *,
        generator: torch.Generator,
        adapt: Adaptation | None = None,
        watch: Watch | None = None,
    ) -> list[Reconstruction]:
        """The images of several clients of one model, side by side; steps one client at a time."""
        steps = [self.steps(case, generator, adapt, watch) for case in cases]
        given = [
            self.given(case) | {TIMES: torch.tensor(t, device=case.device)}
            for case, t in zip(cases, steps, strict=True)
        ]
        starts = [self.starts(case, generator) for case in cases]
        found: list[Reconstruction] = []
        phases = self.phases(cases[0])
        for phase, search in phases:
            done = found[0].iterations if found else 0
            now = invert_each(
                cases, search, extra=extra_of, given=given, generator=generator, starts=starts,
                adapt=adapt, watch=part_of(
                    watch, done, self.iterations, 1 / len(phases)
                ),
            )  # fmt: skip
            now = [with_phase(one, phase) for one in now]
            found = [after(*pair) for pair in zip(found, now, strict=True)] if found else now
            starts = [{"x": one.candidates, **one.learnt} for one in found]
            if found[0].stopped in ENDED:
                break
        return [replace(one, t=tuple(t)) for one, t in zip(found, steps, strict=True)]

    def steps(
        self, case: Case, generator: torch.Generator, adapt: Adaptation | None, watch: Watch | None
    ) -> tuple[int, ...]:
        """The time steps, known or found."""
        diffusion_victim_of(case)
        known = case.knowledge.t
        return self.times(self, case, generator, adapt, watch) if known is None else known

    def phases(self, case: Case) -> list[tuple[str, Search]]:
        """What is searched, in turn."""
        prior = case.prior
        n_last = min(round(self.polish * self.iterations), self.iterations - 2)
        n_adam = self.iterations - n_last
        n_latent = 0 if prior is None else min(max(round(self.latent * n_adam), 1), n_adam - 1)
        made: list[tuple[str, Search]] = []
        if prior is not None:
            latents = self.search(n_latent, self.lr_latent)
            image = ddim_images(prior, clip=self.clip, sampling=self.sampling)
            made.append((LATENT, replace(latents, image=image, start=noise)))
        made.append((PIXELS, self.search(n_adam - n_latent, self.lr_pixel)))
        if n_last:
            last = replace(made[-1][1], optimiser=LBFGS(), iterations=n_last)
            made.append((POLISHED, last))
        return made

    def search(self, iterations: int, lr: float, *, moves_time: bool = False) -> Search:
        """Images at a rate, with noise at its own and, where wanted, steps."""
        of: dict[str, Optimiser] = {
            "x": self._adam(lr), NOISE: self._adam(self.lr_noise), TIMES: self._adam(self.lr_time)
        }  # fmt: skip
        moves = {NOISE: self.noise_moves, TIMES: self.time_moves} if moves_time else {
            NOISE: self.noise_moves
        }  # fmt: skip
        return Search(
            distance=self.distance, start=self.start, optimiser=Separate(of=of, moves=moves),
            iterations=iterations, restarts=self.restarts, box=False,
        )  # fmt: skip

    def starts(self, case: Case, generator: torch.Generator) -> Variables:
        """Noise for every restart, where it is not known."""
        if case.noise is not None:
            return {}
        drawn = torch.randn(
            self.restarts, case.n, *case.shape, generator=generator, device=generator.device
        )
        return {NOISE: drawn.to(case.device, case.dtype)}

    def given(self, case: Case) -> Variables:
        """The noise, where it is known."""
        return {} if case.noise is None else {NOISE: case.noise.to(case.device, case.dtype)}

    def likeliest(
        self,
        case: Case,
        possible: Sequence[tuple[int, ...]],
        generator: torch.Generator,
        adapt: Adaptation | None,
        watch: Watch | None,
    ) -> tuple[int, ...]:
        """The steps under which short attacks, from the same starts, come nearest.

        Raises SettingsError where there are more than `MOST`.
        """
        if len(possible) == 1:
            return possible[0]
        if len(possible) > max(MOST, diffusion_victim_of(case).schedule.steps):
            raise SettingsError(
                f"{len(possible)} ways to give {case.n} images their steps: at most {MOST} are"
                " tried; give t, or attack fewer images"
            )
        search = self.search(self.probe, self.lr_pixel)
        if self.polish:
            search = replace(search, optimiser=LBFGS())
        shape = (case.n, *case.shape)
        first = self.starts(case, generator) | {
            "x": torch.stack([
                self.start(shape, generator, case.device) for _ in range(self.restarts)
            ]).to(case.device, case.dtype)
        }  # fmt: skip
        losses: list[float] = []
        for begin in range(0, len(possible), AT_ONCE):
            some = possible[begin : begin + AT_ONCE]
            given = [self.given(case) | {TIMES: torch.tensor(t, device=case.device)} for t in some]
            found = invert_each(
                [case] * len(some), search, extra=extra_of, given=given, generator=generator,
                starts=[first] * len(some), adapt=adapt, watch=replace(
                    watch or Watch(), progress=None
                ),
            )  # fmt: skip
            losses += [one.loss for one in found]
        return possible[min(range(len(losses)), key=losses.__getitem__)]

    def _adam(self, lr: float) -> Adam:
        return Adam(lr=lr, milestones=(), cosine=self.cosine)
