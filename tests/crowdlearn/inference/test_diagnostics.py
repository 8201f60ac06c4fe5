from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from crowdlearn.inference.diagnostics import diagnose, ess_bulk, ess_tail, rhat

arviz = pytest.importorskip("arviz")


def autoregression(rho: float, n_chains: int, n_draws: int) -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=(n_chains, n_draws, 3))
    x = noise.copy()
    for t in range(1, n_draws):
        x[:, t] = rho * x[:, t - 1] + noise[:, t]
    return x


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.5, 0.95])
@pytest.mark.parametrize(("n_chains", "n_draws"), [(4, 500), (2, 101), (3, 50), (2, 8)])
def test_equal_to_arviz(rho: float, n_chains: int, n_draws: int) -> None:
    x = autoregression(rho, n_chains, n_draws)
    data = arviz.convert_to_dataset(x)
    assert_allclose(rhat(x), arviz.rhat(data).x.values, rtol=1e-10)
    assert_allclose(ess_bulk(x), arviz.ess(data).x.values, rtol=1e-10)
    assert_allclose(ess_tail(x), arviz.ess(data, method="tail").x.values, rtol=1e-10)


@pytest.mark.parametrize("n_draws", [3, 50])
def test_all_at_once_is_one_by_one(n_draws: int) -> None:
    x = np.random.default_rng(0).normal(size=(3, n_draws, 600))
    assert_allclose(diagnose(x), [rhat(x), ess_bulk(x), ess_tail(x)])


def test_independent_draws_count_in_full_and_autocorrelated_by_their_time() -> None:
    assert_allclose(ess_bulk(autoregression(0.0, 4, 4000)), 16_000, rtol=0.15)
    expected = 16_000 * (1 - 0.9) / (1 + 0.9)
    assert_allclose(ess_bulk(autoregression(0.9, 4, 4000)), expected, rtol=0.2)


def test_chains_apart_are_noticed_and_constants_are_not() -> None:
    x = autoregression(0.0, 4, 200)
    x[0] += 3
    assert (rhat(x) > 1.3).all()
    assert_allclose(rhat(np.ones((4, 100, 2))), 1)
    assert_allclose(ess_bulk(np.ones((4, 100, 2))), 400)
    assert np.isnan(rhat(x[:, :3])).all()


def test_shapes() -> None:
    x = np.random.default_rng(0).normal(size=(2, 40, 5, 700))
    assert rhat(x).shape == ess_bulk(x).shape == (5, 700)
    assert rhat(x[:, :, 0, 0]).shape == ()
    assert_allclose(rhat(x)[3, 600], rhat(x[:, :, 3, 600]))
