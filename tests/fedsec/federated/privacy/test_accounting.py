"""Epsilon against closed forms: composed Gaussians, and one subsampled step in both directions."""

from math import exp, expm1, inf, log, log1p, sqrt

import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from fedsec.errors import SettingsError
from fedsec.federated.privacy.accounting import (
    ACCOUNTANTS,
    aggregate_multiplier,
    epsilon,
    prv,
    rdp,
)


def gaussian_delta(eps: float, mu: float) -> float:
    """Balle and Wang (2018), ICML, theorem 8, for sensitivity mu times the noise."""
    return norm.cdf(mu / 2 - eps / mu) - exp(eps + norm.logcdf(-mu / 2 - eps / mu))


def subsampled_delta(eps: float, sigma: float, q: float) -> float:
    """The larger hockey-stick divergence of (1-q) N(0, s^2) + q N(1, s^2) and N(0, s^2).

    Their ratio grows with x, so each direction is a difference of two tails.
    """

    def where_ratio_is(r: float) -> float:  # (1 - q) + q exp((2x - 1) / 2s^2) = r
        return sigma**2 * log((r - 1 + q) / q) + 0.5

    x = where_ratio_is(exp(eps))
    removed = (
        (1 - q) * norm.sf(x, 0, sigma) + q * norm.sf(x, 1, sigma) - exp(eps) * norm.sf(x, 0, sigma)
    )
    if exp(-eps) <= 1 - q:
        return removed
    x = where_ratio_is(exp(-eps))
    mixed = (1 - q) * norm.cdf(x, 0, sigma) + q * norm.cdf(x, 1, sigma)
    return max(removed, norm.cdf(x, 0, sigma) - exp(eps) * mixed)


def solved(delta_of, delta: float) -> float:
    """The epsilon at which `delta_of` falls to delta; 0 where it is below from the start."""
    return 0.0 if delta_of(0.0) <= delta else brentq(lambda e: delta_of(e) - delta, 0, 600)


@pytest.mark.parametrize(
    ("sigma", "steps", "delta"),
    [(1.0, 1, 1e-5), (1.0, 10, 1e-5), (5.0, 1, 1e-6), (4.0, 50, 1e-6), (30.0, 100, 1e-5),
     (0.1, 1, 1e-5)],
)  # fmt: skip
def test_composed_gaussians_have_a_closed_form(sigma, steps, delta):
    exact = solved(lambda eps: gaussian_delta(eps, sqrt(steps) / sigma), delta)
    assert exact <= epsilon(sigma, 1.0, steps, delta, prv) <= exact + max(0.003 * exact, 0.003)
    assert exact <= epsilon(sigma, 1.0, steps, delta, rdp) <= exact * 1.2 + 0.1


@pytest.mark.parametrize(
    ("sigma", "q", "delta"), [(1.0, 0.01, 1e-5), (0.5, 0.3, 1e-5), (2.0, 0.9, 1e-6)]
)
def test_one_subsampled_step_has_a_closed_form(sigma, q, delta):
    exact = solved(lambda eps: subsampled_delta(eps, sigma, q), delta)
    assert exact <= epsilon(sigma, q, 1, delta, prv) <= exact + max(0.004 * exact, 0.004)
    assert exact <= epsilon(sigma, q, 1, delta, rdp)


@pytest.mark.parametrize("accountant", ACCOUNTANTS.values(), ids=ACCOUNTANTS)
def test_more_noise_fewer_steps_and_rarer_clients_spend_less(accountant):
    spent = epsilon(1.0, 0.1, 50, 1e-5, accountant)
    assert epsilon(1.5, 0.1, 50, 1e-5, accountant) < spent
    assert epsilon(1.0, 0.1, 40, 1e-5, accountant) < spent
    assert epsilon(1.0, 0.05, 50, 1e-5, accountant) < spent
    assert epsilon(1.0, 0.1, 50, 1e-4, accountant) < spent


def test_a_delta_that_is_large_enough_needs_no_epsilon():
    assert gaussian_delta(0.0, 1.0) < 0.5
    assert epsilon(1.0, 1.0, 1, 0.5, prv) == 0


def test_prv_is_tighter_than_rdp():
    assert epsilon(1.0, 0.1, 100, 1e-5, prv) < epsilon(1.0, 0.1, 100, 1e-5, rdp)


def test_subsampling_a_pure_mechanism_amplifies_as_it_should():
    """One step at rate q spends at most log(1 + q (e^eps - 1)), at q delta (Li et al., 2012)."""
    whole = solved(lambda eps: gaussian_delta(eps, 1.0), 1e-5)
    assert epsilon(1.0, 0.1, 1, 1e-6, prv) <= log1p(0.1 * expm1(whole)) + 0.003


def test_no_step_is_free_and_no_noise_is_no_privacy():
    assert epsilon(0.0, 0.1, 0, 1e-5) == 0
    assert epsilon(0.0, 0.1, 1, 1e-5) == inf


def test_an_epsilon_beyond_doubles_is_refused_by_prv_and_answered_by_rdp():
    with pytest.raises(SettingsError, match="no privacy.*account with `rdp`"):
        epsilon(0.1, 0.5, 1000, 1e-5, prv)
    assert epsilon(0.1, 0.5, 1000, 1e-5, rdp) > 1000


@pytest.mark.parametrize(
    ("sigma", "q", "steps", "delta"),
    [(-1.0, 0.1, 1, 1e-5), (float("nan"), 0.1, 1, 1e-5), (1.0, 0.0, 1, 1e-5), (1.0, 1.1, 1, 1e-5),
     (1.0, 0.1, -1, 1e-5), (1.0, 0.1, 1, 0.0), (1.0, 0.1, 1, 1.0)],
)  # fmt: skip
def test_settings_out_of_range_are_refused(sigma, q, steps, delta):
    with pytest.raises(SettingsError):
        epsilon(sigma, q, steps, delta)


def test_noise_of_many_adds_up():
    assert aggregate_multiplier(0.5, [0.25] * 4) == pytest.approx(1.0)  # sqrt(4) times
    assert aggregate_multiplier(0.5, [1.0]) == 0.5
    assert aggregate_multiplier(1.0, [3.0, 4.0]) == pytest.approx(5 / 4)
    with pytest.raises(SettingsError, match="positive"):
        aggregate_multiplier(1.0, [1.0, 0.0])
