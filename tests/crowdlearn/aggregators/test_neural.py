"""Neural aggregators on real crowds, against figures of independent implementations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from crowdlearn.aggregators import aggregator
from crowdlearn.evaluation import error
from crowdlearn.votes import Votes

Shared = Callable[[str], tuple[Votes, np.ndarray]]


def mean_error(data: tuple[Votes, np.ndarray], method: str, n_seeds: int = 3) -> float:
    """In percent, over some seeds."""
    votes, truth = data
    fits = (aggregator(method, seed=seed).fit(votes) for seed in range(n_seeds))
    return 100 * float(np.mean([error(fit.posterior, truth) for fit in fits]))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("rte", 8.25), ("bluebird", 11.5), ("flowers", 15.75), ("dog", 16.4)],
)
def test_laa_b_within_a_point_and_a_half(shared: Shared, name: str, expected: float) -> None:
    """100 epochs; the middles of the ranges that a separate implementation measured."""
    assert abs(mean_error(shared(name), "laa") - expected) < 1.5


@pytest.mark.parametrize(("name", "expected"), [("rte", 6.5), ("dog", 16.6), ("bluebird", 15.7)])
def test_bila_in_batch(shared: Shared, name: str, expected: float) -> None:
    """20 epochs over the whole set; the same figures by a separate implementation."""
    assert abs(mean_error(shared(name), "bila") - expected) < 0.8


@pytest.mark.slow
def test_consensus_with_confusions_beats_its_start(shared: Shared) -> None:
    """At the default settings, early stopping included; by two points on RTE."""
    majority = 100 * error(aggregator("majority").fit(shared("rte")[0]).posterior, shared("rte")[1])
    assert mean_error(shared("rte"), "consensus", n_seeds=1) < majority - 2


@pytest.mark.slow
def test_consensus_beats_dawid_skene_on_web(shared: Shared) -> None:
    """Both guided by free confusions; sparse workers, five classes."""
    votes, truth = shared("web")
    classical = 100 * error(aggregator("dawid-skene").fit(votes).posterior, truth)
    network = 100 * error(aggregator("consensus").fit(votes).posterior, truth)
    assert network < classical - 1
