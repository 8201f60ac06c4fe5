from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn.aggregation import Sweep
from crowdlearn.aggregators import aggregator
from crowdlearn.aggregators.max_margin import STRENGTHS
from crowdlearn.errors import SettingsError
from crowdlearn.evaluation import error
from crowdlearn.votes import Votes

Shared = Callable[[str], tuple[Votes, np.ndarray]]
SHORT = {"n_chains": 2, "n_warmup": 5}

pytestmark = pytest.mark.filterwarnings("ignore::crowdlearn.errors.ConvergenceWarning")


def test_the_strength_is_chosen_once_and_recorded(world: tuple[Votes, np.ndarray]) -> None:
    votes, _ = world
    seen: list[Sweep] = []
    chosen = aggregator("max-margin", n_draws=10, **SHORT).fit(votes, on_sweep=seen.append)
    strength = float(chosen.sampler["strength"])
    assert strength in STRENGTHS
    assert [sweep.number for sweep in seen] == list(range(1, 151))
    assert {sweep.of for sweep in seen} == {150}
    given = aggregator("max-margin", strength=strength, n_draws=10, **SHORT).fit(votes)
    assert_array_equal(given.posterior, chosen.posterior)


def test_a_fit_stopped_while_choosing_still_answers(world: tuple[Votes, np.ndarray]) -> None:
    fit = aggregator("max-margin", **SHORT).fit(world[0], on_sweep=lambda s: s.number == 40)
    assert fit.history.stopped
    assert fit.sampler["strength"] == STRENGTHS[1]
    assert_allclose(fit.posterior.sum(axis=1), 1)


def test_a_resumed_chain_draws_what_it_would_have_drawn(world: tuple[Votes, np.ndarray]) -> None:
    votes, _ = world
    whole = aggregator("max-margin", strength=0.25, n_draws=20, **SHORT).fit(votes)
    half = aggregator("max-margin", strength=0.25, n_draws=12, **SHORT).fit(votes)
    resumed = aggregator("max-margin", strength=0.25, n_draws=8, **SHORT).fit(votes, resume=half)
    assert_array_equal(resumed.draws.diagonal, whole.draws.diagonal)
    assert_allclose(resumed.posterior, whole.posterior, atol=1e-12)
    with pytest.raises(SettingsError, match="strength was 0.25 and is 0.5"):
        aggregator("max-margin", strength=0.5, **SHORT).fit(votes, resume=half)


def test_a_hard_margin_makes_the_weighted_vote_decide() -> None:
    """Ever stronger: every item's answer is the class ahead in weighted votes."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 200)
    item, worker = (a.ravel() for a in np.meshgrid(np.arange(200), np.arange(7), indexing="ij"))
    label = np.where(rng.random(1400) < 0.6, truth[item], rng.integers(0, 3, 1400))
    votes = Votes.from_codes(item, worker, label)
    fit = aggregator("max-margin", strength=1.0, margin=1.0, **SHORT).fit(votes)
    assert_array_equal(
        fit.predict_proba(votes).argmax(axis=1)[fit.confidence > 0.99],
        fit.labels[fit.confidence > 0.99],
    )
    assert (fit.labels == truth).mean() > 0.85


@pytest.mark.parametrize(
    ("name", "strength", "low", "high"),
    [
        ("web", 2**-2, 0.071, 0.086),
        ("web", 2**-4, 0.090, 0.112),
        ("rte", 2**-2, 0.0735, 0.0805),
        ("rte", 2**-6, 0.0685, 0.0765),
        ("bluebird", 2**-4, 0.0925, 0.1205),
        ("flowers", 2**-4, 0.125, 0.14),
    ],
)
def test_known_rows_are_reproduced(
    shared: Shared, name: str, strength: float, low: float, high: float
) -> None:
    """The ranges over seeds of an earlier program of the same steps, an item or .5 % wider."""
    votes, truth = shared(name)
    fit = aggregator("max-margin", strength=strength).fit(votes)
    assert low <= error(fit.posterior, truth) <= high
