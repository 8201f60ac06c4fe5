import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.special import digamma, gammaln
from scipy.stats import beta as beta_distribution

from crowdlearn.sweeps import expected_prior, tables
from crowdlearn.sweeps.kernels import TINY
from crowdlearn.sweeps.pool import Pool

ONE = Pool(1)
EXTRA = np.array(
    [[2.0, 0.5, 1.0, 0.1], [1.0, 3.0, 0.2, 0.1], [1.0, 1.0, 1.0, 0.1]]
)  # (label, state)


def some_counts(n_workers: int = 7, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.gamma(0.3, 20, n_workers * EXTRA.size) * (rng.random(n_workers * EXTRA.size) < 0.7)


def cube(flat):
    return np.asarray(flat).reshape(-1, *EXTRA.shape)


def test_digamma_and_lgamma_are_scipys_from_1e_8_to_1e8():
    x = np.concatenate([np.logspace(-8, 8, 2001), np.linspace(0.5, 10, 500), [1.0, 2.0, 8.0]])
    found = np.array([tables.digamma_and_lgamma(value) for value in x])
    for ours, scipys in ((found[:, 0], digamma(x)), (found[:, 1], gammaln(x))):
        assert (abs(ours - scipys) <= 2e-14 * np.maximum(abs(scipys), 1)).all()


def test_normalised_rows_are_counts_and_extra_divided_by_their_sum():
    counts = some_counts()
    table, log_extra = tables.normalised(counts, EXTRA, np.float64, ONE)
    expected = cube(counts) + EXTRA
    expected /= expected.sum(axis=1, keepdims=True)
    assert_allclose(cube(table), expected, rtol=1e-14)
    assert_allclose(log_extra, (EXTRA * np.log(expected)).sum(), rtol=1e-13)


def test_logarithms_of_rows_with_one_extra_do_not_underflow():
    """Forty cells of 1e-30: their product is no number."""
    counts = np.zeros((2, 40, 3))
    counts[:, 0, :2] = 1e30
    extra = np.full((40, 3), 0.5)
    extra[7, 1] = 0.25  # one row is not alike
    table, log_extra = tables.normalised(counts.ravel(), extra, np.float64, ONE)
    assert_allclose(log_extra, (extra * np.log(table.reshape(counts.shape))).sum(), rtol=1e-13)
    assert table.min() == TINY


def test_rows_without_counts_and_extra_are_uniform_and_zero_cells_are_tiny():
    counts = np.zeros((2, 3, 2))  # (worker, label, state)
    counts[0, 1, 0] = 5
    table, log_extra = tables.normalised(counts.ravel(), np.zeros((3, 2)), np.float64, ONE)
    found = table.reshape(2, 3, 2)
    assert_array_equal(found[0, :, 0], [TINY, 1, TINY])
    assert_allclose(found[0, :, 1], 1 / 3)
    assert_allclose(found[1], 1 / 3)
    assert log_extra == 0


@pytest.mark.parametrize("make", [tables.normalised, tables.expected])
def test_float32_tables_and_any_number_of_threads(make, monkeypatch):
    counts = some_counts(n_workers=100)
    table, total = make(counts, EXTRA, np.float64, ONE)
    single, _ = make(counts, EXTRA, np.float32, ONE)
    assert single.dtype == np.float32
    assert_allclose(single, table, rtol=1e-6, atol=1e-30)
    monkeypatch.setattr(tables, "CELLS_A_TASK", 9 * EXTRA.size)
    assert len(tables._tasks(len(counts), EXTRA)) == 12
    in_parts = [make(counts, EXTRA, np.float64, Pool(n)) for n in (1, 2, 3)]
    for part, part_total in in_parts:
        assert_array_equal(part, table)
        assert part_total == in_parts[0][1]
        assert_allclose(part_total, total, rtol=1e-12)


def test_expected_rows_are_exp_of_expected_logarithms():
    counts = some_counts()
    after = cube(counts) + EXTRA
    logs = digamma(after) - digamma(after.sum(axis=1, keepdims=True))
    table, divergence = tables.expected(counts, EXTRA, np.float64, ONE)
    as_logs, same = tables.expected(counts, EXTRA, np.float64, ONE, logs=True)
    assert_allclose(cube(as_logs), logs, rtol=1e-12)
    assert_allclose(cube(table), np.maximum(np.exp(logs), TINY), rtol=1e-11)
    assert divergence == same


def test_expected_gives_the_divergence_of_the_dirichlets_in_closed_form():
    counts = some_counts()
    after, before = cube(counts) + EXTRA, EXTRA
    rows = gammaln(after.sum(axis=1)) - gammaln(after).sum(axis=1)
    rows += gammaln(before).sum(axis=0) - gammaln(before.sum(axis=0))
    logs = digamma(after) - digamma(after.sum(axis=1, keepdims=True))
    rows += ((after - before) * logs).sum(axis=1)
    assert (rows >= -1e-12).all()
    divergence = tables.expected(counts, EXTRA, np.float64, ONE)[1]
    assert_allclose(divergence, rows.sum(), rtol=1e-12)


def integral(of, density) -> float:
    return quad(lambda x: of(x) * density(x), 0, 1, limit=200)[0]


def test_two_labels_by_integrating_the_beta_densities():
    counts, extra = np.array([3.0, 1.5]), np.array([[2.0], [1.2]])
    table, divergence = tables.expected(counts, extra, np.float64, ONE, logs=True)
    after, before = beta_distribution(5.0, 2.7), beta_distribution(2.0, 1.2)
    assert_allclose(table[0], integral(np.log, after.pdf), rtol=1e-8)
    assert_allclose(table[1], integral(lambda x: math.log1p(-x), after.pdf), rtol=1e-7)
    between = integral(lambda x: after.logpdf(x) - before.logpdf(x), after.pdf)
    assert_allclose(divergence, between, rtol=1e-8)


def test_nothing_seen_is_no_divergence():
    assert_allclose(tables.expected(np.zeros(24), EXTRA, np.float64, ONE)[1], 0, atol=1e-12)
    offsets = np.zeros(4, dtype=np.int64)
    assert_allclose(
        tables.beta_expectations(np.zeros(3), offsets, (9.0, 1.0), ONE)[2], 0, atol=1e-12
    )


def test_easiness_by_integrating_the_beta_densities():
    seen, offsets, (a, b) = np.array([2.5, 0.0, 4.0]), np.array([0, 4, 4, 8]), (3.0, 1.5)
    sees, misses, divergence = tables.beta_expectations(seen, offsets, (a, b), ONE)
    log_sees, log_misses, same = tables.beta_expectations(seen, offsets, (a, b), ONE, logs=True)
    before, total = beta_distribution(a, b), 0.0
    for i, (n_seen, n_missed) in enumerate([(2.5, 1.5), (0, 0), (4, 0)]):
        after = beta_distribution(a + n_seen, b + n_missed)
        assert_allclose(log_sees[i], integral(np.log, after.pdf), rtol=1e-8)
        assert_allclose(log_misses[i], integral(lambda x: math.log1p(-x), after.pdf), rtol=1e-7)
        total += integral(lambda x, q=after: q.logpdf(x) - before.logpdf(x), after.pdf)
    assert_allclose(divergence, total, rtol=1e-7)
    assert divergence == same
    assert_allclose([sees, misses], np.exp([log_sees, log_misses]), rtol=1e-14)


def test_rounding_cannot_make_more_votes_seen_than_there_are():
    sees, misses, divergence = tables.beta_expectations(
        np.array([4 + 1e-9]), np.array([0, 4]), (9.0, 1e-9), ONE, logs=True
    )
    assert np.isfinite([sees[0], misses[0], divergence]).all()


def test_expected_prior_is_expected_for_one_row():
    totals, count = np.array([3.0, 0.0, 7.5]), np.array([1.0, 0.5, 2.0])
    prior, divergence = expected_prior(totals, count)
    table, same = tables.expected(totals, count[:, None], np.float64, ONE)
    assert_allclose(prior, table, rtol=1e-12)
    assert_allclose(divergence, same, rtol=1e-12)


def test_draws_have_the_moments_of_their_dirichlets():
    n = 40_000
    counts = np.tile(some_counts(n_workers=1), n)
    table = cube(tables.drawn(counts, EXTRA, np.float64, np.random.default_rng(1)))
    after = cube(counts)[0] + EXTRA
    total = after.sum(axis=0)
    mean = after / total
    variance = mean * (1 - mean) / (total + 1)
    assert_allclose(table.sum(axis=1), 1, rtol=1e-12)
    assert (abs(table.mean(axis=0) - mean) <= 4 * np.sqrt(variance / n)).all()
    fourth = ((table - mean) ** 4).mean(axis=0)
    spread = np.sqrt((fourth - variance**2) / n)
    assert (abs(((table - mean) ** 2).mean(axis=0) - variance) <= 4 * spread).all()


def test_draws_repeat_with_their_generator_and_are_never_zero():
    counts, extra = np.zeros(24), np.full(EXTRA.shape, 1e-4)
    one, two = (tables.drawn(counts, extra, np.float32, np.random.default_rng(2)) for _ in range(2))
    assert_array_equal(one, two)
    assert one.dtype == np.float32 and (one >= np.float32(TINY)).all()


def test_workers_with_a_prior_each_are_workers_one_by_one():
    """A prior of shape (worker, label, state) is every worker's own call with its own prior."""
    rng = np.random.default_rng(5)
    counts, extra = some_counts(), rng.gamma(1.0, 2.0, (7, *EXTRA.shape))
    rows = counts.reshape(7, -1)
    for make in (tables.normalised, tables.expected):
        whole, total = make(counts, extra, np.float64, ONE)
        parts = [make(row, own, np.float64, ONE) for row, own in zip(rows, extra, strict=True)]
        assert_allclose(whole, np.concatenate([part for part, _ in parts]), rtol=1e-12)
        assert_allclose(total, sum(number for _, number in parts), rtol=1e-12)
    draws = cube(tables.drawn(counts, extra, np.float64, np.random.default_rng(6)))
    gammas = np.random.default_rng(6).standard_gamma(cube(counts) + extra)
    assert_allclose(draws, gammas / gammas.sum(axis=1, keepdims=True), rtol=1e-12)


def test_jax_knows_priors_of_each_worker_too():
    jax = pytest.importorskip("jax")
    from crowdlearn.sweeps import jax_tables

    counts, extra = some_counts(), np.random.default_rng(5).gamma(1.0, 2.0, (7, *EXTRA.shape))
    dtype = np.dtype(np.float64)
    with jax.enable_x64(True):
        on_device = jax.numpy.asarray(counts), jax.numpy.asarray(extra)
        found = [
            jax_tables.normalised(*on_device, dtype=dtype),
            jax_tables.expected(*on_device, dtype=dtype, logs=False),
        ]
    for (table, total), make in zip(found, (tables.normalised, tables.expected), strict=True):
        expected, number = make(counts, extra, np.float64, ONE)
        assert_allclose(table, expected, rtol=1e-9)
        assert_allclose(total, number, rtol=1e-9)
