"""MEGA asks what it says, follows its convergence, remembers, and notices a collapse."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from fedsec.core.functional import state_of
from fedsec.errors import SettingsError
from fedsec.stealing.attack import Watch
from fedsec.stealing.mega import STABLE, Mega
from tests.fedsec.stealing.toys import linear_oracle, same_state, small_net

SMALL = {"pool": 200, "batch": 50, "latent": 16, "warm_epochs": 2, "s_epochs": 1, "lr_g": 1e-4}
EVERY = Watch(every=1)


def run(oracle=None, seed=0, **settings):
    oracle = linear_oracle() if oracle is None else oracle
    attack = Mega(**SMALL | settings)
    return attack(oracle, small_net(oracle.n_classes), seed=seed, watch=EVERY)


def begun(**settings):
    attack, oracle = Mega(**SMALL | settings), linear_oracle(budget=100_000)
    return attack, oracle, attack.begin(oracle, small_net(), seed=0)


def stepped(attack, oracle, parts):
    step = attack.step(oracle, parts)
    parts.numbers["iteration"] = parts.iteration + 1
    return step


def test_an_iteration_asks_once_for_each_code():
    oracle = linear_oracle()
    found = run(oracle, iterations=4, max_rounds=0)
    assert [record.queries for record in found.records] == [200, 400, 600, 800]
    assert found.stopped == "done" and found.queries == oracle.queries == 800
    assert [sum(record.histogram) for record in found.records] == [200] * 4
    assert found.substitute_steps == (2 + 1 + 1 + 1) * 4


@pytest.mark.parametrize("budget", [200, 201, 650])
def test_the_budget_is_used_up_to_the_query(budget):
    oracle = linear_oracle(budget=budget)
    found = run(oracle)
    assert found.queries == oracle.queries == budget and found.stopped == "budget"
    assert found.records[-1].queries == budget


def test_without_regeneration_only_the_first_pool_is_asked_for():
    oracle = linear_oracle()
    found = run(oracle, iterations=3, regenerate=False, max_rounds=0)
    assert oracle.queries == 200 and found.stopped == "done"
    assert found.substitute_steps == (2 + 1 + 1) * 4


def test_a_still_generator_flips_no_label_and_a_refresh_does_not_raise_the_objective():
    found = run(iterations=5, g_epochs=0)
    for record in found.records[2:]:
        assert record.flips == 0
        assert record.losses["refresh"] == pytest.approx(0, abs=1e-5)


def test_what_is_logged_of_the_convergence():
    found = run(iterations=4, lr_g=1e-3, diversity=1)
    first, *later = found.records
    assert first.flips is None and "refresh" not in first.losses
    for before, record in zip(found.records, later, strict=False):
        losses = record.losses
        names = {"joint_refreshed", "joint_after_s", "joint_after_g", "substitute", "generator"}
        assert names < set(losses) and all(map(math.isfinite, losses.values()))
        rise = losses["joint_refreshed"] - before.losses["joint_after_g"]
        assert losses["refresh"] == pytest.approx(rise, abs=1e-6)
        assert 0 <= record.flips < 1 and 0.25 < record.confidence < 1
    assert any(record.flips for record in later)


def test_fresh_codes_are_fresh_and_others_are_not():
    for fresh in (False, True):
        attack, oracle, parts = begun(fresh_codes=fresh)
        stepped(attack, oracle, parts)
        codes = parts.tensors["z"]
        step = stepped(attack, oracle, parts)
        assert torch.equal(codes, parts.tensors["z"]) != fresh
        assert (step.flips is None) == fresh


def test_the_memory_holds_the_latest_images_and_their_answers():
    attack, oracle, parts = begun(replay=450, max_rounds=0, held_out=0)
    asked = []
    for _ in range(4):
        stepped(attack, oracle, parts)
        asked.append(parts.tensors["labels"])
    assert torch.equal(parts.tensors["replay_answers"], torch.cat(asked)[-450:])
    again = linear_oracle()(parts.tensors["replay_x"])
    assert torch.equal(again, parts.tensors["replay_answers"])


def test_replaying_costs_no_more_steps_and_no_queries():
    plain, replayed = (run(iterations=4, replay=replay) for replay in (0, 1000))
    assert plain.substitute_steps == replayed.substitute_steps
    assert plain.queries == replayed.queries
    assert not same_state(plain.state, replayed.state)


def test_the_copys_rate_falls_once():
    attack, oracle, parts = begun(iterations=4, decay_at=0.5, decay=0.1)
    rates = []
    for _ in range(4):
        stepped(attack, oracle, parts)
        rates.append(parts.optimisers["substitute"].param_groups[0]["lr"])
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])
    assert parts.optimisers["generator"].param_groups[0]["lr"] == 1e-4


def test_held_out_queries_are_a_share_of_all_and_within_the_budget():
    attack, oracle, parts = begun(held_out=0.1, max_rounds=0)
    for _ in range(3):
        stepped(attack, oracle, parts)
    assert parts.numbers["held"] == 3 * 20 and oracle.queries == 600


def test_probabilities_are_learnt_from_too():
    oracle = linear_oracle(mode="probabilities", budget=1000)
    found = run(oracle, warm_epochs=10, s_epochs=10, lr_g=1e-6)
    assert found.queries == 1000
    assert found.records[-1].losses["joint_after_s"] < found.records[0].losses["joint_refreshed"]


def test_a_collapse_is_two_narrow_pools_in_a_row():
    attack, _, parts = begun()
    wide, narrow = torch.tensor([50, 50, 50, 50]), torch.tensor([195, 5, 0, 0])
    rest = torch.tensor([3, 0, 0, 0])
    course = [wide, narrow, wide, narrow, rest, narrow]
    found = [attack._collapsed(parts, histogram) for histogram in course]
    assert found == [False, False, False, False, False, True]
    attack, _, parts = begun(collapsed=0)
    assert not any(attack._collapsed(parts, histogram) for histogram in course)


def test_the_balanced_pool_is_no_measure_of_fresh_codes():
    attack, _, parts = begun(fresh_codes=True)
    uneven = torch.tensor([195, 5, 0, 0])
    assert not attack._collapsed(parts, torch.tensor([50, 50, 50, 50]))
    parts.numbers["iteration"] = 1
    assert not any(attack._collapsed(parts, uneven) for _ in range(5))


def test_a_generator_as_fast_as_the_copy_collapses():
    settings = {"pool": 500, "warm_epochs": 10, "s_epochs": 3, "g_epochs": 3}
    found = run(linear_oracle(10), iterations=60, lr_g=1e-3, **settings)
    assert found.stopped == "collapsed"
    few = sum(n > 0.02 * 500 for n in found.records[-1].histogram)
    assert few <= 5
    assert found.best_queries <= found.queries


def test_the_stable_settings_differ_from_the_published_by_their_names():
    changed = {"fresh_codes": True, "lr_g": 1e-4, "replay": 40_000, "diversity": 1.0}
    assert STABLE == replace(Mega(), **changed)
    plain = Mega()
    assert (plain.fresh_codes, plain.replay, plain.diversity) == (False, 0, 0)
    assert plain.regenerate and plain.confidence == 1


def test_the_substitute_that_is_given_stays_as_it_is():
    net = small_net()
    before = state_of(net)
    Mega(**SMALL)(linear_oracle(budget=400), net, seed=0)
    assert same_state(state_of(net), before)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"pool": 1}, "pool = 1"),
        ({"batch": 1}, "batch = 1"),
        ({"latent": 0}, "latent = 0"),
        ({"held_out": 1}, "held_out = 1"),
        ({"s_epochs": 0}, "s_epochs = 0"),
        ({"lr_g": 0.0}, "lr_g = 0"),
        ({"iterations": 0}, "iterations = 0"),
        ({"regenerate": False, "fresh_codes": True}, "fresh_codes has no effect"),
        ({"regenerate": False, "replay": 10}, "replay has no effect"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        Mega(**settings)


@pytest.mark.parametrize(
    "settings, budget, message",
    [
        ({}, None, "nothing ends"),
        ({"regenerate": False}, 1000, "nothing ends"),
        ({}, 199, "leaves 199 queries.*at least 200"),
    ],
)
def test_runs_that_cannot_be_are_refused_before_anything_is_asked(settings, budget, message):
    oracle = linear_oracle(budget=budget)
    with pytest.raises(SettingsError, match=message):
        run(oracle, **settings)
    assert oracle.queries == 0
