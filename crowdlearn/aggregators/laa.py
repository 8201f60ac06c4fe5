"""Label-aware autoencoders: a classifier of an item's votes that can tell the votes again.

Story       votes are told from the class alone (LAA-B, `n_aspects` 0), or from the class and
            aspects of the item (LAA-O: 1, its difficulty; LAA-L: 2 or more)
Inference   full batches by Adam: first the classifier learns the vote shares, then classifier and
            decoder together tell the votes again; the sum over classes is exact. The answer is the
            classifier's. Losses and penalties are in `neural/label_aware.py`.
Paper       Yin, Han, Zhang and Yu (2017), Aggregating crowd wisdoms with label-aware autoencoders,
            IJCAI; settings are those of the released code. It trains LAA-O and LAA-L 500 epochs
            (`n_epochs`), and changes `l1`, `l2` and `learning_rate` by data set.
Departures  A gold item's class is taught in the second stage.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar

from crowdlearn.aggregation import Aggregation, OnSweep
from crowdlearn.aggregators.consensus import concluded
from crowdlearn.aggregators.outcome import clamped
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.gold import gold_codes
from crowdlearn.votes import Votes


@dataclass(frozen=True, kw_only=True)
class Laa:
    """Settings of label-aware autoencoders: those of LAA-B as released."""

    name: ClassVar[str] = "laa"
    random: ClassVar[bool] = True

    n_aspects: int = 0
    kl: float = 1e-4
    l1: float = 0.005
    l2: float = 0.5
    n_pretrain_epochs: int = 50
    n_epochs: int = 100
    learning_rate: float = 0.005
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(
        self, votes: Votes, *, gold: Any = None, on_sweep: OnSweep | None = None
    ) -> Aggregation:
        """The classifier's posterior, and the decoder's confusions.

        `on_sweep` hears of every epoch of both stages.
        """
        from crowdlearn.neural.fitting_laa import fit_laa

        started = time.perf_counter()
        known = gold_codes(votes, gold)
        fitted = fit_laa(self, votes, known, on_sweep)
        posterior = clamped(fitted.predictor.predict(votes), known)
        return concluded(self, votes, known, posterior, fitted, started)
