"""The oracle counts to the query, answers without a graph, and nothing of the victim shows."""

from __future__ import annotations

import copy
import functools
import pickle
import types

import pytest
import torch
from torch import Tensor, nn

from fedsec.core.functional import state_of
from fedsec.errors import DataError, SettingsError
from fedsec.stealing.oracle import (
    BudgetExhausted,
    ModelOracle,
    Oracle,
    QueriesRefused,
    QueryLog,
    affordable,
    ask,
    check_oracle,
)
from tests.fedsec.stealing.toys import SHAPE, images, linear_oracle, linear_victim, small_net


def test_the_counter_is_the_sum_of_the_batches_and_the_log_that_of_the_answers():
    oracle = linear_oracle(log=QueryLog(4, hashes=True, n_images=5))
    answers = [oracle(images(n, seed=n)) for n in (3, 1, 7)]
    assert isinstance(oracle, Oracle)
    assert oracle.queries == 11 and oracle.remaining() is None and oracle.log.calls == 3
    assert oracle.log.counts.tolist() == torch.bincount(torch.cat(answers), minlength=4).tolist()
    assert len(set(oracle.log.hashes)) == 11
    seen = torch.cat([images(3, seed=3), images(1, seed=1), images(1, seed=7)])
    torch.testing.assert_close(torch.stack(oracle.log.images)[:4], seen[:4])
    assert len(oracle.log.images) == 5


@pytest.mark.parametrize("mode", ["labels", "probabilities"])
def test_the_budget_is_exact_to_the_query(mode):
    oracle = linear_oracle(budget=10, mode=mode)
    oracle(images(4))
    oracle(images(4))
    with pytest.raises(BudgetExhausted, match="3 images were asked for, 2 of 10"):
        oracle(images(3))
    assert oracle.queries == 8 and oracle.remaining() == 2 and int(oracle.log.counts.sum()) == 8
    oracle(images(2))
    assert oracle.remaining() == 0
    with pytest.raises(BudgetExhausted):
        oracle(images(1))
    assert oracle.queries == 10


def test_asking_as_many_as_are_left():
    oracle = linear_oracle(budget=5)
    x = images(4) * 3 - 1
    asked, answers = ask(oracle, x)
    torch.testing.assert_close(asked, x.clamp(0, 1))
    assert affordable(oracle, 4) == 1
    asked, answers = ask(oracle, x)
    assert len(asked) == len(answers) == 1 and oracle.remaining() == 0
    with pytest.raises(BudgetExhausted, match="all 5"):
        ask(oracle, x)


@pytest.mark.parametrize("mode", ["labels", "probabilities"])
def test_answers_are_those_of_the_clipped_images_and_have_no_graph(mode):
    net, state = linear_victim()
    oracle = ModelOracle(net, state, SHAPE, 4, mode=mode)
    x = (images(50) * 3 - 1).requires_grad_()
    kept = x.detach().clone()
    answers = oracle(x)
    expected = net(kept.clamp(0, 1)).softmax(dim=1).detach()
    assert torch.equal(x.detach(), kept)
    assert answers.grad_fn is None and not answers.requires_grad
    if mode == "labels":
        assert answers.dtype == torch.int64
        assert torch.equal(answers, expected.argmax(dim=1))
    else:
        torch.testing.assert_close(answers, expected)


def test_a_large_batch_is_its_pieces():
    first, second = linear_oracle(mode="probabilities"), linear_oracle(mode="probabilities")
    x = images(2500)
    torch.testing.assert_close(first(x), torch.cat([second(part) for part in x.split(300)]))
    assert first.queries == second.queries and first.log.calls == 1


def test_asking_does_not_change_the_victim_nor_the_victim_what_is_asked():
    net = small_net()
    net.train()
    state = state_of(net)
    oracle = ModelOracle(net, state, SHAPE, 4, mode="probabilities")
    before = oracle(images(9))
    assert net.training and all(parameter.requires_grad for parameter in net.parameters())
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        state.parameters["0.weight"].zero_()
    torch.testing.assert_close(oracle(images(9)), before, rtol=0, atol=0)


def test_defences_are_applied_in_their_order():
    def reversed_classes(probabilities, x):
        return probabilities.flip(1)

    def first_is_sure(probabilities, x):
        return torch.eye(4)[0].expand_as(probabilities)

    plain = linear_oracle()(images(20))
    assert torch.equal(linear_oracle(answers=(reversed_classes,))(images(20)), 3 - plain)
    both = linear_oracle(answers=(first_is_sure, reversed_classes))
    assert (both(images(20)) == 3).all()


def test_nothing_of_the_victim_can_be_reached_from_an_oracle():
    net, state = linear_victim()
    oracle = ModelOracle(net, state, SHAPE, 4, budget=50, answers=(lambda p, x: p,))
    oracle(images(3))
    with pytest.raises(BudgetExhausted) as refused:
        oracle(images(60))
    secret = state.parameters["dense.weight"]
    found = list(reachable(oracle)) + list(reachable(refused.value))
    assert len(found) > 20
    for value in found:
        assert not isinstance(value, nn.Module)
        if isinstance(value, Tensor) and value.shape == secret.shape:
            assert not torch.equal(value, secret)


