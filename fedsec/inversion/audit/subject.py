"""What is audited: what a server saw of a client, and all that is true of the client."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fedsec.core.record import Knowledge
from fedsec.data.images import Images
from fedsec.diffusion.model import DiffusionModel
from fedsec.inversion.case import Case, Observed
from fedsec.inversion.victim import Victim


@dataclass(frozen=True, eq=False)
class Subject:
    """A client as an audit sees it.

    victim     the loss, with the parameters of the first round
    observed   one or more rounds in which the client used the same images
    shape      (channel, height, width) of an image
    n          images of the client
    facts      what is true of the client; None where the auditor does not know it. A threat model
               tells the attacker some of it
    noise      what a diffusion client added to its images, where the auditor knows it
    prior      a trained diffusion model that attackers have, or None
    truth      the client's images; None where the auditor does not have them: then attacks run, and
               cannot be scored
    """

    victim: Victim
    observed: tuple[Observed, ...]
    shape: tuple[int, int, int]
    n: int
    n_classes: int
    facts: Knowledge
    truth: Images | None = None
    noise: Tensor | None = None
    prior: DiffusionModel | None = None

    @property
    def kind(self) -> str:
        """Of the update: "gradient" or "delta"."""
        return self.observed[0].update.kind

    def case(self, knowledge: Knowledge) -> Case:
        """The question to an attacker who knows this."""
        return Case(
            victim=self.victim, observed=self.observed, shape=self.shape, n=self.n,
            n_classes=self.n_classes, knowledge=knowledge, prior=self.prior,
            noise=self.noise if knowledge.noise else None,
        )  # fmt: skip
