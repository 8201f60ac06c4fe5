"""GradInversion: batches rebuilt with all that is known of natural images, by several restarts.

Story       squared distance of gradients, plus total variation, plus the norm, plus the distance
            of batch statistics from the running ones of batch normalisation, plus the distance of
            every restart from the mean of all; Adam with noise in each step.
Paper       Yin et al. (2021), See through gradients: image batch recovery via GradInversion, CVPR.
            Weights: gradients 1e-4 (of the raw square), variation 1e-4, norm 1e-6, statistics 0.1;
            Adam 0.1 with 50 iterations of warm-up and a cosine to 0, 20,000 iterations.
Departures  The square is divided by |gradient|^2 and has weight 1. Restarts are compared as they
            are, without registration (the paper's shifts images to fit each other first). Labels by
            the best rule that fits (`labels`), not only by minima.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fedsec.core.functional import State
from fedsec.inversion.attack import Adaptation, Search, Watch, invert
from fedsec.inversion.attacks.knowing import labels_of
from fedsec.inversion.case import Case, Reconstruction
from fedsec.inversion.distances import squared
from fedsec.inversion.optimisers import Adam
from fedsec.inversion.priors import (
    ImagePrior,
    batch_norm_statistics,
    group_consistency,
    norm,
    total_variation,
)
from fedsec.inversion.starts import Start, noise


@dataclass(frozen=True, kw_only=True)
class GradInversion:
    """Squared distance, Adam, and five priors.

    tv, norm, statistics, group   weights of the priors; 0 leaves one out. Statistics count where
                                  the network has batch normalisation, the group where there are
                                  restarts
    langevin                      standard deviation of the noise in each step
    """

    iterations: int = 20_000
    restarts: int = 4
    lr: float = 0.1
    tv: float = 1e-4
    norm: float = 1e-6
    statistics: float = 0.1
    group: float = 0.01
    langevin: float = 0.01
    start: Start = noise

    def __call__(
        self,
        case: Case,
        *,
        generator: torch.Generator,
        adapt: Adaptation | None = None,
        watch: Watch | None = None,
    ) -> Reconstruction:
        """The images."""
        adam = Adam(lr=self.lr, cosine=True, warm_up=min(0.5, 50 / self.iterations))
        search = Search(
            distance=squared, priors=self._priors(case), start=self.start, optimiser=adam,
            coupling=group_consistency(self.group) if self.group else None,
            iterations=self.iterations, restarts=self.restarts, langevin=self.langevin,
        )  # fmt: skip
        return invert(
            case, search, labels=labels_of(case), generator=generator, adapt=adapt, watch=watch
        )

    def _priors(self, case: Case) -> tuple[ImagePrior, ...]:
        victim = case.victim
        found: list[ImagePrior] = [total_variation(self.tv)] if self.tv else []
        found += [norm(self.norm)] if self.norm else []
        running = any(name.endswith("running_mean") for name in victim.buffers)
        if self.statistics and running:
            state = State(victim.parameters, victim.buffers)
            found.append(batch_norm_statistics(self.statistics, victim.net, state))
        return tuple(found)
