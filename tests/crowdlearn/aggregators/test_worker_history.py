from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn.aggregators import aggregator
from crowdlearn.aggregators.bcc import dirichlet_prior
from crowdlearn.aggregators.worker_history import WorkerHistory
from crowdlearn.errors import SettingsError, VotesError
from crowdlearn.votes import Votes
from tests.crowdlearn.aggregators.oracles import bcc_log_joint, exact_truths

SHORT = {"n_chains": 2, "n_warmup": 5, "n_draws": 40}
SETTINGS: dict[str, dict[str, Any]] = {
    "bcc": {"tolerance": 1e-9},
    "dawid-skene": {"tolerance": 1e-9, "pseudocount": 0.1},
    "bcc-gibbs": SHORT,
}
pytestmark = pytest.mark.filterwarnings("ignore::crowdlearn.errors.ConvergenceWarning")
every_method = pytest.mark.parametrize("name", SETTINGS)


def batches(world: tuple[Votes, np.ndarray]) -> tuple[Votes, Votes, np.ndarray]:
    """The items from 80 on, those before, and the truth of the latter."""
    votes, truth = world
    return votes.only_items(np.arange(120) >= 80), votes.only_items(np.arange(120) < 80), truth[:80]


def together(new: Votes, old: Votes) -> Votes:
    """Both batches as one set, the new items first."""
    return Votes.from_codes(
        np.concatenate([new.item, old.item + new.n_items]),
        np.concatenate([new.worker, old.worker]),
        np.concatenate([new.label, old.label]),
        items=new.n_items + old.n_items, workers=new.workers, classes=new.classes,
    )  # fmt: skip


@every_method
def test_with_gold_a_history_is_a_fit_of_both_batches(
    name: str, world: tuple[Votes, np.ndarray]
) -> None:
    """Sweep by sweep, and draw by draw: the truths of the first batch are known in both fits."""
    new, old, truth = batches(world)
    method = aggregator(name, **SETTINGS[name])
    earlier = aggregator("majority").fit(old, gold=truth)
    history = WorkerHistory.from_fit(earlier, class_discount=1.0)
    gold = np.concatenate([np.full(new.n_items, -1), truth])
    both = method.fit(together(new, old), gold=gold)
    later = method.fit(new, history=history)
    assert_allclose(later.posterior, both.posterior[: new.n_items], atol=1e-7)
    assert_allclose(later.confusion, both.confusion, atol=1e-7)
    assert_allclose(later.prior, both.prior, atol=1e-7)
    assert_allclose(later.worker_accuracy.low, both.worker_accuracy.low, atol=1e-6)
    assert not np.allclose(later.posterior, method.fit(new).posterior, atol=1e-3)


def test_a_history_is_a_prior_and_not_a_start(tiny: Votes) -> None:
    """The sampler draws from the enumerated posterior with the counts in the Dirichlet rows."""
    rng = np.random.default_rng(3)
    counts = rng.gamma(2.0, 2.0, (3, 2, 2))
    history = WorkerHistory(pa.array(["0", "1", "2"]), ("0", "1"), counts, np.zeros(2))
    rows = dirichlet_prior(2, 1.0, 2.0) + counts.transpose(0, 2, 1)
    exact, log_evidence = exact_truths(tiny, bcc_log_joint(tiny, 1.0, rows), 2)
    fit = aggregator("bcc-gibbs", n_draws=2000).fit(tiny, history=history)
    assert_allclose(fit.posterior, exact, atol=0.02)
    bound = aggregator("bcc", tolerance=1e-10).fit(tiny, history=history).history.bound
    assert (np.diff(bound) > -1e-9).all()
    assert log_evidence - 1.5 < bound[-1] < log_evidence


@every_method
def test_the_bound_never_falls(name: str, world: tuple[Votes, np.ndarray]) -> None:
    new, old, _ = batches(world)
    history = WorkerHistory.from_fit(aggregator("bcc").fit(old), class_discount=0.5)
    bound = aggregator(name, **SETTINGS[name]).fit(new, history=history).history.bound
    if not aggregator(name).random:
        assert len(bound) > 3 and np.diff(bound).min() >= -1e-8 * abs(bound[-1])


