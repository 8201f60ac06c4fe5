"""The loop ends cleanly whatever happens, keeps the best copy, and goes on to the bit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from fedsec.core.functional import State, state_of
from fedsec.errors import DataError, SettingsError
from fedsec.stealing.attack import Method, StealAttack, StealSettings, Watch, _agreement
from fedsec.stealing.oracle import QueriesRefused
from fedsec.stealing.parts import Parts, Step, keep_apart, streams
from fedsec.stealing.records import CopyScore
from fedsec.stealing.substitute import rmsprop, train_substitute
from tests.fedsec.stealing.toys import SHAPE, linear_oracle, linear_victim, same_state, small_net


@dataclass(frozen=True, kw_only=True)
class Noise(StealSettings):
    """Asks for noise for ever, whatever is left."""

    name: ClassVar[str] = "noise for tests"

    batch: int = 40
    held_out: float | int = 0.25

    def begin(self, oracle, substitute, seed):
        return Parts(
            nets={"substitute": substitute},
            optimisers={"substitute": rmsprop(substitute.parameters(), 1e-3)},
            generators=streams(seed, ("images", "held"), "cpu"),
        )

    def step(self, oracle, parts):
        rng = parts.generators["images"]
        x = torch.rand((self.batch, *SHAPE), generator=rng)
        x, labels = keep_apart(parts, x, oracle(x), self.held_out)
        loss, steps = train_substitute(
            parts.substitute, parts.optimisers["substitute"], x, labels, batch=20, generator=rng
        )
        return Step(steps=steps, losses={"substitute": loss})


@dataclass(frozen=True, kw_only=True)
class Scripted(Noise):
    """Becomes the victim in one iteration and nonsense in the others."""

    right: int = 2

    def step(self, oracle, parts):
        step = super().step(oracle, parts)
        sign = 1.0 if parts.iteration == self.right else -1.0
        with torch.no_grad():
            weight = linear_victim()[1].parameters["dense.weight"]
            parts.substitute.dense.weight.copy_(sign * weight)
        return step


def started(oracle=None, attack=None, every=40, **given):
    oracle = linear_oracle(budget=400) if oracle is None else oracle
    watch = replace(given.pop("watch", Watch()), every=every)
    attack = Noise() if attack is None else attack
    return attack(oracle, small_net(), seed=3, watch=watch, **given)


def test_an_attack_that_asks_once_more_is_refused_and_ends_with_its_best_copy():
    oracle = linear_oracle(budget=410)
    found = started(oracle)
    assert isinstance(Noise(), Method) and isinstance(Noise(), StealAttack)
    assert found.stopped == "budget" and found.queries == oracle.queries == 400
    assert [record.queries for record in found.records] == list(range(40, 401, 40))
    assert found.substitute_steps == 20 and found.records[-1].steps == 20
    assert found.best_queries in range(40, 401, 40)


def test_the_best_copy_is_the_one_that_agrees_with_held_out_queries():
    found = Scripted()(
        linear_oracle(budget=400), linear_victim()[0], seed=0, watch=Watch(every=40),
        evaluate=lambda state: CopyScore(0.5, 0.25),
    )  # fmt: skip
    assert found.best_queries == 3 * 40
    assert same_state(found.best, linear_victim()[1])
    assert not same_state(found.state, found.best)
    assert [record.held_out == 1 for record in found.records] == [i == 2 for i in range(10)]
    assert found.best_on_test == 0.5 and found.records[0].agreement == 0.25


def test_agreement_is_a_mean_over_classes():
    """A copy that says the commonest class alone agrees on one class of four."""
    net, state = linear_victim()
    x = torch.rand((200, *SHAPE), generator=torch.Generator().manual_seed(1))
    labels = linear_oracle()(x)
    assert _agreement(net, state, (x, labels)) == 1
    rows = torch.cat([(labels == 0).nonzero()[:30], (labels != 0).nonzero()[:6]]).flatten()
    one = State({"dense.weight": torch.zeros(4, 64)}, {})  # all logits equal: class 0
    n_present = len(labels[rows].unique())
    assert _agreement(net, one, (x[rows], labels[rows])) == pytest.approx(1 / n_present)


def test_without_held_out_queries_the_best_is_the_last():
    found = started(attack=Noise(held_out=0))
    assert found.best_queries == 400 and same_state(found.best, found.state)
    assert found.records[0].held_out is None and found.best_on_test is None


def test_records_are_as_far_apart_as_asked_and_progress_is_told_of_every_iteration():
    told = []
    watch = Watch(progress=lambda *what: told.append(what))
    found = started(every=100, watch=watch)
    assert [record.queries for record in found.records] == [120, 240, 360, 400]
    assert [queries for queries, _, _ in told] == list(range(40, 401, 40))
    assert told[0][1:] == (400, None) and told[-1][2] is found.records[2]


def test_the_same_seed_is_the_same_copy():
    first, again = started(), started()
    assert same_state(first.state, again.state) and same_state(first.best, again.best)


@pytest.mark.parametrize("after", [1, 4, 9])
def test_a_run_that_was_stopped_goes_on_to_the_bit(tmp_path, after):
    path = tmp_path / "run.safetensors"
    asked = iter(range(after + 1))
    watch = Watch(stop=lambda: next(asked) == after)
    stopped = started(checkpoint=path, watch=watch)
    assert stopped.stopped == "interrupted" and stopped.queries == 40 * after
    assert_equal(started(checkpoint=path), started())


def test_ctrl_c_keeps_the_best_copy_and_the_checkpoint_before(tmp_path):
    path = tmp_path / "run.safetensors"
    calls = []

    def interrupt(probabilities, x):
        calls.append(len(x))
        if len(calls) == 6:
            raise KeyboardInterrupt
        return probabilities

    watch = Watch(seconds=0)
    oracle = linear_oracle(budget=400, answers=(interrupt,))
    stopped = started(oracle, checkpoint=path, watch=watch)
    assert stopped.stopped == "interrupted" and stopped.queries == 200
    assert len(stopped.records) == 5 and stopped.best_queries > 0
    # an answering oracle has the same settings: defences are not seen
    assert_equal(started(checkpoint=path), started())


def test_a_defence_that_refuses_ends_a_run_that_can_be_gone_on_with(tmp_path):
    path = tmp_path / "run.safetensors"

    def refuse_after_100(probabilities, x):
        if oracle.queries >= 100:
            raise QueriesRefused("too fast")
        return probabilities

    oracle = linear_oracle(budget=400, answers=(refuse_after_100,))
    stopped = started(oracle, checkpoint=path, watch=Watch(seconds=0))
    assert stopped.stopped == "refused" and stopped.queries == 120
    assert_equal(started(checkpoint=path), started())


def test_a_finished_run_is_not_run_again(tmp_path):
    path = tmp_path / "run.safetensors"
    first = started(checkpoint=path)
    oracle = linear_oracle(budget=400)
    again = started(oracle, checkpoint=path)
    assert_equal(first, again)
    assert again.records == first.records and again.seconds == first.seconds
    assert oracle.queries == 400  # of the first run


def test_other_settings_are_named(tmp_path):
    path = tmp_path / "run.safetensors"
    started(checkpoint=path)
    with pytest.raises(SettingsError, match="attack.batch is 40 there and 20 here"):
        started(checkpoint=path, attack=Noise(batch=20))
    with pytest.raises(SettingsError, match="oracle.budget is 400 there and 500 here"):
        started(linear_oracle(budget=500), checkpoint=path)


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "run.safetensors"
    if content is None:
        started(checkpoint=path)
        content = path.read_bytes()[:-50]
    path.write_bytes(content)
    with pytest.raises(DataError, match="run.safetensors"):
        started(checkpoint=path)


@pytest.mark.parametrize("net", [small_net(5), torch.nn.Linear(8, 4), torch.nn.Linear(9, 4)])
def test_a_copy_that_does_not_fit_the_oracle_is_refused(net):
    oracle = linear_oracle(budget=80)
    with pytest.raises(SettingsError, match="the copy"):
        Noise()(oracle, net, seed=0)
    assert oracle.queries == 0


def test_the_substitute_is_copied():
    net = small_net()
    before = state_of(net)
    Noise()(linear_oracle(budget=80), net, seed=0)
    assert same_state(state_of(net), before)


def assert_equal(first, second):
    """Two outcomes, but for the time they took."""
    assert same_state(first.state, second.state) and same_state(first.best, second.best)
    for name in ("best_queries", "queries", "substitute_steps", "stopped"):
        assert getattr(first, name) == getattr(second, name)
    assert timeless(first) == timeless(second)


def timeless(stolen):
    return [replace(record, seconds=0.0) for record in stolen.records]
