"""iDLG: the label of a single image is read off, and only the image is looked for.

Story       with one image, the last layer's bias gradient is softmax - onehot: negative for the
            true class alone. Then DLG over the image.
Paper       Zhao, Mopuri, Bilen (2020), iDLG: improved deep leakage from gradients.
Departures  Those of `dlg`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from fedsec.errors import SettingsError
from fedsec.inversion.attack import Adaptation, Watch
from fedsec.inversion.attacks.dlg import DLG
from fedsec.inversion.attacks.knowing import labels_of
from fedsec.inversion.case import Case, Reconstruction


@dataclass(frozen=True, kw_only=True)
class IDLG(DLG):
    """DLG with the label recovered first. One image only."""

    def __call__(
        self,
        case: Case,
        *,
        generator: torch.Generator,
        adapt: Adaptation | None = None,
        watch: Watch | None = None,
    ) -> Reconstruction:
        """The image. Raises SettingsError for more than one."""
        if case.n != 1:
            raise SettingsError(
                f"idlg rebuilds one image, not {case.n}: use inverting-gradients, which recovers"
                " the labels of a batch"
            )
        labels = tuple(labels_of(case).tolist())
        told = replace(case, knowledge=replace(case.knowledge, labels=labels))
        found = super().__call__(told, generator=generator, adapt=adapt, watch=watch)
        return replace(found, knowledge=case.knowledge)