def test_workers_and_classes_are_matched_by_name() -> None:
    first = Votes.from_codes(
        np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.array([0, 0, 1, 2]),
        workers=["ann", "bo"], classes=["x", "y", "z"],
    )  # fmt: skip
    fit = aggregator("majority").fit(first, gold=np.array([0, 1]))
    history = WorkerHistory.from_fit(fit, discount=0.5)
    counts, class_counts = history.on(pa.array(["new", "bo", "ann"]), ["z", "y", "w"])
    expected = np.zeros((3, 3, 3))  # [worker, label, class]
    expected[1, 0, 1] = expected[2, 1, 1] = 0.5  # bo said z of a y, ann said y of it
    assert_array_equal(counts, expected)
    assert_array_equal(class_counts, np.zeros(3))


def test_histories_add_up(world: tuple[Votes, np.ndarray]) -> None:
    """Joined, the histories of two batches are that of both together."""
    new, old, truth = batches(world)
    gold = world[1][80:]
    majority = aggregator("majority")
    two = [
        WorkerHistory.from_fit(majority.fit(votes, gold=known), class_discount=1.0)
        for votes, known in ((old, truth), (new, gold))
    ]
    whole = WorkerHistory.from_fit(majority.fit(world[0], gold=world[1]), class_discount=1.0)
    joined = WorkerHistory.joined(two)
    assert_allclose(joined.on(whole.workers, whole.classes)[0], whole.counts)
    assert_allclose(joined.class_counts, whole.class_counts)


def test_an_unknown_worker_has_the_prior_of_the_method(tiny: Votes) -> None:
    history = WorkerHistory(pa.array(["0"]), ("0", "1"), np.full((1, 2, 2), 20.0), np.zeros(2))
    one_vote = Votes.from_codes(
        np.array([0, 0]), np.array([0, 1]), np.array([0, 0]), workers=["0", "stranger"], classes=2
    )
    fit = aggregator("bcc").fit(one_vote, history=history)
    width = fit.worker_accuracy.high - fit.worker_accuracy.low
    plain = aggregator("bcc").fit(one_vote).worker_accuracy
    assert width[0] < 0.6 * (plain.high - plain.low)[0]
    assert_allclose(width[1], (plain.high - plain.low)[1], rtol=0.2)


def test_history_that_cannot_be_used_is_refused(
    world: tuple[Votes, np.ndarray], tiny: Votes
) -> None:
    votes, _ = world
    fit = aggregator("majority").fit(votes)
    with pytest.raises(SettingsError, match="discount is 1.5"):
        WorkerHistory.from_fit(fit, discount=1.5)
    with pytest.raises(SettingsError, match="no history to join"):
        WorkerHistory.joined([])
    strange = Votes.from_codes(tiny.item, tiny.worker, tiny.label, workers=["a", "b", "c"])
    with pytest.raises(VotesError, match="none of the 3 workers, as 'a'"):
        aggregator("bcc").fit(strange, history=WorkerHistory.from_fit(fit))
    other = Votes.from_codes(tiny.item, tiny.worker, tiny.label, classes=["2", "yes"])
    with pytest.raises(VotesError, match="two classes in common"):
        aggregator("bcc").fit(other, history=WorkerHistory.from_fit(fit))


def test_resuming_with_another_history_is_refused(world: tuple[Votes, np.ndarray]) -> None:
    votes, _ = world
    history = WorkerHistory.from_fit(aggregator("majority").fit(votes), discount=0.1)
    method = aggregator("bcc-gibbs", **SHORT)
    fit = method.fit(votes, history=history)
    more = method.fit(votes, history=history, resume=fit)
    whole = aggregator("bcc-gibbs", **SHORT | {"n_draws": 80}).fit(votes, history=history)
    assert_array_equal(more.draws.diagonal, whole.draws.diagonal)
    for other in (None, WorkerHistory.from_fit(fit)):
        with pytest.raises(SettingsError, match="history of the workers is another one"):
            method.fit(votes, history=other, resume=fit)
