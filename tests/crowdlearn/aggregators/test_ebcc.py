from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose

from crowdlearn.aggregators import aggregator
from crowdlearn.aggregators.bcc import dirichlet_prior
from crowdlearn.votes import Votes
from tests.crowdlearn.aggregators.oracles import exact_truths, log_dirichlet_multinomial


def test_one_subtype_is_bcc() -> None:
    """Vote shares that sum to the same for each class make EBCC's prior that of BCC."""
    rng = np.random.default_rng(0)
    item, worker = np.repeat(np.arange(40), 4), np.tile(np.arange(4), 40)
    label = rng.integers(0, 2, 160)
    label = np.concatenate([label, 1 - label])  # every item again, classes exchanged
    item, worker = np.concatenate([item, item + 40]), np.concatenate([worker, worker])
    votes = Votes.from_codes(item, worker, label)
    settled = {"tolerance": 1e-11, "max_sweeps": 20_000, "diagonal": 4.0}
    ebcc = aggregator("ebcc", n_subtypes=1, n_restarts=1, **settled).fit(votes)
    bcc = aggregator("bcc", prior_count=40.0, **settled).fit(votes)
    assert_allclose(ebcc.posterior, bcc.posterior, atol=1e-7)
    assert_allclose(ebcc.confusion, bcc.confusion, atol=1e-7)
    assert_allclose(ebcc.history.bound[-1], bcc.history.bound[-1], rtol=1e-9)


def test_the_bound_is_below_the_enumerated_evidence(tiny: Votes) -> None:
    n_subtypes, state_class = 2, np.array([0, 0, 1, 1])
    rows = dirichlet_prior(2, 1.0, 4.0)[state_class]
    class_count = tiny.shares().sum(axis=0)

    def log_joint(state: np.ndarray) -> float:
        truth = state_class[state]
        counts = np.zeros((tiny.n_workers, 4, 2))
        np.add.at(counts, (tiny.worker, state[tiny.item], tiny.label), 1)
        subtypes = np.bincount(state, minlength=4).reshape(2, 2).astype(float)
        return (
            log_dirichlet_multinomial(np.bincount(truth, minlength=2).astype(float), class_count)
            + log_dirichlet_multinomial(subtypes, np.full((2, 2), 0.1 / n_subtypes))
            + log_dirichlet_multinomial(counts, rows)
        )

    _, log_evidence = exact_truths(tiny, log_joint, 4)
    fit = aggregator("ebcc", n_subtypes=2, tolerance=1e-9).fit(tiny)
    assert log_evidence - 4.0 < fit.history.bound[-1] < log_evidence


def test_more_restarts_never_lower_the_best_bound(world: tuple[Votes, np.ndarray]) -> None:
    best = [
        aggregator("ebcc", n_subtypes=3, n_restarts=n).fit(world[0]).history.bound[-1]
        for n in (1, 3, 8)
    ]
    assert best[0] <= best[1] <= best[2]
    assert best[0] < best[2]
