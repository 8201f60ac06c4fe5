"""The stream against the batch fit, the exact laws of its counts, and what it must survive."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn.aggregators import aggregator
from crowdlearn.errors import SettingsError, VotesError
from crowdlearn.online import stream
from crowdlearn.simulate import World
from crowdlearn.votes import Votes
from tests.crowdlearn.online.conftest import batches

SAME = {"bcc": {}, "idbla": {"diagonal": 2.0}}  # settings of the batch form that are the stream's
STILL = {"tolerance": 1e-9, "max_sweeps": 5000}


def run(method: Any, parts: list[Votes], classes: tuple[str, ...]) -> Any:
    state = method.init(classes)
    for part in parts:
        state, _ = method.update(state, part)
    return state


def in_order(state: Any, votes: Votes) -> np.ndarray:
    """The posterior with rows as in `votes`."""
    place = {name: n for n, name in enumerate(state.items)}
    return state.posterior()[[place[name] for name in votes.items.to_pylist()]]


@pytest.mark.parametrize("name", SAME)
def test_one_batch_of_everything_is_the_batch_fit(crowd: World, name: str) -> None:
    """Two codes: loops over a batch's votes here, tables of all workers there."""
    gold = {"3": "1", "8": "0"}
    method = stream(name, **STILL)
    state, update = method.update(method.init(crowd.votes.classes), crowd.votes, gold)
    fit = aggregator(name, **SAME[name], **STILL).fit(crowd.votes, gold=gold)
    assert_allclose(update.posterior, fit.posterior, atol=1e-8)
    result = method.result(state)
    assert_allclose(result.prior, fit.prior, atol=1e-8)
    assert_allclose(result.predict_proba(crowd.votes), fit.predict_proba(crowd.votes), atol=1e-6)


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("by_vote", [False, True])
def test_rescored_it_does_not_matter_how_votes_came(crowd: World, name: str, by_vote: bool) -> None:
    method = stream(name)
    state = run(method, batches(crowd.votes, 17, by_vote=by_vote), crowd.votes.classes)
    state, result = method.rescore(state, tolerance=1e-9, max_sweeps=5000)
    fit = aggregator(name, **STILL).fit(crowd.votes)
    assert_allclose(in_order(state, crowd.votes), fit.posterior, atol=1e-7)
    assert result.history.converged


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("by_vote", [False, True])
def test_counts_are_those_of_the_posteriors(crowd: World, name: str, by_vote: bool) -> None:
    """After any history the counts are what the votes' weights add up to: nothing lost or twice."""
    method = stream(name)
    state = run(method, batches(crowd.votes, 23, by_vote=by_vote), crowd.votes.classes)
    ledger = state.ledger
    expected = np.zeros_like(state.counts.live)
    np.add.at(expected, (ledger.worker.live, ledger.label.live), state.weight.live)
    assert_allclose(state.counts.live, expected, atol=1e-10)
    assert_allclose(state.prior.live, state.tau.live.sum(axis=0), atol=1e-10)
    if name == "bcc":
        assert_array_equal(state.weight.live, state.tau.live[ledger.item.live])
    guesses = ledger.n_votes - state.weight.live.sum()
    assert_allclose(state.guessed.live.sum(), guesses, atol=1e-8)


def bound(method: Any, state: Any) -> float:
    """BCC's evidence lower bound at the posteriors of the stream, by the batch code's last step."""
    from crowdlearn.aggregators.bcc import dirichlet_prior
    from crowdlearn.sweeps import expected_prior, sweeper

    votes = state.votes()
    home = sweeper(votes, state.ledger.gold.live, device="cpu", n_threads=1)
    tau = state.posterior()
    sums = home.counts(home.posterior(tau))
    _, of_prior = expected_prior(sums.totals, method.prior_count)
    extra = dirichlet_prior(votes.n_classes, method.off_diagonal, method.diagonal)
    prior, _ = expected_prior(sums.totals, method.prior_count)
    table, of_table = home.expected(sums.counts, extra)
    score = np.log(table.reshape(votes.n_workers, votes.n_classes, -1))[votes.worker, votes.label]
    entropy = -(tau * np.log(np.maximum(tau, 1e-300))).sum()
    fit = (tau[votes.item] * score).sum() + (tau @ np.log(prior)).sum()
    return float(fit + entropy - of_prior - of_table)


def test_settling_items_again_never_lowers_the_bound(crowd: World) -> None:
    """Coordinate ascent on any items, all others held: each visit is one."""
    method = stream("bcc", max_sweeps=1)
    state = run(method, batches(crowd.votes, 10), crowd.votes.classes)
    rng, reached = np.random.default_rng(3), []
    for _ in range(12):
        some = rng.choice(state.ledger.n_items, 20, replace=False)
        method._settle(state, state.ledger.touched(some), 1, 0.0)
        reached.append(bound(method, state))
    assert min(np.diff(reached)) > -1e-8 and reached[-1] > reached[0] + 0.01


