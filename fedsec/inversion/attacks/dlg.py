"""Deep leakage from gradients: the first attack by matching gradients.

Story       dummy images and dummy labels start at N(0, 1); L-BFGS moves both until their gradient
            is the one observed, by squared distance.
Paper       Zhu, Liu, Han (2019), Deep leakage from gradients, NeurIPS. Labels are probabilities:
            the softmax of what is moved.
Departures  The distance is divided by |gradient|^2. Labels that are known are given, not learnt.
            A change of parameters is compared as its mean gradient. A diffusion model has no
            labels: steps and noise are as known, else drawn at random once (DLG-dm in the papers).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fedsec.inversion.attack import Adaptation, Search, Watch
from fedsec.inversion.attacks.knowing import invert_told, known_labels
from fedsec.inversion.case import Case, Reconstruction
from fedsec.inversion.distances import squared
from fedsec.inversion.optimisers import LBFGS, Optimiser
from fedsec.inversion.starts import Start, noise

DEFAULT = LBFGS()


@dataclass(frozen=True, kw_only=True)
class DLG:
    """Squared distance, L-BFGS, no image prior, no box.

    iterations  evaluations: the paper's 300 steps of 20 are 6,000
    """

    iterations: int = 6000
    restarts: int = 1
    start: Start = noise
    optimiser: Optimiser = DEFAULT

    def __call__(
        self,
        case: Case,
        *,
        generator: torch.Generator,
        adapt: Adaptation | None = None,
        watch: Watch | None = None,
    ) -> Reconstruction:
        """Images and labels."""
        return invert_told(
            case, self.search(), known_labels, generator=generator, adapt=adapt, watch=watch
        )

    def search(self) -> Search:
        """How images are looked for."""
        return Search(
            distance=squared, start=self.start, optimiser=self.optimiser, box=False,
            iterations=self.iterations, restarts=self.restarts,
        )  # fmt: skip
