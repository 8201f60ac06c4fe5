"""Minimax conditional entropy: workers and items both bend what a true class is called.

Story       truth[i] is any class, all equally likely
            label[v] ~ Categorical(softmax(worker_scores[w, k] + item_scores[i, k])), for the vote v
            of worker w on item i whose truth is k; scores are Normal, penalised by their squares
Inference   EM from the vote shares. The M-step falls apart into a small concave problem for every
            worker and class, and one for every item and class; each sweep takes one Newton step in
            all of the latter, then in all of the former, halved where it would not climb. The
            penalised log likelihood with the truths summed out never falls.
Paper       Zhou, Platt, Basu and Mao (2012), Learning from the wisdom of crowds by minimax entropy,
            NIPS; in the form of Zhou, Liu, Platt and Meek (2014), Aggregating ordinal labels from
            crowds by minimax conditional entropy, ICML: the dual, for unordered classes. Penalties
            as in the authors' programs: workers 0.25 K^2, items that times votes per worker over
            votes per item.
Departures  Newton in the blocks in place of 25 steps of L-BFGS in all scores at once, with the same
            maxima and memory for one copy of the scores. Sweeps until posteriors move by less than
            1e-6, where the programs end at 5e-3 or after 50. Votes per worker are per worker with a
            vote, and so are those per item.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import softmax

from crowdlearn.aggregation import Aggregation, OnSweep
from crowdlearn.aggregators.outcome import clamped, conclude, dirichlet_accuracy
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.gold import gold_codes
from crowdlearn.inference.starts import Start, soft_majority
from crowdlearn.inference.sweeping import sweep_until_still
from crowdlearn.predictors import LogitPredictor
from crowdlearn.sweeps import sweeper
from crowdlearn.sweeps.logits import Side, read_items
from crowdlearn.sweeps.pool import Pool
from crowdlearn.votes import Votes


@dataclass(frozen=True, kw_only=True)
class MinimaxEntropy:
    """Settings of minimax entropy; penalties are relative to the paper's scale."""

    name: ClassVar[str] = "minimax-entropy"
    random: ClassVar[bool] = False

    worker_penalty: float = 0.25
    item_penalty: float = 0.25
    start: Start = soft_majority
    max_sweeps: int = 1000
    tolerance: float = 1e-6
    seed: int = 0
    n_threads: int = 0

    def __post_init__(self) -> None:
        check_settings(self)

    def penalties(self, votes: Votes) -> tuple[float, float]:
        """The weights of half the squares of the workers' and of the items' scores."""
        n_busy = int((votes.votes_per_worker > 0).sum())
        n_voted = int((votes.votes_per_item > 0).sum())
        scale = float(votes.n_classes**2)
        return self.worker_penalty * scale, self.item_penalty * scale * n_voted / n_busy

    def fit(
        self, votes: Votes, *, gold: Any = None, on_sweep: OnSweep | None = None
    ) -> Aggregation:
        """Scores that maximise the penalised likelihood, and the posteriors they imply."""
        started = time.perf_counter()
        known = gold_codes(votes, gold)
        pool = Pool(self.n_threads)
        by_item, by_worker = Side.of_items(votes), Side.of_workers(votes)
        n_classes = votes.n_classes
        items = np.zeros((votes.n_items, n_classes, n_classes))
        workers = np.zeros((votes.n_workers, n_classes, n_classes))
        posterior = np.array(clamped(self.start(votes, np.random.default_rng(self.seed)), known))
        for_workers, for_items = self.penalties(votes)

        def step(state: None) -> tuple[None, float, float]:
            by_item.climb(posterior, items, workers, for_items, pool)
            by_worker.climb(posterior, workers, items, for_workers, pool)
            bound, change = read_items(by_item, known, items, workers, posterior, pool)
            squares = for_workers * np.vdot(workers, workers) + for_items * np.vdot(items, items)
            return None, bound - float(squares) / 2, change

        _, history = sweep_until_still(
            step,
            None,
            max_sweeps=self.max_sweeps,
            tolerance=self.tolerance,
            bound_name="penalised log likelihood",
            on_sweep=on_sweep,
        )
        counts = sweeper(votes, known, n_threads=self.n_threads).counts(posterior).counts
        prior = posterior.mean(axis=0)
        return conclude(
            self,
            votes,
            gold=known,
            posterior=posterior,
            prior=prior,
            confusion=softmax(workers, axis=2),
            worker_accuracy=dirichlet_accuracy(
                counts.reshape(workers.shape) + 1 / n_classes, prior
            ),
            history=history,
            predictor=LogitPredictor(workers, np.array([for_items])),
            started=started,
        )