def test_gold_answers_are_kept_and_teach(crowd: World) -> None:
    votes, method = crowd.votes, stream("bcc")
    state = run(method, batches(votes, 5), votes.classes)
    before = method.worker_counts(state).copy()
    wrong = str((int(crowd.truth[4]) + 1) % 3)
    state, update = method.update(state, None, {"4": wrong})
    assert update.items.to_pylist() == ["4"] and update.labels.tolist() == [int(wrong)]
    moved = method.worker_counts(state) - before
    workers = [state.workers.index(str(w)) for w in votes.worker[votes.votes_of(4)].tolist()]
    assert (moved[workers, int(wrong)].sum(axis=1) > 0).all()
    state, _ = method.update(state, votes)  # its votes come once more
    assert state.posterior()[state.items.index("4"), int(wrong)] == 1


def test_faded_counts_are_those_of_the_formula(crowd: World) -> None:
    """Each batch's items count `forget` to the power of the batches since."""
    parts = batches(crowd.votes, 6)
    method = stream("bcc", forget=0.7)
    state = method.init(crowd.votes.classes)
    age: dict[str, int] = {}
    for number, part in enumerate(parts):
        state, _ = method.update(state, part)
        age |= dict.fromkeys(part.items.to_pylist(), number)
    power = np.array([0.7 ** (len(parts) - 1 - age[name]) for name in state.items])
    ledger = state.ledger
    expected = np.zeros_like(state.counts.live)
    each = power[ledger.item.live][:, None] * state.weight.live
    np.add.at(expected, (ledger.worker.live, ledger.label.live), each)
    assert_allclose(state.counts.live * state.scale, expected, atol=1e-12)


def test_fading_for_long_keeps_numbers_finite(crowd: World) -> None:
    method = stream("bcc", forget=1e-3)
    parts = batches(crowd.votes, 6)
    state = method.init(crowd.votes.classes)
    for _ in range(10):
        for part in parts:
            state, update = method.update(state, part)
    assert np.isfinite(method.worker_counts(state)).all() and state.scale > 1e-60
    assert_allclose(update.posterior.sum(axis=1), 1)


def test_it_follows_a_worker_who_drifts() -> None:
    """Worker 0 knows everything, then nothing; a stream that forgets turns to the others."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 1800)
    others = [np.where(rng.random(1800) < 0.75, truth, 1 - truth) for _ in range(4)]
    said = np.stack([truth, *others])
    said[0, 1200:] = rng.integers(0, 2, 600)
    errors = {}
    for forget in (1.0, 0.8):
        method, wrong = stream("bcc", forget=forget), 0
        state = method.init(("0", "1"))
        for first in range(0, 1800, 20):
            here = slice(first, first + 20)
            votes = Votes.from_codes(
                np.tile(np.arange(20), 5), np.repeat(np.arange(5), 20), said[:, here].ravel(),
                items=[str(n) for n in range(first, first + 20)], classes=("0", "1"),
            )  # fmt: skip
            state, update = method.update(state, votes)
            if first >= 1300:
                wrong += int((update.labels != truth[here]).sum())
        errors[forget] = wrong
    assert errors[0.8] < 0.8 * errors[1.0]


def test_a_new_class_and_a_new_worker_come_without_a_restart(crowd: World) -> None:
    method = stream("bcc")
    state = run(method, batches(crowd.votes, 5), crowd.votes.classes)
    late = Votes.from_codes(
        np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([0, 0, 0]),
        items=["new", "3"], workers=["0", "stranger"], classes=("unseen", "0"),
    )  # fmt: skip
    state, update = method.update(state, late)
    assert update.classes == (*crowd.votes.classes, "unseen")
    assert update.posterior.shape == (2, 4) and update.items.to_pylist() == ["new", "3"]
    assert state.workers[-1] == "stranger"
    assert_allclose(state.posterior().sum(axis=1), 1)
    again = stream("bcc", **STILL)
    everything, _ = again.update(again.init(update.classes), state.votes())
    state, _ = method.rescore(state, tolerance=1e-9, max_sweeps=5000)
    assert_allclose(in_order(state, everything.votes()), everything.posterior(), atol=1e-7)


def test_an_expert_is_a_worker_with_a_strong_prior(crowd: World) -> None:
    """One vote of somebody known to be right outweighs what strangers say."""
    votes = Votes.from_codes(
        np.zeros(3, np.int64), np.arange(3), np.array([0, 0, 1]),
        workers=["a", "b", "judge"], classes=("x", "y"),
    )  # fmt: skip
    plain, known = stream("bcc"), stream("bcc", experts={"judge": (99.0, 1.0)})
    assert plain.update(plain.init(), votes)[1].labels.tolist() == [0]
    assert known.update(known.init(), votes)[1].labels.tolist() == [1]


def test_bad_settings_and_answers_are_refused(crowd: World) -> None:
    for settings, found in (
        ({"forget": 0.0}, "forget must be above 0"),
        ({"experts": {"a": (1.0, 0.0)}}, "'a' has"),
        ({"diagonal": 0.0}, "diagonal must be positive"),
    ):
        with pytest.raises(SettingsError, match=found):
            stream("bcc", **settings)
    with pytest.raises(SettingsError, match="'ebcc' is not one of majority"):
        stream("ebcc")
    method = stream("bcc")
    state = run(method, batches(crowd.votes, 3), crowd.votes.classes)
    before = state.posterior()
    with pytest.raises(VotesError, match="no vote has named"):
        method.update(state, None, {"nobody": "0"})
    assert_array_equal(state.posterior(), before)
