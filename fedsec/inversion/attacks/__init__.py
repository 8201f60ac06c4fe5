"""Attacks of the literature: settings, and how they call the one loop.

`ATTACKS` names those on classifiers, `DIFFUSION_ATTACKS` those on diffusion models.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch

from fedsec.inversion.attack import Adaptation, Watch
from fedsec.inversion.attacks.agic import AGIC
from fedsec.inversion.attacks.analytic import Analytic
from fedsec.inversion.attacks.dlg import DLG
from fedsec.inversion.attacks.gidm import GIDM, LatentSearch, PixelSearch
from fedsec.inversion.attacks.gidm_plus import GIDMPlus
from fedsec.inversion.attacks.gradinversion import GradInversion
from fedsec.inversion.attacks.idlg import IDLG
from fedsec.inversion.attacks.inverting_gradients import InvertingGradients
from fedsec.inversion.attacks.simulation import Simulation
from fedsec.inversion.attacks.sme import SME
from fedsec.inversion.case import Case, Reconstruction
from fedsec.inversion.denoiser import DiffusionVictim
from fedsec.inversion.victim import Victim


@runtime_checkable
class Attack(Protocol):
    """Rebuilds the images behind a case."""

    def __call__(
        self,
        case: Case,
        *,
        generator: torch.Generator,
        adapt: Adaptation | None = None,
        watch: Watch | None = None,
    ) -> Reconstruction:
        """The images. Raises SettingsError where this attack cannot be used on the case."""


ATTACKS: dict[str, type] = {
    "dlg": DLG,
    "idlg": IDLG,
    "inverting-gradients": InvertingGradients,
    "gradinversion": GradInversion,
    "analytic": Analytic,
    "agic": AGIC,
    "simulation": Simulation,
    "sme": SME,
}

DIFFUSION_ATTACKS: dict[str, type] = {
    "gidm": GIDM,
    "gidm-latent": LatentSearch,
    "pixels": PixelSearch,
    "dlg": DLG,
    "inverting-gradients": InvertingGradients,
    "gidm+": GIDMPlus,
}
"""Two are those on classifiers, carried over: the loss is another, and labels are dropped."""

__all__ = [
    "AGIC", "ATTACKS", "Analytic", "Attack", "DIFFUSION_ATTACKS", "DLG", "GIDM", "GIDMPlus",
    "GradInversion", "IDLG", "InvertingGradients", "LatentSearch", "PixelSearch", "SME",
    "Simulation",
]  # fmt: skip


def attacks_on(victim: Victim) -> dict[str, type]:
    """The table for this kind of victim."""
    return DIFFUSION_ATTACKS if isinstance(victim, DiffusionVictim) else ATTACKS
