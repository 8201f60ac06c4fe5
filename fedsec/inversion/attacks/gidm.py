"""GIDM: a diffusion client's images, first among those that a trained model makes, then by pixels.

Story       the attacker knows the time steps and the noise. Phase 1 looks for latents z of a
            trained diffusion model whose images G(z) would have sent what was sent; phase 2 starts
            at that image and moves its pixels. The first finds the right neighbourhood, the second
            what the model cannot make.
Objective   D(x) = |gradient(x) - gradient sent|^2 / |gradient sent|^2, in both
Paper       Huang, Hong, Chen, Roos (2025), GIDM: gradient inversion of federated diffusion models,
            ARES; arXiv 2405.20380. 2,501 iterations of Adam on z, 5,001 on x, both at a rate of
            0.01, from N(0, 1); no prior on z, no box. The settings are read from the released code;
            the paper's text could not be had.
Departures  D is divided by |gradient sent|^2: of a trained model gradients can be so small that
            Adam's epsilon stalls it. Clipping within G is straight-through, see `generator`. Images
            that are returned are those of least D, not the last ones.
Parts       `LatentSearch` is phase 1 alone, `PixelSearch` is phase 2 alone, from noise as DLG has
            it, or from grey or a mean image, without which no advantage of GIDM can be read.

Under strong noise on the gradient phase 2 fits the noise and loses what phase 1 had, and D cannot
tell: it falls. So the image after each phase is kept (`Reconstruction.phases`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np
import torch

from fedsec.errors import SettingsError
from fedsec.inversion.attack import Adaptation, Search, Watch
from fedsec.inversion.attacks.knowing import told_noise
from fedsec.inversion.case import Case, Reconstruction
from fedsec.inversion.denoiser import extra_of
from fedsec.inversion.distances import Distance, squared
from fedsec.inversion.each import invert_each
from fedsec.inversion.generator import STEPS, ddim_images
from fedsec.inversion.optimisers import Adam, Optimiser
from fedsec.inversion.starts import Start, noise
from fedsec.inversion.trials import Variables

RELEASED = Adam(lr=0.01, milestones=())
LATENT, PIXELS = "latent", "pixels"  # the phases
HALF = 0.5  # of the time that an attack has: a latent's iteration costs several of a pixel's
ENDED = ("interrupted", "diverged")  # after which no other phase follows


@dataclass(frozen=True, kw_only=True)
class PixelSearch:
    """Pixels alone, with steps and noise known: what GIDM is to be compared with.

    optimiser  Adam at a constant rate of 0.01, as in the released code
    """

    iterations: int = 5001
    restarts: int = 1
    start: Start = noise
    distance: Distance = squared
    optimiser: Optimiser = RELEASED

    def __call__(
        self,
        case: Case,
        *,
        generator: torch.Generator,
        adapt: Adaptation | None = None,
        watch: Watch | None = None,
    ) -> Reconstruction:
        """The images. Raises SettingsError where steps or noise are not known."""
        (found,) = self.each([case], generator=generator, adapt=adapt, watch=watch)
        return found

    def each(
        self,
        cases: Sequence[Case],
        *,
        generator: torch.Generator,
        adapt: Adaptation | None = None,
        watch: Watch | None = None,
        starts: Sequence[Variables] | None = None,
    ) -> list[Reconstruction]:
        """The images of several clients of one model, side by side."""
        search = Search(
            distance=self.distance, start=self.start, optimiser=self.optimiser, box=False,
            iterations=self.iterations, restarts=self.restarts,
        )  # fmt: skip
        given = [told_noise(case, PIXELS) for case in cases]
        found = invert_each(
            cases, search, extra=extra_of, given=given, generator=generator, adapt=adapt,
            watch=watch, starts=starts,
        )  # fmt: skip
        return [with_phase(one, PIXELS) for one in found]


@dataclass(frozen=True, kw_only=True)
class LatentSearch:
    """Phase 1 alone: latents of the attacker's diffusion model, with steps and noise known.

    clip        of the image at every step: "straight-through", "hard", "none" or "tanh"
    sampling    steps of the model's DDIM, where it has more
    checkpoint  compute the model's steps again on the way back; None for large images
    """

    iterations: int = 2501
    restarts: int = 1
    clip: str = "straight-through"
    sampling: int = STEPS
    checkpoint: bool | None = None
    distance: Distance = squared
    optimiser: Optimiser = RELEASED

    def __call__(
        self,
        case: Case,
        *,
        generator: torch.Generator,
        adapt: Adaptation | None = None,
        watch: Watch | None = None,
    ) -> Reconstruction:
        """The images. Raises SettingsError where steps or noise are not known, or without prior."""
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
        """The images of several clients of one model, side by side; the first one's prior serves
        all.
        """
        given = [told_noise(case, "a latent search") for case in cases]
        found = invert_each(
            cases, self.search(cases[0]), extra=extra_of, given=given, generator=generator,
            adapt=adapt, watch=watch,
        )  # fmt: skip
        return [with_phase(one, LATENT) for one in found]

    def search(self, case: Case) -> Search:
        """How latents are looked for. Raises SettingsError without a prior."""
        if case.prior is None:
            raise SettingsError(
                "a latent search needs a trained diffusion model: give a prior, or use pixels or"
                " gidm+, which do without"
            )
        return Search(
            distance=self.distance, start=noise, optimiser=self.optimiser, box=False,
            iterations=self.iterations, restarts=self.restarts,
            image=ddim_images(
                case.prior, clip=self.clip, sampling=self.sampling, checkpoint=self.checkpoint
            ),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class GIDM:
    """Both phases.

    iterations   of both together
    latent       share of them that phase 1 has
    lr_latent, lr_pixel   rates of Adam, constant
    clip, sampling   as of `LatentSearch`
    """

    iterations: int = 7502
    latent: float = 1 / 3
    restarts: int = 1
    lr_latent: float = 0.01
    lr_pixel: float = 0.01
    clip: str = "straight-through"
    sampling: int = STEPS
    distance: Distance = squared

    def __post_init__(self) -> None:
        if not 0 < self.latent < 1:
            raise SettingsError(f"latent = {self.latent}: give a share between 0 and 1")
        if self.iterations < 2:
            raise SettingsError(f"iterations = {self.iterations}: give at least 2, one a phase")

    def __call__(
        self,
        case: Case,
        *,
        generator: torch.Generator,
        adapt: Adaptation | None = None,
        watch: Watch | None = None,
    ) -> Reconstruction:
        """The images. Raises SettingsError where steps or noise are not known, or without prior."""
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
        """The images of several clients of one model, side by side."""
        n_first = min(max(round(self.latent * self.iterations), 1), self.iterations - 1)
        n_second = self.iterations - n_first
        first = LatentSearch(
            iterations=n_first, restarts=self.restarts, clip=self.clip, distance=self.distance,
            sampling=self.sampling, optimiser=Adam(lr=self.lr_latent, milestones=()),
        ).each(
            cases, generator=generator, adapt=adapt,
            watch=part_of(watch, 0, self.iterations, HALF),
        )  # fmt: skip
        if first[0].stopped in ENDED:
            return first
        second = PixelSearch(
            iterations=n_second, restarts=self.restarts, distance=self.distance,
            optimiser=Adam(lr=self.lr_pixel, milestones=()),
        ).each(
            cases, generator=generator, adapt=adapt,
            watch=part_of(watch, n_first, self.iterations, HALF),
            starts=[{"x": one.candidates} for one in first],
        )  # fmt: skip
        return [after(one, two) for one, two in zip(first, second, strict=True)]


def with_phase(found: Reconstruction, name: str) -> Reconstruction:
    """The same, with its images kept under the name of its phase."""
    return replace(found, phases={**found.phases, name: found.x}, t=found.knowledge.t)


def after(first: Reconstruction, second: Reconstruction) -> Reconstruction:
    """Two phases of the same restarts as one: what the second came to, at the cost of both."""
    return replace(
        second,
        history=np.concatenate([first.history, second.history]),
        evaluations=first.evaluations + second.evaluations,
        seconds=first.seconds + second.seconds,
        phases={**first.phases, **second.phases},
        stopped=second.stopped if first.stopped == "done" else first.stopped,
    )


def part_of(watch: Watch | None, done: int, of: int, share: float = 1.0) -> Watch:
    """The watch of one phase among `of` iterations, `done` of which are over.

    share  of the time that is left to the phase
    """
    watch = Watch() if watch is None else watch
    progress = watch.progress
    seconds = watch.seconds if watch.seconds == inf else watch.seconds * share
    if progress is None:
        return replace(watch, seconds=seconds)
    return replace(
        watch, seconds=seconds, progress=lambda at, _, loss: progress(done + at, of, loss)
    )
