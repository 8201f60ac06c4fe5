"""Strategies by name, on fits and on streams."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn.aggregators import aggregator
from crowdlearn.errors import SettingsError
from crowdlearn.experts import STRATEGIES, Belief, cent, entropy, strategy
from crowdlearn.experts.belief import StreamBelief
from crowdlearn.online import stream
from crowdlearn.online.queue import n_done, queue
from crowdlearn.simulate import dawid_skene

WORLD = dawid_skene(80, 10, 3, seed=2)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_ranks_the_items_of_a_fit_and_of_a_stream(name: str) -> None:
    fit = aggregator("bcc").fit(WORLD.votes)
    one = strategy(name)(Belief.of_fit(fit), np.random.default_rng(0))
    assert one.shape == (80,) and np.isfinite(one).all()
    method = stream("bcc")
    state, _ = method.update(method.init(WORLD.votes.classes), WORLD.votes)
    state, _ = method.rescore(state)
    other = strategy(name)(StreamBelief(method, state), np.random.default_rng(0))
    place = [int(name) for name in state.items]
    assert_allclose(other, one[place] if name != "random" else one, rtol=1e-3, atol=1e-3)


def test_counts_of_a_fit_are_those_of_the_stream() -> None:
    method = stream("bcc")
    state, _ = method.update(method.init(WORLD.votes.classes), WORLD.votes)
    state, fit = method.rescore(state)
    assert_allclose(Belief.of_fit(fit).counts, method.worker_counts(state), atol=1e-8)


def test_cent_uses_the_classifier_where_there_is_one() -> None:
    fit = aggregator("bcc").fit(WORLD.votes)
    rng = np.random.default_rng(0)
    classifier = rng.dirichlet(np.ones(3), 80)
    belief = Belief.of_fit(fit)
    assert_array_equal(STRATEGIES["cent"](belief, rng), entropy(fit.posterior))
    with_one = Belief(belief.posterior, belief.counts, belief.votes, classifier)
    labels = fit.posterior.argmax(axis=1)
    assert_array_equal(STRATEGIES["cent"](with_one, rng), cent(classifier, labels))


def test_a_queue_leaves_out_what_is_answered_and_counts_what_is_done() -> None:
    method = stream("majority")
    state, _ = method.update(method.init(WORLD.votes.classes), WORLD.votes)
    first = queue(method, state, STRATEGIES["entropy"])
    assert sorted(first) == list(range(80))
    name = state.items[first[0]]
    state, _ = method.update(state, None, {name: state.classes[0]})
    assert queue(method, state, STRATEGIES["entropy"]) == first[1:]
    assert n_done(state, 1.0) == 80 and n_done(state, 0.0) >= 1
    with pytest.raises(SettingsError, match="keeps no counts of its workers"):
        queue(method, state, STRATEGIES["information"])


def test_an_unknown_strategy_is_refused() -> None:
    with pytest.raises(SettingsError, match="'entropie' is not one of random"):
        strategy("entropie")
