from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp

from crowdlearn.sweeps import cpu, kernels
from crowdlearn.sweeps.cpu import CpuSweeper
from crowdlearn.votes import Votes
from tests.crowdlearn.sweeps import oracles
from tests.crowdlearn.sweeps.oracles import DEEP, Scene, many_votes, nearly, scene

BELOW_ONE = 1 - 2.0**-53


def home_of(at: Scene, n_threads: int = 1) -> CpuSweeper:
    return CpuSweeper.on(at.votes, at.gold, at.state_class, n_threads)


def close(found, expected):
    assert_allclose(found, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("n_subtypes", [1, 2])
def test_product_is_the_exact_posterior_and_its_sums(n_subtypes):
    at = scene(n_subtypes=n_subtypes)
    home = home_of(at)
    start = np.random.default_rng(1).dirichlet(np.ones(at.n_states), at.votes.n_items)
    posterior = home.posterior(start)
    sums = home.product(at.prior, at.flat, posterior)
    expected, log_evidence = oracles.posterior(at)
    close(posterior, expected)
    close(sums.counts, oracles.counts(at, expected[at.votes.item]))
    close(sums.totals, expected.sum(axis=0))
    close(sums.bound, log_evidence)
    close(sums.change, abs(expected - start).max())
    close(sums.guessed, np.zeros(3))


@pytest.mark.parametrize("n_subtypes", [1, 2])
def test_the_two_primitives_are_sums_over_votes_and_each_others_transpose(n_subtypes):
    at = scene(n_subtypes=n_subtypes)
    home = home_of(at)
    rng = np.random.default_rng(2)
    score = rng.normal(size=at.table.shape)
    weight = rng.normal(size=(at.votes.n_items, at.n_states))
    evidence, sums = home.evidence(score.ravel()), home.counts(weight)
    by_vote = score[at.votes.worker, at.votes.label]
    expected = [by_vote[at.votes.votes_of(i)].sum(axis=0) for i in range(at.votes.n_items)]
    close(evidence, np.array(expected))
    close(sums.counts, oracles.counts(at, weight[at.votes.item]))
    close(sums.totals, weight.sum(axis=0))
    close((evidence * weight).sum(), score.ravel() @ sums.counts)


def test_mixture_is_the_enumeration_of_states_and_causes():
    at = scene()
    home = home_of(at)
    posterior, seen = home.posterior(), np.full(at.votes.n_items, np.nan)
    sums = home.mixture(at.prior, at.flat, at.guess, at.easiness, 1 - at.easiness, posterior, seen)
    expected = oracles.enumerate_mixture(at)
    close(posterior, expected.posterior)
    close(sums.counts, expected.counts)
    close(seen, expected.seen)
    close(sums.guessed, expected.guessed)
    close(sums.bound, expected.log_evidence)
    close(sums.totals, expected.posterior.sum(axis=0))
    close(sums.change, expected.posterior.max())


def test_mixture_of_votes_all_seen_is_product():
    at = scene()
    home = home_of(at)
    all_seen, none = np.ones(at.votes.n_items), np.zeros(at.votes.n_items)
    first, second, seen = home.posterior(), home.posterior(), np.zeros(at.votes.n_items)
    mixed = home.mixture(at.prior, at.flat, at.guess, all_seen, none, first, seen)
    mixed = replace(mixed, counts=mixed.counts.copy())
    plain = home.product(at.prior, at.flat, second)
    close(first, second)
    close(mixed.counts, plain.counts)
    close(seen, at.votes.votes_per_item)


def factorised_pass(at: Scene, home, own, posterior, seen):
    logs = (np.log(at.prior), np.log(at.flat), np.log(at.guess))
    easy = (np.log(at.easiness), np.log1p(-at.easiness))
    return home.factorised(*logs, *easy, own, posterior, seen)


def test_factorised_bound_is_enumerated_never_falls_and_stays_below_the_structured_one():
    at = scene()
    home = home_of(at)
    own = np.full(at.votes.n_votes, 0.6)
    posterior, seen = home.posterior(), np.zeros(at.votes.n_items)
    bounds = []
    for _ in range(6):
        sums = factorised_pass(at, home, own, posterior, seen)
        bounds.append(sums.bound)
        close(sums.bound, oracles.factorised_bound(at, posterior, own))
    assert (np.diff(bounds) >= -1e-9).all() and bounds[-1] > bounds[0]
    assert bounds[-1] < oracles.enumerate_mixture(at).log_evidence
    for item in range(at.votes.n_items):
        close(seen[item], own[at.votes.votes_of(item)].sum())
    close(sums.counts, oracles.counts(at, own[:, None] * posterior[at.votes.item]))
    close(sums.guessed, np.bincount(at.votes.label, 1 - own, minlength=3))


def test_factorised_updates_class_given_causes_then_causes_given_class():
    at = scene(with_gold=False)
    home = home_of(at)
    before = np.random.default_rng(3).random(at.votes.n_votes)
    own, posterior, seen = before.copy(), home.posterior(), np.zeros(at.votes.n_items)
    factorised_pass(at, home, own, posterior, seen)
    for item in range(at.votes.n_items):
        logs = np.log(at.prior)
        for vote in at.votes_of(item):
            logs = logs + before[vote] * np.log(at.row(vote))
        close(posterior[item], np.exp(logs - logsumexp(logs)))
        for vote in at.votes_of(item):
            saw = at.easiness[item] * np.exp(posterior[item] @ np.log(at.row(vote)))
            blind = (1 - at.easiness[item]) * at.guess[at.votes.label[vote]]
            close(own[vote], saw / (saw + blind))


def repeated(item: Scene, n_copies: int) -> Scene:
    """Copies of a scene's only item, each with workers of its own, so that sums tell them apart."""
    n_votes = item.votes.n_votes
    copies = Votes.from_codes(
        np.repeat(np.arange(n_copies), n_votes),
        np.arange(n_copies * n_votes),
        np.tile(item.votes.label, n_copies),
        items=n_copies,
        classes=3,
    )
    return replace(
        item,
        votes=copies,
        gold=np.repeat(item.gold, n_copies),
        table=np.tile(item.table[item.votes.worker], (n_copies, 1, 1)),
        easiness=np.repeat(item.easiness, n_copies),
    )


def one_item() -> Scene:
    """One item with three votes of 2 workers."""
    at = scene(n_items=1, most_votes=1, with_gold=False, seed=5)
    votes = Votes.from_codes(
        np.zeros(3, int), np.array([0, 1, 0]), np.array([0, 1, 2]), workers=5, classes=3
    )
    return replace(at, votes=votes)


def within_four_sigma(found, expected, n):
    sigma = np.sqrt(expected * (1 - expected) / n)
    assert (abs(found - expected) <= 4 * sigma + 1e-12).all()


def test_draws_follow_the_posterior():
    at = repeated(one_item(), 20_000)
    n = at.votes.n_items
    tally = np.zeros((n, 3))
    uniform = np.random.default_rng(6).random(n)
    sums = home_of(at).draw(at.prior, at.flat, uniform, tally, True)
    expected, log_evidence = oracles.posterior(one_item())
    close(tally, np.broadcast_to(expected, tally.shape))
    close(sums.bound, n * log_evidence)
    within_four_sigma(sums.totals / n, expected[0], n)
    drawn = sums.counts.reshape(n, 3, 3, 3).sum(axis=2)[:, 0]  # (item, state) of its first vote
    assert_array_equal(drawn.sum(axis=1), 1)
    cumulative = expected[0].cumsum()
    assert_array_equal(drawn.argmax(axis=1), np.searchsorted(cumulative, uniform, side="right"))


def test_joint_draws_of_truth_and_causes_follow_the_enumeration():
    at = repeated(one_item(), 20_000)
    n = at.votes.n_items
    rng = np.random.default_rng(7)
    tally, seen = np.zeros((n, 3)), np.zeros(n)
    sums = home_of(at).mixture_draw(
        at.prior,
        at.flat,
        at.guess,
        at.easiness,
        rng.random(n),
        rng.random(3 * n),
        tally,
        True,
        seen,
    )
    by_vote = sums.counts.reshape(n, 3, 3, 3).sum(
        axis=2
    )  # (item, vote, state): seen with this truth
    causes = by_vote.sum(axis=2).astype(int)
    assert_array_equal(seen, causes.sum(axis=1))
    found = oracles.worlds(one_item(), 0)
    total = sum(chance for _, _, chance in found)
    for state, which, chance in found:
        if sum(which) == 0:
            continue  # nobody saw it: the sums do not tell the truth of this item
        here = (causes == which).all(axis=1) & (by_vote.sum(axis=1)[:, state] > 0)
        within_four_sigma(here.mean(), chance / total, n)
    expected = oracles.enumerate_mixture(one_item())
    close(tally, np.broadcast_to(expected.posterior, tally.shape))
    within_four_sigma(sums.totals / n, expected.posterior[0], n)
    close(sums.bound, n * expected.log_evidence)
    assert_array_equal(sums.guessed, np.bincount(at.votes.label, 1 - causes.ravel(), minlength=3))


def test_draws_leave_the_tally_alone_unless_kept():
    at = scene()
    home, n = home_of(at), at.votes.n_items
    tally, seen, uniform = np.zeros((n, 3)), np.zeros(n), np.full(n, 0.5)
    home.draw(at.prior, at.flat, uniform, tally, False)
    home.mixture_draw(
        at.prior, at.flat, at.guess, at.easiness, uniform,
        np.full(at.votes.n_votes, 0.5), tally, False, seen,
    )  # fmt: skip
    assert_array_equal(tally, 0)


@pytest.mark.parametrize("edge", [0.0, BELOW_ONE])
def test_extreme_uniforms_draw_the_first_and_last_possible_state(edge):
    at = scene()
    home, n = home_of(at), at.votes.n_items
    expected = np.zeros(3)
    for item in range(n):
        possible = np.flatnonzero(at.possible(item))
        expected[possible[0] if edge == 0 else possible[-1]] += 1
    sums = home.draw(at.prior, at.flat, np.full(n, edge), np.zeros((n, 3)), False)
    assert_array_equal(sums.totals, expected)


@given(
    st.lists(st.sampled_from([0.0, 1e-300, 1e-17, 0.1, 0.3, 1.0]), min_size=2, max_size=6).filter(
        any
    ),
    st.floats(0, 1, exclude_max=True),
)
def test_pick_never_takes_a_state_of_probability_zero(shares, uniform):
    p = np.array(shares) / sum(shares)
    state = kernels._pick.py_func(p, uniform, len(p))
    assert p[state] > 0
    assert p[:state].sum() <= uniform + 1e-15
    assert uniform <= p[: state + 1].sum() + 1e-15


def all_passes(at: Scene, n_threads: int) -> list[np.ndarray]:
    """Everything that every pass gives, as arrays."""
    home, n = home_of(at, n_threads), at.votes.n_items
    rng = np.random.default_rng(8)
    uniform, by_vote = rng.random(n), rng.random(at.votes.n_votes)
    own, seen, tally = by_vote.copy(), np.zeros(n), np.zeros((n, at.n_states))
    first, second, third = home.posterior(), home.posterior(), home.posterior()
    easy = (at.easiness, 1 - at.easiness)
    passes = [
        lambda: home.product(at.prior, at.flat, first),
        lambda: home.counts(first),
        lambda: home.mixture(at.prior, at.flat, at.guess, *easy, second, seen),
        lambda: factorised_pass(at, home, own, third, seen),
        lambda: home.draw(at.prior, at.flat, uniform, tally, True),
        lambda: home.mixture_draw(
            at.prior, at.flat, at.guess, at.easiness, uniform, by_vote, tally, True, seen
        ),
    ]
    found = []
    for run in passes:
        sums = run()
        found += [
            sums.counts.copy(),
            sums.totals,
            np.array([sums.bound, sums.change]),
            sums.guessed,
        ]
        found += [seen.copy(), tally.copy()]
    return [*found, first, second, third, own, home.evidence(at.flat)]


def test_results_are_bit_equal_for_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(cpu, "VOTES_A_BLOCK", 20)
    at = scene(n_items=300)
    assert len(home_of(at, 1).blocks) > 10
    one, two, three = (all_passes(at, n_threads) for n_threads in (1, 2, 3))
    for a, b, c in zip(one, two, three, strict=True):
        assert_array_equal(a, b)
        assert_array_equal(a, c)


def test_blocks_change_nothing_but_rounding(monkeypatch):
    at = scene(n_items=300)
    whole = all_passes(at, 1)
    monkeypatch.setattr(cpu, "VOTES_A_BLOCK", 20)
    for a, b in zip(whole, all_passes(at, 2), strict=True):
        assert_allclose(a, b, rtol=1e-11, atol=1e-11)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=60).filter(any), st.integers(1, 30))