def test_a_walk_finds_a_victim_that_is_not_hidden():
    net, state = linear_victim()

    class Open:
        def __init__(self):
            self.answer = functools.partial(lambda net, x: net(x), net)

    def closed(x):
        return net(x)

    for holder in (Open(), closed, {"a": [closed]}):
        assert any(value is net for value in reachable(holder))


def test_a_refusal_of_a_defence_costs_nothing_and_shows_nothing():
    class Limited(QueriesRefused):
        pass

    def refuse(probabilities, x):
        raise Limited("later")

    oracle = linear_oracle(budget=5, answers=(refuse,))
    with pytest.raises(Limited) as refused:
        oracle(images(2))
    assert oracle.queries == 0 and oracle.log.calls == 0
    assert refused.value.__context__ is None and refused.value.__cause__ is None
    assert not any(isinstance(value, nn.Module) for value in reachable(refused.value))


def test_counts_are_only_gone_on_with_upwards():
    oracle = linear_oracle(budget=10)
    oracle.resume(7, 3, torch.tensor([7, 0, 0, 0]))
    assert oracle.queries == 7 and oracle.log.calls == 3
    with pytest.raises(SettingsError, match="cannot go back to 3"):
        oracle.resume(3, 1, torch.zeros(4, dtype=torch.int64))
    with pytest.raises(SettingsError, match="budget is 10"):
        oracle.resume(11, 1, torch.zeros(4, dtype=torch.int64))


def test_an_oracle_cannot_be_set_copied_or_pickled():
    oracle = linear_oracle(budget=10)
    for name, value in (("queries", 0), ("budget", 99), ("mode", "probabilities"), ("new", 1)):
        with pytest.raises(AttributeError):
            setattr(oracle, name, value)
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            duplicate(oracle)


def test_what_cannot_be_asked_is_refused():
    oracle = linear_oracle(budget=10)
    for x in (images(2, shape=(1, 8, 9)), images(2, shape=(3, 8, 8)), images(0)):
        with pytest.raises(DataError, match="1, 8, 8"):
            oracle(x)
    with pytest.raises(DataError, match="5 classes"):
        ModelOracle(*linear_victim(4), SHAPE, 5)(images(2))
    assert oracle.queries == 0


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"budget": 0}, "budget = 0"),
        ({"mode": "logits"}, "labels, probabilities"),
        ({"n_classes": 1}, "n_classes"),
        ({"shape": (0, 8, 8)}, "channel, height, width"),
    ],
)
def test_what_no_oracle_can_be_is_refused(settings, message):
    given = {"shape": SHAPE, "n_classes": 4, "mode": "labels", "budget": None} | settings
    with pytest.raises(SettingsError, match=message):
        check_oracle(**given)
    if "mode" not in settings:
        with pytest.raises(SettingsError, match=message):
            ModelOracle(*linear_victim(), given.pop("shape"), given.pop("n_classes"), **given)


def reachable(start):
    """All that attributes, slots, closures, defaults, containers and tracebacks lead to.

    Not what the globals of a module hold: from there everything in the process can be reached.
    """
    waiting, seen = [start], {}
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, types.ModuleType | str | bytes | int | float):
            continue
        seen[id(value)] = value
        yield value
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set | frozenset):
            waiting += value
        elif isinstance(value, types.TracebackType):
            if value.tb_frame.f_globals["__name__"] == "fedsec.stealing.oracle":
                waiting.append(value.tb_frame.f_locals)
            waiting.append(value.tb_next)
        elif isinstance(value, types.FunctionType):
            waiting += _cells(value)
            waiting += [value.__defaults__, value.__kwdefaults__, value.__dict__]
        elif isinstance(value, types.MethodType):
            waiting += [value.__func__, value.__self__]
        elif isinstance(value, property):
            waiting += [value.fget, value.fset]
        elif isinstance(value, functools.partial):
            waiting += [value.func, value.args, value.keywords]
        elif isinstance(value, type):
            if value.__module__.startswith(("fedsec", "tests")):
                waiting += dict(vars(value)).values()
        elif type(value).__module__.startswith(("fedsec", "tests")) or isinstance(
            value, BaseException
        ):
            waiting += [type(value), getattr(value, "__dict__", None)]
            waiting += [getattr(value, "__traceback__", None), getattr(value, "__context__", None)]
            waiting += [_attribute(value, name) for name in dir(value) if name[:2] != "__"]
            waiting.append(_attribute(value, "__call__"))
        assert len(seen) < 20_000


def _cells(function):
    found = []
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # empty
            continue
    return found


def _attribute(value, name):
    try:
        return getattr(value, name)
    except (AttributeError, TypeError, ValueError, NotImplementedError):
        return None
