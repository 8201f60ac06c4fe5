"""BiLA: a network on raw label codes, guided by confusions that start nearly flat. In batch.

Story       prior p(t) = share of every label among all votes; label[v] ~ confusion[worker[v],
            truth[item[v]]]. Points, no priors.
Inference   `n_epochs` passes over the items in order, mini-batches of 50, by RMSProp with clipped
            gradients. The divergence from the prior counts `kl_weight` times. The answer is the
            guide's posterior with all classes equally likely; the network is not asked.
Paper       Hong, Ghiassi, Zhou, Birke and Chen (2021), Online label aggregation: a variational
            Bayesian approach, WWW, 1904-1915; settings and start are those of the released code.
Departures  Logs are summed where the released code multiplies probabilities.
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
class Bila:
    """Settings of BiLA, as released. `learning_rate` 0.001 makes it swap classes."""

    name: ClassVar[str] = "bila"
    random: ClassVar[bool] = True

    hidden: tuple[int, ...] = (64, 32)
    kl_weight: float = 0.1
    n_epochs: int = 20
    batch_items: int = 50
    learning_rate: float = 1e-4
    clip: float = 1.0
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(
        self, votes: Votes, *, gold: Any = None, on_sweep: OnSweep | None = None
    ) -> Aggregation:
        """Confusions and the posterior they imply; `on_sweep` hears of every epoch."""
        from crowdlearn.neural.bila import bila_model
        from crowdlearn.neural.trainer import Trainer

        started = time.perf_counter()
        known = gold_codes(votes, gold)
        trainer = Trainer(self, bila_model(self, votes, known))
        fitted = trainer.update(votes, known, self.n_epochs, on_sweep=on_sweep)
        posterior = clamped(fitted.predictor.predict(votes), known)
        return concluded(self, votes, known, posterior, fitted, started)
