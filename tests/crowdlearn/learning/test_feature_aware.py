"""Votes and features together, against the two ends: a classifier that knows nothing, and all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import digamma

from crowdlearn.aggregators import aggregator
from crowdlearn.errors import SettingsError, VotesError
from crowdlearn.evaluation import error
from crowdlearn.learning import ConstantClassifier, FeatureAware, FittedClassifier
from crowdlearn.learning.classifiers import Constant
from crowdlearn.learning.workers import WORKERS, full, one_coin, per_class
from crowdlearn.simulate import dawid_skene, fixed_per_item

WORLD = dawid_skene(300, 15, 3, assign=fixed_per_item(3), seed=11)
FEATURES = np.eye(3)[WORLD.truth] * 2 + np.random.default_rng(1).normal(size=(300, 3))


@dataclass(frozen=True)
class Oracle:
    """Knows the truth, which is all the features hold."""

    def fit(self, features: np.ndarray, target: np.ndarray) -> FittedClassifier:
        return self

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        return np.eye(3)[features[:, 0].astype(int)]


def test_a_classifier_that_knows_nothing_leaves_bcc() -> None:
    method = FeatureAware(classifier=ConstantClassifier(), workers="full", tolerance=1e-9)
    found = method.fit(WORLD.votes, FEATURES).aggregation
    bcc = aggregator("bcc", tolerance=1e-9).fit(WORLD.votes)
    assert_allclose(found.posterior, bcc.posterior, atol=1e-6)
    assert_allclose(found.confusion, bcc.confusion, atol=1e-6)
    new = WORLD.votes.only_items(np.arange(300) < 7)
    assert_allclose(found.predict_proba(new), bcc.predict_proba(new), atol=1e-6)


def test_a_classifier_that_knows_all_leaves_no_error() -> None:
    fit = FeatureAware(classifier=Oracle()).fit(WORLD.votes, WORLD.truth[:, None].astype(float))
    assert error(fit.aggregation.posterior, WORLD.truth) == 0


@pytest.mark.parametrize("workers", WORKERS)
def test_features_help_votes_and_votes_help_features(workers: str) -> None:
    fit = FeatureAware(workers=workers).fit(WORLD.votes, FEATURES)
    with_both = error(fit.aggregation.posterior, WORLD.truth)
    assert with_both < error(aggregator("bcc").fit(WORLD.votes).posterior, WORLD.truth)
    assert with_both < error(fit.out_of_fold, WORLD.truth)
    assert fit.aggregation.history.converged and fit.n_trained >= 2


def test_new_items_are_answered_by_features_and_by_both() -> None:
    keep = np.arange(300) < 200
    fit = FeatureAware().fit(WORLD.votes.only_items(keep), FEATURES[keep])
    rest, truth = WORLD.votes.only_items(~keep), WORLD.truth[~keep]
    alone = fit.predict_proba(FEATURES[~keep])
    both = fit.predict_proba(FEATURES[~keep], rest)
    assert_array_equal(alone, fit.classifier.predict_proba(FEATURES[~keep]))
    assert_allclose(both.sum(axis=1), 1)
    assert error(both, truth) < error(alone, truth)
    assert error(both, truth) < error(fit.aggregation.predict_proba(rest), truth)


def test_gold_is_kept_and_a_seed_repeats() -> None:
    name = str(WORLD.votes.items[5].as_py())
    wrong = WORLD.votes.classes[(WORLD.truth[5] + 1) % 3]
    first, again = (
        FeatureAware(seed=3).fit(WORLD.votes, FEATURES, gold={name: wrong}) for _ in range(2)
    )
    assert first.aggregation.posterior[5].argmax() == (WORLD.truth[5] + 1) % 3
    assert_array_equal(first.aggregation.posterior, again.aggregation.posterior)


def test_a_run_can_be_stopped() -> None:
    fit = FeatureAware(retrain_above=0.0).fit(
        WORLD.votes, FEATURES, on_sweep=lambda sweep: sweep.number == 2
    )
    assert fit.n_trained == 2 and fit.aggregation.history.stopped


COUNTS = np.random.default_rng(2).gamma(2.0, 3.0, (6, 3, 3))


def test_full_rows_are_dirichlet() -> None:
    log_rows, rows = full(COUNTS)
    alpha = COUNTS + 1 + np.eye(3)
    assert_allclose(log_rows, digamma(alpha) - digamma(alpha.sum(axis=2, keepdims=True)))
    assert_allclose(rows, alpha / alpha.sum(axis=2, keepdims=True))


@pytest.mark.parametrize("rows_of", [one_coin, per_class])
def test_rows_of_few_numbers_sum_to_one_and_err_evenly(rows_of: object) -> None:
    log_rows, rows = rows_of(COUNTS)  # type: ignore[operator]
    assert_allclose(rows.sum(axis=2), 1)
    assert (log_rows <= np.log(rows)).all()  # Jensen
    off = rows[:, ~np.eye(3, dtype=bool)].reshape(6, 3, 2)
    assert_allclose(off[..., 0], off[..., 1])


def test_the_population_is_learned() -> None:
    """Workers drawn from Beta(12, 4) are given about that prior."""
    rng = np.random.default_rng(0)
    accuracy = rng.beta(12, 4, 4000)
    right = rng.binomial(30, accuracy).astype(float)
    counts = np.zeros((4000, 2, 2))
    counts[:, 0, 0], counts[:, 0, 1] = right, 30 - right
    _, rows = one_coin(counts)
    expected = (right + 12) / (30 + 16)
    assert_allclose(rows[:, 0, 0], expected, atol=0.02)


@pytest.mark.parametrize("settings", [
    {"workers": "two-coin"}, {"eta": -1.0}, {"max_rounds": 0}, {"retrain_above": -0.1},
])  # fmt: skip
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        FeatureAware(**settings)  # type: ignore[arg-type]


def test_features_that_do_not_fit_are_refused() -> None:
    with pytest.raises(VotesError, match=r"shape \(10, 3\), where 300 items"):
        FeatureAware().fit(WORLD.votes, FEATURES[:10])
    broken = FEATURES.copy()
    broken[4, 1] = np.nan
    with pytest.raises(VotesError, match="feature 1 of item '4' is not a finite number"):
        FeatureAware().fit(WORLD.votes, broken)
    fit = FeatureAware(classifier=ConstantClassifier()).fit(WORLD.votes, FEATURES)
    assert isinstance(fit.classifier, Constant)
    with pytest.raises(VotesError, match="2 rows of features for 300 items"):
        fit.predict_proba(FEATURES[:2], WORLD.votes)
