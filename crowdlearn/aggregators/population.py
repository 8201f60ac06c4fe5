"""Workers drawn from populations: what `hierarchical` (one) and `cbcc` (several) share.

Story       prior ~ Dirichlet(prior_count, ...)
            share ~ Dirichlet(community_count, ...)                     over the communities
            mean[m, k] ~ Dirichlet(off_diagonal, ..., diagonal at k, ...)
            strength[m, k] ~ LogNormal(log(concentration * n_classes), spread)
            community[w] ~ Categorical(share)
            confusion[w, k] ~ Dirichlet(strength[m, k] * mean[m, k]),  m = community[w]
            truth[i] ~ Categorical(prior);  label[v] ~ Categorical(confusion[worker[v], truth])
Inference   A sweep draws, given the truths and with the confusions summed out: shares, strengths
            (slice sampling), means (Dirichlet, given the number of tables each count would take up
            in a Chinese restaurant: Teh et al. 2006, eqs. 31-40), communities; then the confusions
            given these (Dirichlet), prior, and all truths in one pass over the votes. Summing the
            confusions out keeps strengths from sticking to the rows they were last seen with.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crowdlearn.aggregation import Aggregation, OnSweep
from crowdlearn.aggregators.bcc import dirichlet_prior
from crowdlearn.aggregators.outcome import beta_interval, by_truth, clamped, conclude
from crowdlearn.aggregators.resuming import earlier_run, threads_for
from crowdlearn.errors import SettingsError
from crowdlearn.gold import gold_codes
from crowdlearn.inference.gibbs import Drawn, Kept, Streams, first_truths, run_chains
from crowdlearn.predictors import ProductPredictor
from crowdlearn.sweeps import Sums, sweeper
from crowdlearn.sweeps.kernels import TINY
from crowdlearn.sweeps.rows import draw_tables, log_rows, log_workers
from crowdlearn.sweeps.tables import drawn as drawn_table
from crowdlearn.votes import Votes

SLICE = 3.0  # first width of a slice of log strength


def fit_population(
    method: Any,
    votes: Votes,
    gold: Any,
    on_sweep: OnSweep | None,
    resume: Aggregation | None,
) -> Aggregation:
    """Run the chains of `method` and add them up."""
    started = time.perf_counter()
    known = gold_codes(votes, gold)
    before = earlier_run(method, votes, known, resume)
    share, each = threads_for(method)
    chains = [method.chain(votes, known, index, each) for index in range(method.n_chains)]
    if before:
        for index, chain in enumerate(chains):
            chain.set_state({k: v[index] for k, v in before[0].items() if k[:6] == "chain_"})
    run = run_chains(
        chains,
        votes,
        seed=method.seed,
        n_warmup=method.n_warmup,
        n_draws=method.n_draws,
        n_threads=share,
        on_sweep=on_sweep,
        before=before,
    )
    kept = run.kept
    prior, table, mean = kept.prior / kept.n, kept.table / kept.n, kept.accuracy / kept.n
    shape = (votes.n_workers, votes.n_classes, votes.n_classes)
    return conclude(
        method,
        votes,
        gold=known,
        posterior=kept.tally / kept.n,
        prior=prior,
        confusion=by_truth(table, votes),
        worker_accuracy=beta_interval(mean, kept.accuracy_squared / kept.n - mean**2),
        history=run.history,
        predictor=ProductPredictor(prior, table.reshape(shape), np.arange(votes.n_classes)),
        started=started,
        draws=run.draws,
        sampler=run.sampler,
        findings=run.problems,
    )


@dataclass(frozen=True, eq=False)
class Population:
    """Posterior means of the communities, the most accurate first.

    In every draw the communities are put in order of the accuracy of their mean worker, so that
    exchanging them leaves no trace. `strength` is the exponential of its mean logarithm.
    """

    share: Float[np.ndarray, " community"]
    mean: Float[np.ndarray, "community class label"]
    strength: Float[np.ndarray, "community class"]
    membership: Float[np.ndarray, "worker community"]  # probability of each worker's community


def population(fit: Aggregation) -> Population:
    """The communities of a fit by `cbcc`, or the one population of a fit by `hierarchical`.

    Raises SettingsError for a fit by another method.
    """
    kept = Kept.from_arrays(fit.sampler) if fit.draws else None
    if kept is None or "log_strength" not in kept.extras:
        raise SettingsError(f"{fit.method} has no population: hierarchical and cbcc have")
    values = {name: value / kept.n for name, value in kept.extras.items()}
    k = fit.votes.n_classes
    return Population(
        share=values.get("share", np.ones(1)),
        mean=values["mean"].reshape(-1, k, k),
        strength=np.exp(values["log_strength"]).reshape(-1, k),
        membership=values.get("membership", np.ones((fit.votes.n_workers, 1))),
    )


@dataclass(frozen=True, eq=False)
class Hyperprior:
    """What is fixed: the parameters of the distributions of means, strengths and shares."""

    prior_count: float
    rows: Float[np.ndarray, "class label"]
    median: float  # of a strength
    spread: float
    community_count: float


@dataclass(eq=False)
class Chain:
    """One Gibbs chain; its state is what the next sweep depends on."""

    home: Any
    hyper: Hyperprior
    sums: Sums
    community: Int[np.ndarray, " worker"]
    mean: Float[np.ndarray, "community class label"]
    strength: Float[np.ndarray, "community class"]

    def sweep(self, streams: Streams, tally: np.ndarray, keep: bool) -> Drawn:
        rng, counts = streams(0), self.sums.counts
        prior = rng.dirichlet(self.sums.totals + self.hyper.prior_count)
        share = self._draw_rows_parameters(counts, rng)
        self.community = draw_communities(counts, share, self.strength, self.mean, rng)
        alpha = (self.strength[:, :, None] * self.mean).transpose(0, 2, 1)[self.community]
        nothing = np.zeros(alpha.shape[1:])
        table = drawn_table(counts + alpha.ravel(), nothing, self.home.dtype, rng)
        uniform = streams(1).random(self.home.votes.n_items)
        self.sums = self.home.draw(prior, table, uniform, tally, keep)
        return Drawn(prior, table, self.sums.bound, self._ordered(prior, share))

    def _draw_rows_parameters(
        self, counts: Float[np.ndarray, " cell"], rng: np.random.Generator
    ) -> Float[np.ndarray, " community"]:
        """Shares, strengths and means, given the communities; the confusions summed out."""
        sizes = np.bincount(self.community, minlength=len(self.mean))
        share = rng.dirichlet(sizes + self.hyper.community_count)
        self.strength = draw_strength(
            counts, self.community, self.strength, self.mean, self.hyper, rng
        )
        seated = draw_tables(counts, self.community, self.strength, self.mean, rng)
        gammas = rng.standard_gamma(seated + self.hyper.rows)
        self.mean = np.maximum(gammas / gammas.sum(axis=2, keepdims=True), TINY)
        return share

    def _ordered(
        self, prior: Float[np.ndarray, " class"], share: Float[np.ndarray, " community"]
    ) -> dict[str, np.ndarray]:
        """The communities with the most accurate first, to be averaged over draws.

        A single population has no axis of communities, as in the story it comes from.
        """
        if len(share) == 1:
            strength = self.strength[0]
            return {"mean": self.mean[0], "strength": strength, "log_strength": np.log(strength)}
        order = np.argsort(-np.einsum("mkk,k->m", self.mean, prior), kind="stable")
        return {
            "share": share[order],
            "mean": self.mean[order],
            "strength": self.strength[order],
            "log_strength": np.log(self.strength[order]),
            "membership": (self.community[:, None] == order).astype(np.float64),
        }

    def state(self) -> dict[str, np.ndarray]:
        return {
            "chain_counts": self.sums.counts.copy(),
            "chain_totals": self.sums.totals,
            "chain_community": self.community,
            "chain_mean": self.mean,
            "chain_strength": self.strength,
        }

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        self.sums = Sums(state["chain_counts"].copy(), state["chain_totals"], bound=0.0)
        self.community = state["chain_community"]
        self.mean, self.strength = state["chain_mean"], state["chain_strength"]


def first_chain(
    method: Any, votes: Votes, known: np.ndarray, n_communities: int, index: int, n_threads: int
) -> Chain:
    """A chain at truths drawn from the start, its communities cut by agreement with these."""
    home = sweeper(votes, known, device=method.device, n_threads=n_threads)
    rng = np.random.default_rng([method.seed, index])
    truths = first_truths(clamped(method.start(votes, rng), known), rng)
    sums = home.counts(home.posterior(truths))
    rows = dirichlet_prior(votes.n_classes, method.off_diagonal, method.diagonal)
    n_classes = votes.n_classes
    right = np.einsum("wkk->w", sums.counts.reshape(-1, n_classes, n_classes))
    agreement = (right + 1 / n_classes) / (votes.votes_per_worker + 1)
    rank = np.argsort(np.argsort(-agreement, kind="stable"), kind="stable")
    median = method.concentration * n_classes
    return Chain(
        home=home,
        hyper=Hyperprior(
            prior_count=method.prior_count,
            rows=rows,
            median=median,
            spread=method.spread,
            community_count=getattr(method, "community_count", 1.0),
        ),
        sums=sums,
        community=rank * n_communities // votes.n_workers,
        mean=np.tile(rows / rows.sum(axis=1, keepdims=True), (n_communities, 1, 1)),
        strength=np.full((n_communities, n_classes), median),
    )


def draw_strength(
    counts: Float[np.ndarray, " cell"],
    community: Int[np.ndarray, " worker"],
    strength: Float[np.ndarray, "community class"],
    mean: Float[np.ndarray, "community class label"],
    hyper: Hyperprior,
    rng: np.random.Generator,
) -> Float[np.ndarray, "community class"]:
    """One slice-sampling step of every log strength at once (Neal 2003, figure 5, no stepping)."""
    centre = math.log(hyper.median)
    x = np.log(strength)
    height = log_rows(counts, community, strength, mean) - ((x - centre) / hyper.spread) ** 2 / 2
    level = height - rng.standard_exponential(x.shape)
    low = x - SLICE * rng.random(x.shape)
    high = low + SLICE
    new, todo = x.copy(), np.ones(x.shape, dtype=bool)
    while todo.any():
        trial = np.where(todo, low + (high - low) * rng.random(x.shape), new)
        height = log_rows(counts, community, np.exp(trial), mean)
        height -= ((trial - centre) / hyper.spread) ** 2 / 2
        inside = height >= level
        new = np.where(todo & inside, trial, new)
        todo &= ~inside & (high - low > 1e-12)
        low = np.where(todo & (trial < x), trial, low)
        high = np.where(todo & (trial >= x), trial, high)
    return np.exp(new)


def draw_communities(
    counts: Float[np.ndarray, " cell"],
    share: Float[np.ndarray, " community"],
    strength: Float[np.ndarray, "community class"],
    mean: Float[np.ndarray, "community class label"],
    rng: np.random.Generator,
) -> Int[np.ndarray, " worker"]:
    """Every worker's community, given the worker's counts (confusions summed out)."""
    n_workers = len(counts) // mean[0].size
    if len(share) == 1:
        return np.zeros(n_workers, dtype=np.int64)
    logs = log_workers(counts, strength, mean)
    logs += np.log(np.maximum(share, TINY)) + rng.gumbel(size=logs.shape)
    return logs.argmax(axis=1)