def test_blocks_cover_every_item_once(sizes, n_cells):
    item = np.repeat(np.arange(len(sizes)), sizes)
    votes = Votes.from_codes(item, 0 * item, 0 * item, items=len(sizes), classes=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "VOTES_A_BLOCK", 16)
        blocks = cpu._blocks(votes, n_cells)
    assert [i for start, stop in blocks for i in range(start, stop)] == list(range(len(sizes)))
    assert all(stop > start for start, stop in blocks)


def test_large_tables_in_float32_give_the_same_to_1e_5(monkeypatch):
    at = scene(n_items=300)
    small = all_passes(at, 1)
    monkeypatch.setattr(cpu, "LARGE_CELLS", 1)
    home = home_of(at)
    assert home.large and home.dtype == np.float32 == home.posterior().dtype
    rounded = replace(at, table=at.table.astype(np.float32))
    for a, b in zip(small, all_passes(rounded, 1), strict=True):
        assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("at", DEEP.values(), ids=DEEP)
def test_nothing_underflows(at):
    home = home_of(at)
    expected, log_evidence = oracles.posterior(at)
    posterior, tally = home.posterior(), np.zeros((1, 3))
    bounds = [
        home.product(at.prior, at.flat, posterior).bound,
        home.draw(at.prior, at.flat, np.array([0.5]), tally, True).bound,
    ]
    assert_allclose(bounds, log_evidence, rtol=1e-12)
    assert_allclose([posterior[0], tally[0]], [expected[0]] * 2, rtol=1e-9, atol=1e-280)


