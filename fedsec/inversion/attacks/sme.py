"""SME: one gradient at a point between the parameters sent and those returned.

Story       along the client's way there is a point whose gradient is close to the mean of all its
            steps. It is looked for on the line from start to end: at `sent + alpha change`, with
            alpha learnt beside the images. As cheap as AGIC, and exact in one more order.
Paper       Zhu, Yao, Blaschko (2023), Surrogate model extension (SME): a fast and accurate weight
            update attack on federated learning, ICML.
Reconstructed  The settings of the authors' example, alpha 0.5 with a rate of 0.001, are used;
            images move as in Inverting Gradients. Adam has one rate here, so alpha is learnt in
            units of `alpha_scale`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedsec.core.functional import Parameters
from fedsec.errors import SettingsError
from fedsec.inversion.attack import Adaptation, Watch, invert
from fedsec.inversion.attacks.inverting_gradients import InvertingGradients
from fedsec.inversion.attacks.knowing import labels_of
from fedsec.inversion.case import Case, Observed, Reconstruction
from fedsec.inversion.trials import ALPHA, GradientOf, Trial, Variables, surrogate
from fedsec.inversion.victim import Loss


@dataclass(frozen=True, kw_only=True)
class SME(InvertingGradients):
    """Inverting Gradients at a learnt point of the client's way.

    alpha        where it starts, 0 (the parameters sent) to 1 (those returned)
    alpha_scale  its rate as a share of the images' rate
    """

    alpha: float = 0.5
    alpha_scale: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise SettingsError(f"alpha = {self.alpha}: give a number from 0 to 1")
        if not self.alpha_scale > 0:
            raise SettingsError(f"alpha_scale = {self.alpha_scale}: give a number above 0")

    def __call__(
        self,
        case: Case,
        *,
        generator: torch.Generator,
        adapt: Adaptation | None = None,
        watch: Watch | None = None,
    ) -> Reconstruction:
        """The images. Raises SettingsError for a gradient: it has no way to stand on."""
        start = torch.tensor(self.alpha / self.alpha_scale)
        return invert(
            case, self.search(), labels=labels_of(case), generator=generator, adapt=adapt,
            watch=watch, trials=[self._trial(seen) for seen in case.observed],
            extras={ALPHA: start},
        )  # fmt: skip

    def _trial(self, seen: Observed) -> Trial:
        if seen.update.kind != "delta":
            raise SettingsError(
                "sme is for changes of parameters, and this update is a gradient: use"
                " inverting-gradients"
            )
        on_the_line = surrogate(seen.update.tensors)

        def trial(
            loss: Loss, parameters: Parameters, variables: Variables, labels: Tensor,
            gradient: GradientOf,
        ) -> Parameters:  # fmt: skip
            scaled = variables | {ALPHA: variables[ALPHA] * self.alpha_scale}
            return on_the_line(loss, parameters, scaled, labels, gradient)

        return trial
