"""The certificate of an audit: by hand, by its definition, and as a promise about any posterior."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from crowdlearn.errors import SettingsError
from crowdlearn.experts import certified_items


def rows(sure: list[float]) -> np.ndarray:
    """Posteriors of two classes, the first being so probable."""
    return np.stack([np.array(sure), 1 - np.array(sure)], axis=1)


def test_by_hand() -> None:
    """Nineteen checked and right let the target of 1 / 20 stop all; one wrong item stops few."""
    posterior = rows([0.9] * 19 + [0.99, 0.95, 0.8, 0.7])
    audit = np.array([0] * 19 + [-1] * 4)
    assert_array_equal(certified_items(posterior, 0.05, audit), audit < 0)
    assert not certified_items(posterior, 0.049, audit).any()
    audit[0] = 1  # wrong, at a doubt of .1: below it the first two have p = 1 / 20, above 2 / 20
    assert not certified_items(posterior, 0.05, audit).any()
    assert_array_equal(np.flatnonzero(certified_items(posterior, 0.1, audit)), [19, 20, 21, 22])
    assert_array_equal(np.flatnonzero(certified_items(posterior, 0.099, audit)), [])
    posterior[21:] = 0.5  # now sure items are half of all: p n / k = .05 * 4 / 2
    audit[1] = 1
    assert_array_equal(np.flatnonzero(certified_items(posterior, 0.1, audit)), [19, 20])


@given(st.integers(0, 10_000), st.floats(0.01, 0.5))
def test_it_is_benjamini_hochberg_on_the_p_values(seed: int, target: float) -> None:
    rng = np.random.default_rng(seed)
    posterior = rng.dirichlet([0.5, 0.5, 0.5], 40).round(1) + 0.01  # many ties
    posterior /= posterior.sum(axis=1, keepdims=True)
    audit = np.where(rng.random(40) < 0.6, rng.integers(0, 2, 40), -1)
    doubt, wrong = 1 - posterior.max(axis=1), posterior.argmax(axis=1) != audit
    checked, other = audit >= 0, np.flatnonzero(audit < 0)
    p = np.array([
        (1 + (checked & wrong & (doubt <= doubt[i])).sum()) / (1 + checked.sum()) for i in other
    ])  # fmt: skip
    ranked = np.sort(p)
    passed = np.flatnonzero(ranked * len(p) <= target * np.arange(1, len(p) + 1) + 1e-12)
    limit = ranked[passed[-1]] if len(passed) else -1.0
    expected = np.zeros(40, dtype=bool)
    expected[other[p <= limit]] = True
    assert_array_equal(certified_items(posterior, target, audit), expected)


@pytest.mark.parametrize("target", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("kind", ["over-sure", "blind"])
def test_the_promise_holds_for_posteriors_that_lie(target: float, kind: str) -> None:
    """2,000 crowds. Over-sure: right 60 to 100 % of the time, says 99 %. Blind: doubt is noise."""
    rng, found, stopped = np.random.default_rng(5), [], 0
    for _ in range(2000):
        right = rng.random(200) < (accuracy := rng.uniform(0.6, 1.0, 200))
        says = 0.98 + 0.02 * accuracy if kind == "over-sure" else rng.uniform(0.5, 1, 200)
        truth = np.where(right, 0, 1)
        audit = np.where(np.arange(200) < 60, truth, -1)
        stop = certified_items(rows(says.tolist()), target, audit)
        found.append((~right)[stop].mean() if stop.any() else 0.0)
        stopped += stop.sum()
    assert np.mean(found) <= target + 3 * np.std(found) / np.sqrt(2000)
    if kind == "over-sure":
        assert stopped > 0.02 * 2000 * 140


def test_answered_items_are_neither_checked_nor_picked() -> None:
    posterior, audit = rows([0.9] * 40), np.array([0] * 19 + [1] * 2 + [-1] * 19)
    answered = np.isin(np.arange(40), [19, 20, 39])
    found = certified_items(posterior, 0.05, audit, answered)
    assert_array_equal(np.flatnonzero(found), np.arange(21, 39))


def test_a_target_is_a_share() -> None:
    with pytest.raises(SettingsError, match="from 0 to 1"):
        certified_items(rows([0.9]), 1.5, np.array([-1]))