@pytest.mark.parametrize("at", DEEP.values(), ids=DEEP)
def test_nothing_underflows_where_votes_may_be_guesses(at):
    home = home_of(at)
    blended = at.easiness[0] * at.table + (1 - at.easiness[0]) * at.guess[:, None]
    expected, log_evidence = oracles.posterior(replace(at, table=blended))
    posterior, tally, seen = home.posterior(), np.zeros((1, 3)), np.zeros(1)
    easy = (at.easiness, 1 - at.easiness)
    drawn = home.mixture_draw(
        at.prior, at.flat, at.guess, at.easiness, np.array([0.5]),
        np.full(at.votes.n_votes, 0.5), tally, True, seen,
    )  # fmt: skip
    assert_allclose(drawn.bound, log_evidence, rtol=1e-12)
    mixed = home.mixture(at.prior, at.flat, at.guess, *easy, posterior, seen)
    assert_allclose(mixed.bound, log_evidence, rtol=1e-12)
    assert_allclose([posterior[0], tally[0]], [expected[0]] * 2, rtol=1e-9, atol=1e-280)


def test_a_deep_item_leaves_the_next_one_alone():
    deep, plain = DEEP["taking turns"].votes, scene(with_gold=False)
    votes = Votes.from_codes(
        np.r_[np.zeros(deep.n_votes, int), plain.votes.item + 1],
        np.r_[np.full(deep.n_votes, 5), plain.votes.worker],
        np.r_[deep.label, plain.votes.label],
        items=31, workers=6, classes=3,
    )  # fmt: skip
    at = replace(
        plain,
        votes=votes,
        gold=np.full(31, -1),
        table=np.concatenate([plain.table, nearly(0.99)[None]]),
    )
    posterior = home_of(at).posterior()
    home_of(at).product(at.prior, at.flat, posterior)
    close(posterior, oracles.posterior(at)[0])


