from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose

from crowdlearn.sweeps.rows import draw_tables, log_rows, log_workers
from tests.crowdlearn.aggregators.oracles import log_dirichlet_multinomial


def test_rows_have_their_probability_with_confusions_summed_out() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 40, (5, 3, 3)).astype(float)  # worker, label, class
    counts[0] = 0
    community, strength = np.array([0, 1, 1, 0, 1]), rng.gamma(2, 3, (2, 3))
    mean = rng.dirichlet(np.ones(3), (2, 3))
    found = log_rows(counts.ravel(), community, strength, mean)
    expected = [
        [
            log_dirichlet_multinomial(
                counts[community == m][:, :, k], np.tile(strength[m, k] * mean[m, k], (n, 1))
            )
            for k in range(3)
        ]
        for m, n in ((0, 2), (1, 3))
    ]
    assert_allclose(found, expected, rtol=1e-10)
    alone = log_workers(counts.ravel(), strength, mean)
    for m in (0, 1):
        assert_allclose(alone[community == m, m].sum(), found[m].sum(), rtol=1e-10)


def test_tables_are_as_many_as_expected() -> None:
    """The mean number of tables of n customers is the sum of a / (a + r), r below n."""
    counts = np.zeros((400, 2, 2))
    counts[:, 0, 1], counts[:, 1, 0] = 7, 3
    strength, mean = np.array([[2.0, 5.0]]), np.array([[[0.3, 0.7], [0.6, 0.4]]])
    community = np.zeros(400, dtype=np.int64)
    seated = draw_tables(counts.ravel(), community, strength, mean, np.random.default_rng(0))
    for k, c, n in ((1, 0, 7), (0, 1, 3)):
        chance = strength[0, k] * mean[0, k, c] / (strength[0, k] * mean[0, k, c] + np.arange(n))
        spread = np.sqrt(400 * (chance * (1 - chance)).sum())
        assert abs(seated[0, k, c] - 400 * chance.sum()) < 4 * spread
    assert seated[0, 0, 0] == seated[0, 1, 1] == 0
