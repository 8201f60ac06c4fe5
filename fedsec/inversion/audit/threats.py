"""Threat models: who reads the update, and what they know beside it.

All know the network, the parameters that were sent, and how many images the client has: an honest
but curious server does. What differs is how much of the client's own doing they know. An attack
stands under the first threat model that gives it all it can use; an attacker who knows more can do
what one who knows less can, which verdicts heed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fedsec.core.record import Knowledge
from fedsec.errors import SettingsError
from fedsec.inversion.denoiser import DiffusionVictim
from fedsec.inversion.victim import Victim

FLAGS = {
    "labels": "labels", "lr": "lr", "steps": "steps", "batch": "batch", "order": "order", "t": "t",
    "noise": "noise",
}  # fmt: skip
"""Field of Knowledge -> the setting that gives it."""


@dataclass(frozen=True, kw_only=True)
class Threat:
    """A threat model.

    title    in a few words
    says     who this is
    knows    fields of Knowledge that the attacker is told
    attacks  that make use of just this, by their names in ATTACKS or DIFFUSION_ATTACKS
    """

    title: str
    says: str
    knows: tuple[str, ...]
    attacks: tuple[str, ...]

    def told(self, facts: Knowledge, kind: str) -> Knowledge:
        """The part of the facts that this attacker knows.

        Raises SettingsError where it is to know what the auditor does not, or where a gradient has
        no such thing.
        """
        known = {name: getattr(facts, name) for name in self.knows}
        if kind == "gradient" and "lr" in known:
            raise SettingsError(
                "the client sent a gradient: it has no rate and no steps that could be known"
            )
        missing = [name for name, value in known.items() if value is None and name != "batch"]
        if missing:
            raise SettingsError(
                f"nobody told the audit the client's {' or '.join(missing)}: give"
                f" {' and '.join(missing)} to run this threat model"
            )
        return replace(Knowledge(), **known)

    def includes(self, other: Threat) -> bool:
        """Whether this attacker can do all that the other one can."""
        return set(other.knows) <= set(self.knows)


THREATS: dict[str, Threat] = {
    "update": Threat(
        title="Server reads the update",
        says=(
            "An honest but curious server. It sent the model and got the update back; it knows how"
            " many images the client has, and nothing else of it. Labels are recovered."
        ),
        knows=(),
        attacks=("analytic", "dlg", "idlg", "inverting-gradients", "gradinversion", "agic", "sme"),
    ),
    "labels": Threat(
        title="Server knows the labels",
        says=(
            "The same server, which also knows or has guessed right which classes the client's"
            " images are of. This is what most papers assume."
        ),
        knows=("labels",),
        attacks=("dlg", "inverting-gradients", "gradinversion", "agic", "sme"),
    ),
    "recipe": Threat(
        title="Server knows how the client trained",
        says=(
            "A server that set the client's learning rate, steps and batch size, as in most"
            " federations. Labels are recovered, and the order of the images is guessed."
        ),
        knows=("lr", "steps", "batch"),
        attacks=("simulation",),
    ),
    "everything": Threat(
        title="Server knows all but the pixels",
        says=(
            "Labels, learning rate, steps, and which image was in which batch: more than a server"
            " would know. An upper bound for the attacks here."
        ),
        knows=("labels", "lr", "steps", "batch", "order"),
        attacks=("simulation",),
    ),
}
"""From the least to the most that an attacker knows."""

DIFFUSION_THREATS: dict[str, Threat] = {
    "private-noise": Threat(
        title="Server reads the update of a diffusion model",
        says=(
            "An honest but curious server. The client drew time steps and noise itself, and told"
            " nobody. The steps are read off the gradient; noise is looked for with the images."
        ),
        knows=(),
        attacks=("gidm+", "dlg", "inverting-gradients"),
    ),
    "known-noise": Threat(
        title="Server sent time steps and noise",
        says=(
            "A server that coordinates the training: it chose the time steps, and the noise or its"
            " seed, so it knows all that went into the gradient but the images."
        ),
        knows=("t", "noise"),
        attacks=("gidm", "gidm-latent", "pixels", "dlg", "inverting-gradients"),
    ),
}
"""The same of clients that train a diffusion model."""

EVERY_THREAT: dict[str, Threat] = THREATS | DIFFUSION_THREATS
IN_WORDS = {"t": "the time steps", "noise": "the noise", "labels": "the labels"}
"""How a report calls what is known, where it is not its name."""


def threats_on(victim: Victim) -> dict[str, Threat]:
    """The threat models of clients that train such a model."""
    return DIFFUSION_THREATS if isinstance(victim, DiffusionVictim) else THREATS
