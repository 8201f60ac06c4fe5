"""What every attack promises: a budget to the query, one seed one copy, resuming to the bit."""

from __future__ import annotations

import pytest

from fedsec.stealing.attack import Method, StealAttack, Watch
from fedsec.stealing.attacks import ATTACKS
from tests.fedsec.stealing.test_attack import assert_equal
from tests.fedsec.stealing.toys import linear_oracle, same_state, small_net

SMALL = {
    "mega": {"pool": 150, "batch": 50, "latent": 8, "warm_epochs": 1, "s_epochs": 1,
             "replay": 200, "diversity": 1.0},
    "tandemgan": {"batch": 16, "latent": 8},
}  # fmt: skip
"""Name -> settings that make an attack quick."""

BUDGET = 700
CASES = [(name, mode) for name in ("mega", "tandemgan") for mode in ("labels", "probabilities")]


def started(name, mode, budget=BUDGET, seed=5, oracle=None, **given):
    oracle = linear_oracle(mode=mode, budget=budget) if oracle is None else oracle
    given = {"watch": Watch(every=100)} | given
    return ATTACKS[name](**SMALL.get(name, {}))(oracle, small_net(), seed=seed, **given)


def test_attacks_are_known_by_their_own_names():
    assert {name: attack.name for name, attack in ATTACKS.items()} == {n: n for n in ATTACKS}


@pytest.mark.parametrize("name, mode", CASES)
def test_the_whole_budget_is_used_and_no_more(name, mode):
    oracle = linear_oracle(mode=mode, budget=BUDGET)
    found = started(name, mode, oracle=oracle)
    assert isinstance(ATTACKS[name](), Method) and isinstance(ATTACKS[name](), StealAttack)
    assert ATTACKS[name]().name == name
    assert found.queries == oracle.queries == int(oracle.log.counts.sum()) == BUDGET
    assert found.stopped == "budget" and found.records[-1].queries == BUDGET
    assert found.substitute_steps == found.records[-1].steps > 0


@pytest.mark.parametrize("name, mode", CASES)
def test_a_seed_is_a_copy_and_a_stopped_run_goes_on_to_the_bit(name, mode, tmp_path):
    whole = started(name, mode)
    path = tmp_path / "run.safetensors"
    sessions = []
    while not sessions or sessions[-1].stopped == "interrupted":
        asked = iter(range(10**6))
        watch = Watch(every=100, stop=lambda asked=asked: next(asked) == 2)
        sessions.append(started(name, mode, checkpoint=path, watch=watch))
    assert len(sessions) > 1
    assert_equal(sessions[-1], whole)
    assert not same_state(started(name, mode, seed=6).state, whole.state)