def test_gold_holds_against_every_vote_and_its_evidence_is_counted():
    at = replace(many_votes(np.zeros(50, int), nearly(1 - 1e-9)), gold=np.array([2]))
    home, seen, tally = home_of(at), np.zeros(1), np.zeros((1, 3))
    first, second, third = home.posterior(), home.posterior(), home.posterior()
    easy = (at.easiness, 1 - at.easiness)
    sums = [
        home.product(at.prior, at.flat, first),
        home.mixture(at.prior, at.flat, at.guess, *easy, second, seen),
        factorised_pass(at, home, np.full(50, 0.5), third, seen),
        home.draw(at.prior, at.flat, np.zeros(1), tally, True),
    ]
    assert_array_equal([first, second, third, tally], [[[0, 0, 1]]] * 4)
    assert_array_equal([s.totals for s in sums], [[0, 0, 1]] * 4)
    assert np.isfinite([s.bound for s in sums]).all()
    assert_allclose(sums[0].bound, np.log(1 / 3) + 50 * np.log(0.5e-9), rtol=1e-7)


def test_items_without_votes_keep_the_prior():
    at = scene(with_gold=False)
    home = home_of(at)
    posterior, seen = home.posterior(), np.full(at.votes.n_items, np.nan)
    empty = at.votes.votes_per_item == 0
    assert empty.any()
    home.product(at.prior, at.flat, posterior)
    close(posterior[empty], np.broadcast_to(at.prior, posterior[empty].shape))
    home.mixture(at.prior, at.flat, at.guess, at.easiness, 1 - at.easiness, posterior, seen)
    close(posterior[empty], np.broadcast_to(at.prior, posterior[empty].shape))
    assert_array_equal(seen[empty], 0)


def test_a_posterior_is_a_copy_of_its_start():
    at = scene()
    start = np.full((at.votes.n_items, 3), 1 / 3)
    posterior = home_of(at).posterior(start)
    home_of(at).product(at.prior, at.flat, posterior)
    assert_array_equal(start, 1 / 3)
