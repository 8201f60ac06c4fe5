"""Hierarchical BCC: workers are variations of one population, which the votes teach too.

Story       prior ~ Dirichlet(prior_count, ...)
            mean[k] ~ Dirichlet(off_diagonal, ..., diagonal at k, ...)
            strength[k] ~ LogNormal(log(concentration * n_classes), spread)
            confusion[w, k] ~ Dirichlet(strength[k] * mean[k])
            truth[i] ~ Categorical(prior)
            label[v] ~ Categorical(confusion[worker[v], truth[item[v]]])
Inference   Gibbs sampling with the confusions summed out where it helps: `population.py`. Item
            posteriors average the truths' conditional probabilities. Chains start from truths drawn
            from the vote shares.
Paper       Kim and Ghahramani (2012), Bayesian classifier combination, AISTATS, section 3: BCC with
            hyperpriors on its Dirichlet parameters.
Departures  A parameter is strength * mean, each with a prior of its own, where the paper puts an
            exponential prior on every parameter alone: then the mean says what is typical, and the
            strength how alike the workers are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from crowdlearn.aggregation import Aggregation, OnSweep
from crowdlearn.aggregators.population import Chain, first_chain, fit_population
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.inference.starts import Start, soft_majority
from crowdlearn.votes import Votes


@dataclass(frozen=True, kw_only=True)
class Hierarchical:
    """Settings of hierarchical BCC; `population(fit)` gives the population that was learned."""

    name: ClassVar[str] = "hierarchical"
    random: ClassVar[bool] = True

    prior_count: float = 1.0
    off_diagonal: float = 1.0
    diagonal: float = 2.0
    concentration: float = 2.0
    spread: float = 1.0
    start: Start = soft_majority
    n_chains: int = 4
    n_warmup: int = 200
    n_draws: int = 1000
    seed: int = 0
    device: str = "auto"
    n_threads: int = 0

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(
        self,
        votes: Votes,
        *,
        gold: Any = None,
        on_sweep: OnSweep | None = None,
        resume: Aggregation | None = None,
    ) -> Aggregation:
        """Posterior means, intervals and draws; `resume` as in `BccGibbs.fit`."""
        return fit_population(self, votes, gold, on_sweep, resume)

    def chain(self, votes: Votes, known: np.ndarray, index: int, n_threads: int = 1) -> Chain:
        """Chain number `index` at its start; `known` are gold codes, -1 where there is none."""
        return first_chain(self, votes, known, 1, index, n_threads)
