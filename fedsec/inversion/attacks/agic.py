"""AGIC: model updates of local training, attacked as if they were one gradient.

Story       a client's N steps on batches of B images move its parameters by -lr times the sum of N
            gradients. To first order in lr N that is the gradient of all N B images at the
            parameters sent, so no step is simulated: one double backward an iteration. Updates of
            several rounds with the same images are matched together, and later layers weigh more.
Paper       Xu, Hong, Huang, Chen, Decouchant (2022), AGIC: approximate gradient inversion attack on
            federated learning, SRDS; arXiv 2204.13784.
Reconstructed  The paper's text gives the three ideas. The cosine over weighted layers, the shapes
            of the weights and their scale of 20 are read from the authors' laboratory's published
            code; the rest of the settings are those of Inverting Gradients.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from fedsec.inversion.attack import Adaptation, Search, Watch, invert
from fedsec.inversion.attacks.inverting_gradients import SIGNED
from fedsec.inversion.attacks.knowing import first_gradient, labels_of
from fedsec.inversion.case import Case, Reconstruction
from fedsec.inversion.distances import cosine, weighted_cosine
from fedsec.inversion.layer_weights import LayerWeights, linear
from fedsec.inversion.optimisers import Optimiser
from fedsec.inversion.priors import total_variation
from fedsec.inversion.starts import Start, noise


@dataclass(frozen=True, kw_only=True)
class AGIC:
    """The gradient at the parameters sent, by a cosine of weighted layers, over all rounds.

    weights  of the layers (`layer_weights`); None for equal ones
    rounds   use at most so many of the observed rounds, from the first on; None for all
    """

    iterations: int = 4800
    restarts: int = 1
    tv: float = 1e-4
    weights: LayerWeights | None = linear
    rounds: int | None = None
    start: Start = noise
    optimiser: Optimiser = SIGNED

    def __call__(
        self,
        case: Case,
        *,
        generator: torch.Generator,
        adapt: Adaptation | None = None,
        watch: Watch | None = None,
    ) -> Reconstruction:
        """The images of all local steps."""
        seen = replace(case, observed=case.observed[: self.rounds])
        weighed = None if self.weights is None else self.weights(first_gradient(case))
        search = Search(
            distance=cosine if weighed is None else weighted_cosine(weighed),
            priors=(total_variation(self.tv),) if self.tv else (), start=self.start,
            optimiser=self.optimiser, iterations=self.iterations, restarts=self.restarts,
        )  # fmt: skip
        return invert(
            seen, search, labels=labels_of(case), generator=generator, adapt=adapt, watch=watch
        )
