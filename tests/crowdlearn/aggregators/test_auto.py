"""Auto: votes left out choose the methods that fit the crowd, and refuse the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from crowdlearn.aggregators import AGGREGATORS, aggregator
from crowdlearn.errors import SettingsError
from crowdlearn.evaluation import error
from crowdlearn.votes import Votes

pytestmark = pytest.mark.filterwarnings("ignore::crowdlearn.errors.ConvergenceWarning")


def weights_of(fit: Any) -> np.ndarray:
    return np.asarray(fit.predictor.weight)


def biased_crowd() -> tuple[Votes, np.ndarray]:
    """Three classes; half the workers cannot tell the last two apart and say the second."""
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 3, 400)
    item, worker = np.repeat(np.arange(400), 6), np.tile(np.arange(6), 400)
    sure = np.where(rng.random(2400) < 0.85, truth[item], rng.integers(0, 3, 2400))
    label = np.where((worker % 2 == 0) & (sure == 2), 1, sure)
    return Votes.from_codes(item, worker, label), truth


def test_methods_that_do_not_know_of_confusions_get_little_weight() -> None:
    votes, truth = biased_crowd()
    fit = aggregator("auto", methods=("one-coin", "majority")).fit(votes)
    weights = weights_of(fit)
    assert_allclose(weights.sum(), 1)
    assert weights[0] > 0.8
    assert error(fit.posterior, truth) < error(aggregator("one-coin").fit(votes).posterior, truth)


def test_one_method_is_that_method() -> None:
    votes, _ = biased_crowd()
    alone = aggregator("auto", methods=(), n_resamples=4).fit(votes)
    same = aggregator("calibrated", n_resamples=4).fit(votes)
    assert_allclose(alone.posterior, same.posterior, atol=1e-12)


def test_web_search_is_better_off_with_item_effects(
    shared: Callable[[str], tuple[Votes, np.ndarray]],
) -> None:
    """The public set on which item effects halve the error: found without its truth."""
    votes, truth = shared("web")
    fit = aggregator("auto", n_folds=1).fit(votes)
    assert weights_of(fit)[2] > 0.3
    assert error(fit.posterior, truth) < error(
        aggregator("dawid-skene").fit(votes).posterior, truth
    )


def test_methods_that_do_not_exist_are_refused_at_once() -> None:
    with pytest.raises(SettingsError, match="'oracle' is not one of"):
        aggregator("auto", methods=("oracle",))
    with pytest.raises(SettingsError, match="must not hold 'auto'"):
        aggregator("auto", methods=("auto",))
    with pytest.raises(SettingsError, match="n_folds must be at most 5"):
        aggregator("auto", n_folds=6)


def test_stopped_at_once_it_is_what_was_there() -> None:
    votes, _ = biased_crowd()
    fit = aggregator("auto").fit(votes, on_sweep=lambda sweep: True)
    assert fit.history.stopped
    assert_allclose(weights_of(fit), [1.0])
    assert AGGREGATORS["auto"].random
