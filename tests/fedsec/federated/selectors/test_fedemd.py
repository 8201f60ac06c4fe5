"""FedEMD, on one exclusive Maverick of fifty clients."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fedsec.errors import DataError
from fedsec.federated.distances import Distance, by_mean, l1, tv, w1_matrix
from fedsec.federated.selectors import FedEmd
from tests.fedsec.federated.selectors.histories import maverick, played, viewed


def test_without_both_terms_every_client_is_as_likely() -> None:
    method, rng = FedEmd(alpha=0.0, beta=0.0), np.random.default_rng(0)
    view = viewed(maverick(), 5, [played(1, [0, 1, 2, 3, 4])])
    assert_allclose(method.probabilities(view), 1 / 50)
    n = 800
    times = np.bincount(np.concatenate([method(view, rng) for _ in range(n)]), minlength=50)
    assert (np.abs(times / n - 0.1) <= 4 * np.sqrt(0.09 / n)).all()
    assert abs(times[0] / n - 0.1) <= 3 * np.sqrt(0.09 / n)


@pytest.mark.parametrize(
    ("distance", "norm", "gap"),
    [
        ("l1", "mean", 1.03),
        ("tv", "mean", 1.03),
        ("w1_ordered", "mean", 1.03),
        ("l1", "class_count", 0.85),
        ("l1", "none", 0.24),
        ("w1_ordered", "none", 0.49),
        (w1_matrix(1 - np.eye(10)), by_mean, 1.03),
    ],
)
def test_at_first_a_maverick_weighs_more(
    distance: str | Distance, norm: str | Distance, gap: float
) -> None:
    """The gaps of our notes, 2.4: log of the ratio to another client's weight."""
    found = FedEmd(distance=distance, norm=norm).probabilities(viewed(maverick(), 5))
    assert_allclose(found.sum(), 1)
    assert_allclose(np.log(found[0] / found[1]), gap, atol=0.006)


def test_the_weights_balance_at_alpha_over_beta_and_turn_round() -> None:
    """Where all clients were seen alike, D_c is D_g."""
    history = [played(1, list(range(50)))]
    for number, sign in ((2, 1), (100, 1), (101, 0), (102, -1), (200, -1)):
        found = FedEmd().probabilities(viewed(maverick(), 5, history, number=number))
        assert np.sign(np.round(np.log(found[0] / found[1]), 9)) == sign
    assert_allclose(FedEmd().probabilities(viewed(maverick(), 5, history, number=101)), 0.02)


def test_the_probabilities_are_the_formula_written_out() -> None:
    """Three clients, two rounds; a client seen twice counts twice."""
    counts = np.array([[4, 0], [1, 3], [2, 2]])
    view = viewed(counts, 1, [played(1, [0]), played(2, [0]), played(3, [1])])
    everyone, seen = np.array([7, 5]) / 12, np.array([9, 3]) / 12
    own = np.array([[1, 0], [0.25, 0.75], [0.5, 0.5]])
    far, unseen = (np.abs(own - q).sum(axis=1) for q in (everyone, seen))
    score = 0.4 * far / far.mean() - 3 * 0.1 * unseen / unseen.mean()
    expected = np.exp(score) / np.exp(score).sum()
    assert_allclose(FedEmd(alpha=0.4, beta=0.1).probabilities(view), expected)


def test_a_maverick_is_chosen_more_often_early_and_less_often_late() -> None:
    """Ten runs of 100 rounds, alpha / beta = 50; chance is .1."""
    taken, counts, method = np.zeros((10, 100)), maverick(), FedEmd(beta=0.003)
    for seed in range(10):
        rng, rounds = np.random.default_rng(seed), []
        for number in range(1, 101):
            chosen = method(viewed(counts, 5, rounds), rng)
            rounds.append(played(number, chosen.tolist()))
            taken[seed, number - 1] = 0 in chosen
    assert taken[:, :25].mean() > 0.15
    assert taken[:, 75:].mean() < 0.12


def test_a_distance_and_a_norm_may_be_functions_and_are_used() -> None:
    view = viewed(maverick(), 5)
    same = FedEmd(distance=l1, norm=by_mean).probabilities(view)
    assert_allclose(FedEmd().probabilities(view), same)
    halved = FedEmd(distance=tv, norm="none", alpha=0.3).probabilities(view)
    assert_allclose(FedEmd(norm="none").probabilities(view), halved)


def test_a_client_without_samples_is_named() -> None:
    with pytest.raises(DataError, match="client 1 has no samples"):
        FedEmd().probabilities(viewed(np.array([[1, 2], [0, 0]]), 1))
