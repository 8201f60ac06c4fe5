"""What every selector promises."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from fedsec.errors import SettingsError
from fedsec.federated.rounds import checked_choice
from fedsec.federated.selectors import SELECTORS, selector
from tests.fedsec.federated.selectors.histories import arrays_of, random_view, viewed

NEEDED: dict[str, dict[str, Any]] = {"always": {"ids": (0,)}, "never": {"ids": (0,)}}


def made(name: str) -> Any:
    return selector(name, **NEEDED.get(name, {}))


@settings(max_examples=40)
@given(data=st.data())
@pytest.mark.parametrize("name", SELECTORS)
def test_a_choice_is_valid_repeatable_and_leaves_the_view_alone(
    name: str, data: st.DataObject
) -> None:
    """Whatever happened before, and whatever the same object was asked in between."""
    n_clients = data.draw(st.integers(2, 9), "clients")
    per_round = data.draw(st.integers(1, n_clients - (name == "never")), "per round")
    n_rounds, seed = data.draw(st.integers(0, 25), "rounds"), data.draw(st.integers(0, 999), "seed")
    view, select = random_view(seed, n_clients, per_round, n_rounds), made(name)
    before = [array.copy() for array in arrays_of(view)]
    first = select(view, np.random.default_rng(seed))
    select(random_view(seed + 1, n_clients + 1, per_round, 3), np.random.default_rng(5))
    again = select(view, np.random.default_rng(seed))
    assert first.dtype == np.int64
    assert_array_equal(checked_choice(first, view), again)
    for array, copy in zip(arrays_of(view), before, strict=True):
        assert_array_equal(array, copy)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", [name for name in SELECTORS if name != "never"])
def test_all_clients_are_chosen_where_all_are_asked_for(name: str, seed: int) -> None:
    view = random_view(seed, 6, 6, 4)
    assert sorted(made(name)(view, np.random.default_rng(seed))) == list(range(6))


@pytest.mark.parametrize("name", SELECTORS)
@pytest.mark.parametrize("per_round", [0, 5])
def test_a_round_of_no_client_or_of_more_than_all_is_refused(name: str, per_round: int) -> None:
    view = replace(random_view(0, 4, 2, 0), per_round=per_round)
    with pytest.raises(SettingsError, match=f"{per_round} clients a round of 4: take 1 to 4"):
        made(name)(view, np.random.default_rng(0))


@pytest.mark.parametrize("name", SELECTORS)
def test_what_is_needed_is_said_and_missed(name: str) -> None:
    """A selector that says it needs nothing runs without; the others say what they miss."""
    bare = replace(random_view(0, 6, 2, 0), probe=None)
    unmeasured = replace(
        random_view(0, 6, 2, 1),
        number=99,
        rounds=[replace(one, contribution=None) for one in random_view(0, 6, 2, 2).rounds],
    )
    for view, needed, message in (
        (bare, made(name).needs_probe, "the view has no probe"),
        (unmeasured, made(name).needs_contribution, "measure them each round"),
    ):
        if needed:
            with pytest.raises(SettingsError, match=message):
                made(name)(view, np.random.default_rng(0))
        else:
            checked_choice(made(name)(view, np.random.default_rng(0)), view)


@pytest.mark.parametrize("name", SELECTORS)
def test_settings_are_frozen_and_settings_alone_make_it(name: str) -> None:
    assert made(name) == made(name) and isinstance(made(name), SELECTORS[name])
    with pytest.raises(FrozenInstanceError):
        made(name).ids = (3,)


def test_an_unknown_name_or_setting_says_which_there_are() -> None:
    with pytest.raises(SettingsError, match="'greedy' is not one of random, fedemd, shapley"):
        selector("greedy")
    with pytest.raises(SettingsError, match="fedemd has no setting 'gamma': it has alpha, beta"):
        selector("fedemd", gamma=1.0)
    with pytest.raises(SettingsError, match="random has no setting 'k': it has none"):
        selector("random", k=3)
    with pytest.raises(SettingsError, match="always needs the setting 'ids'"):
        selector("always")


@pytest.mark.parametrize(
    ("name", "setting", "value", "message"),
    [
        ("fedemd", "alpha", -0.1, "alpha must be a number, at least 0, not -0.1"),
        ("fedemd", "beta", np.nan, "beta must be a number, at least 0, not nan"),
        ("fedemd", "alpha", np.inf, "alpha must be a number, at least 0, not inf"),
        ("fedemd", "distance", "l2", "distance 'l2' is not one of l1, tv, w1_ordered"),
        ("fedemd", "norm", "max", "norm 'max' is not one of mean, class_count, none"),
        ("tifl", "n_tiers", 0, "n_tiers must be a whole number, at least 1, not 0"),
        ("tifl", "credits", 1, "5 tiers of 1 credits last less than the 10 rounds"),
        ("fedfast", "n_restarts", 0, "n_restarts must be a whole number, at least 1, not 0"),
        ("power-of-choice", "n_candidates", 0, "n_candidates must be a whole number, at least 1"),
        ("oort", "clip", 1.5, "clip must be a number, from 0 to 1, not 1.5"),
        ("oort", "explore", 0.1, "explore_least is 0.2, above explore, 0.1"),
        ("always", "ids", (), "ids must be different clients"),
        ("never", "ids", (2, 2), r"ids must be different clients, counted from 0, not \[2, 2\]"),
        ("never", "ids", (-1,), r"counted from 0, not \[-1\]"),
    ],
)
def test_a_setting_out_of_range_is_named(
    name: str, setting: str, value: object, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        selector(name, **{setting: value})


def test_random_is_uniform() -> None:
    """Every ordered pair of four clients is as likely."""
    view, rng, n = viewed(np.ones((4, 1), np.int64), 2), np.random.default_rng(0), 2400
    seen = np.zeros((4, 4))
    for _ in range(n):
        seen[tuple(made("random")(view, rng))] += 1
    expected = (1 - np.eye(4)) / 12
    assert (np.abs(seen / n - expected) <= 4 * np.sqrt(expected / n)).all()
