"""BCC of soft votes: judges who say how probable each class is.

Story       prior and confusion as in `bcc.py`; truth[i] ~ Categorical(prior)
            meant[v] ~ Categorical(confusion[worker[v], truth[item[v]]])    the label it has in mind
            opinion[v] has density n_classes h(q) t[meant[v]](q) at the row q of probabilities,
            where t(q) = q^sharpness[worker[v]], scaled to sum to one
            ln sharpness[w] ~ Normal(0, sharpness_spread)
            h is any density that treats the classes alike: it says how sure a judge tends to be,
            and cancels. A judge of sharpness 1 means what it says: given q, its mind is c with
            probability q[c]. Below 1 it says too much, above 1 too little.
            A row that is sure of its label is a plain vote; for plain votes the story is BCC's.
Inference   Variational for truths, labels meant, prior and confusions; maximum a posteriori for
            ln sharpness, by damped Newton steps. The evidence lower bound never falls.
Paper       None as a whole. A soft vote enters as virtual evidence (Pearl 1988, Probabilistic
            reasoning in intelligent systems, section 2.3.3); the rest is Kim and Ghahramani (2012).
Departures  All but the confusions: the density of opinions, and sharpness, are ours.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from crowdlearn.aggregation import Aggregation, OnSweep
from crowdlearn.aggregators.bcc import dirichlet_prior
from crowdlearn.aggregators.outcome import by_truth, clamped, conclude, dirichlet_accuracy
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.gold import gold_codes
from crowdlearn.inference.starts import Start, soft_majority
from crowdlearn.inference.sweeping import sweep_until_still
from crowdlearn.predictors.soft import SoftPredictor, sharpened
from crowdlearn.soft_votes import opinions_of
from crowdlearn.sweeps import Sums, expected_prior, sweeper
from crowdlearn.votes import Votes

HALVINGS = 20


@dataclass(frozen=True, kw_only=True)
class Soft:
    """Settings of BCC of soft votes."""

    name: ClassVar[str] = "soft"
    random: ClassVar[bool] = False
    reads_opinions: ClassVar[bool] = True  # of SoftVotes, not their most probable class alone

    prior_count: float = 1.0
    off_diagonal: float = 1.0
    diagonal: float = 2.0
    sharpness_spread: float = 1.0
    start: Start = soft_majority
    max_sweeps: int = 1000
    tolerance: float = 1e-6
    seed: int = 0
    n_threads: int = 0

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(
        self, votes: Votes, *, gold: Any = None, on_sweep: OnSweep | None = None
    ) -> Aggregation:
        """Posteriors of prior, confusions and truths; `votes` are soft, or plain ones.

        `confusion` and `worker_accuracy` are those of the labels that workers have in mind.
        """
        started = time.perf_counter()
        known = gold_codes(votes, gold)
        home = sweeper(votes, known, device="cpu", n_threads=self.n_threads)
        extra = dirichlet_prior(votes.n_classes, self.off_diagonal, self.diagonal)
        posterior = clamped(self.start(votes, np.random.default_rng(self.seed)), known)
        said = opinions_of(votes)
        meant = said.copy()

        def step(state: tuple[Sums, Any, Any, Any]) -> tuple[Any, float, float]:
            before, sharpness, _, _ = state
            prior, prior_divergence = expected_prior(before.totals, self.prior_count)
            table, divergence = home.expected(before.counts, extra)
            sharpness = sharper(votes, said, meant, sharpness, self.sharpness_spread)
            opinion = sharpened(said, sharpness[votes.worker])
            sums = home.soft(prior, table, opinion, posterior, meant)
            off = (np.log(sharpness) / self.sharpness_spread) ** 2
            bound = sums.bound - prior_divergence - divergence - float(off.sum()) / 2
            return (sums, sharpness, prior, table), bound, sums.change

        start = first_sums(votes, said, posterior)
        first: tuple[Sums, Any, Any, Any] = (start, np.ones(votes.n_workers), None, None)
        posterior = home.posterior(posterior).astype(np.float64)
        (sums, sharpness, read_prior, table), history = sweep_until_still(
            step,
            first,
            max_sweeps=self.max_sweeps,
            tolerance=self.tolerance,
            bound_name="evidence lower bound",
            on_sweep=on_sweep,
        )
        shape = (votes.n_workers, votes.n_classes, votes.n_classes)
        prior = (sums.totals + self.prior_count) / (sums.totals + self.prior_count).sum()
        return conclude(
            self,
            votes,
            gold=known,
            posterior=posterior,
            prior=prior,
            confusion=by_truth(home.normalised(sums.counts, extra)[0], votes),
            worker_accuracy=dirichlet_accuracy(sums.counts.reshape(shape) + extra, prior),
            history=history,
            predictor=SoftPredictor(read_prior, table.reshape(shape), sharpness),
            started=started,
        )


def first_sums(
    votes: Votes,
    opinion: Float[np.ndarray, "vote class"],
    posterior: Float[np.ndarray, "item class"],
) -> Sums:
    """Counts where every vote means each label as probably as it says."""
    counts = np.empty((votes.n_workers, votes.n_classes, votes.n_classes))
    truth = posterior[votes.item]
    for c in range(votes.n_classes):
        for k in range(votes.n_classes):
            weight = opinion[:, c] * truth[:, k]
            counts[:, c, k] = np.bincount(votes.worker, weight, votes.n_workers)
    return Sums(counts=counts.ravel(), totals=posterior.sum(axis=0), bound=0.0)


def sharper(
    votes: Votes,
    said: Float[np.ndarray, "vote class"],
    meant: Float[np.ndarray, "vote class"],
    sharpness: Float[np.ndarray, " worker"],
    spread: float,
) -> Float[np.ndarray, " worker"]:
    """Sharpness of every worker after a Newton step, halved until nobody fits worse than before.

    A worker's fit is sum over its votes and labels of meant ln t(said) plus the log prior: concave
    in the sharpness.
    """
    unsure = np.flatnonzero(said.max(axis=1) < 1)
    if len(unsure) == 0:
        return sharpness
    worker, weight, possible = votes.worker[unsure], meant[unsure], said[unsure] > 0
    logs = np.log(np.where(possible, said[unsure], 1.0))
    ruled_out = np.where(possible, 0.0, -np.inf)

    def by_worker(values: np.ndarray) -> np.ndarray:
        return np.bincount(worker, values, votes.n_workers)

    def fit(at: np.ndarray) -> np.ndarray:
        powers = at[worker, None] * logs
        value = (weight * powers).sum(axis=1) - logsumexp(powers + ruled_out, axis=1)
        return by_worker(value) - (np.log(at) / spread) ** 2 / 2

    share = sharpened(said[unsure], sharpness[worker])
    mean = (share * logs).sum(axis=1)
    slope = (
        sharpness * by_worker((weight * logs).sum(axis=1) - mean) - np.log(sharpness) / spread**2
    )
    bend = sharpness**2 * by_worker((share * logs**2).sum(axis=1) - mean**2) + spread**-2.0
    step, here = np.clip(slope / bend, -1, 1), fit(sharpness)
    for _ in range(HALVINGS):
        tried = np.exp(np.log(sharpness) + step)
        worse = fit(tried) < here
        if not worse.any():
            return tried
        step = np.where(worse, step / 2, step)
    return np.where(worse, sharpness, tried)
