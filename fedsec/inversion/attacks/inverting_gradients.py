"""Inverting Gradients: the direction of the gradient, and smooth images.

Story       1 - cos(gradient of dummy images, gradient observed) + tv * total variation, over
            images held in [0, 1], by Adam on signs with a falling rate.
Paper       Geiping, Bauermeister, Dröge, Moeller (2020), Inverting gradients, NeurIPS. Rate 0.1,
            times 0.1 after 3/8, 5/8 and 7/8 of 4,800 iterations, from N(0, 1).
Departures  Labels that are not known are recovered first. Of a change of parameters it takes the
            direction, as if it were one gradient: its own way through local steps, unrolling them,
            is the attack `simulation`. A diffusion model has no labels: steps and noise are as
            known, else drawn at random once (InvG-dm in the papers).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fedsec.inversion.attack import Adaptation, Search, Watch
from fedsec.inversion.attacks.knowing import invert_told, labels_of
from fedsec.inversion.case import Case, Reconstruction
from fedsec.inversion.distances import Distance, cosine
from fedsec.inversion.optimisers import Adam, Optimiser
from fedsec.inversion.priors import total_variation
from fedsec.inversion.starts import Start, noise

SIGNED = Adam(lr=0.1, signed=True)


@dataclass(frozen=True, kw_only=True)
class InvertingGradients:
    """Cosine, total variation, signed Adam, box.

    tv          weight of the total variation; 0 leaves it out
    distance    `distances.cosine` in the paper
    optimiser   signed Adam in the paper
    """

    iterations: int = 4800
    restarts: int = 1
    tv: float = 1e-4
    start: Start = noise
    distance: Distance = cosine
    optimiser: Optimiser = SIGNED

    def __call__(
        self,
        case: Case,
        *,
        generator: torch.Generator,
        adapt: Adaptation | None = None,
        watch: Watch | None = None,
    ) -> Reconstruction:
        """The images."""
        return invert_told(
            case, self.search(), labels_of, generator=generator, adapt=adapt, watch=watch
        )

    def search(self) -> Search:
        """How images are looked for."""
        return Search(
            distance=self.distance, priors=(total_variation(self.tv),) if self.tv else (),
            start=self.start, optimiser=self.optimiser, iterations=self.iterations,
            restarts=self.restarts,
        )  # fmt: skip
