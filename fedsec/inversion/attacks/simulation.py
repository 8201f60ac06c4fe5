"""Simulation: the client's local steps are taken again on dummy images, and differentiated through.

Story       the attacker knows the rate and the number of local steps, takes them on its dummy
            images, and compares where it arrives with where the client did. The N graphs of a
            simulation live at once: time and memory grow with N.
Paper       Geiping et al. (2020), section 6 (FedAvg); Dimitrov et al. (2022), Data leakage in
            federated averaging, with batches whose order is not known.
Reconstructed  Where the order is not known, the images are taken in the order of their labels, the
            same in every epoch. Dimitrov et al. keep a set of images for each epoch, and tie them
            by a prior; here an image is one variable in all epochs, which is the stronger
            assumption.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fedsec.errors import SettingsError
from fedsec.inversion.attack import Adaptation, Watch, invert
from fedsec.inversion.attacks.inverting_gradients import InvertingGradients
from fedsec.inversion.attacks.knowing import labels_of, local_batches
from fedsec.inversion.case import Case, Reconstruction
from fedsec.inversion.trials import simulated


@dataclass(frozen=True, kw_only=True)
class Simulation(InvertingGradients):
    """Inverting Gradients with the local steps unrolled. Needs lr and steps."""

    def __call__(
        self,
        case: Case,
        *,
        generator: torch.Generator,
        adapt: Adaptation | None = None,
        watch: Watch | None = None,
    ) -> Reconstruction:
        """The images. Raises SettingsError where the rate or the number of steps is not known."""
        lr = case.knowledge.lr
        if lr is None:
            raise SettingsError(
                "a simulation needs the client's learning rate: give lr, or use agic, which does"
                " without"
            )
        trial = simulated(lr, local_batches(case))
        return invert(
            case, self.search(), labels=labels_of(case), generator=generator, adapt=adapt,
            watch=watch, trials=[trial] * len(case.observed),
        )  # fmt: skip
