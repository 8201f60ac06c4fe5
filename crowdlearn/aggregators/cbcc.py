"""CBCC, community BCC: workers come in a few kinds, each with a typical confusion matrix.

Story       prior ~ Dirichlet(prior_count, ...);  share ~ Dirichlet(community_count, ...)
            mean[m, k] ~ Dirichlet(off_diagonal, ..., diagonal at k, ...)
            strength[m, k] ~ LogNormal(log(concentration * n_classes), spread)
            community[w] ~ Categorical(share)
            confusion[w, k] ~ Dirichlet(strength[m, k] * mean[m, k]),  m = community[w]
            truth[i] ~ Categorical(prior)
            label[v] ~ Categorical(confusion[worker[v], truth[item[v]]])
Inference   Gibbs sampling with the confusions summed out where it helps: `population.py`. Chains
            start from truths drawn from the vote shares, and from communities cut by agreement with
            these. Communities are put in order of accuracy in every draw.
Paper       Venanzi, Guiver, Kazai, Kohli and Shokouhi (2014), Community-based Bayesian aggregation
            models for crowdsourcing, WWW, with its 3 communities and its count of 10 for each.
Departures  A worker's rows are Dirichlet about those of the community, with a strength that is
            learned, where the paper has normal scores of fixed precision 5 through a softmax; draws
            in place of message passing. The number of communities is a setting, where the paper
            compares evidences.
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
class Cbcc:
    """Settings of community BCC; `population(fit)` gives the communities that were learned."""

    name: ClassVar[str] = "cbcc"
    random: ClassVar[bool] = True

    n_communities: int = 3
    community_count: float = 10.0
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
        return first_chain(self, votes, known, self.n_communities, index, n_threads)
