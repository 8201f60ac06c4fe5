"""TandemGAN asks as published, each step moves its own network, and slopes are as they should."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from fedsec.core.functional import State, flatten, state_of
from fedsec.errors import SettingsError
from fedsec.stealing.attack import Watch
from fedsec.stealing.generator_steps import mega_generator_loss
from fedsec.stealing.substitute import recovered_logits
from fedsec.stealing.tandem import PUBLISHED, Tandem
from tests.fedsec.stealing.toys import linear_oracle, linear_victim, same_state, small_net

SMALL = {"batch": 16, "latent": 8}
MODES = ("labels", "probabilities")


def begun(mode, budget=None, **settings):
    attack = Tandem(**SMALL | {"iterations": 100} | settings)
    oracle = linear_oracle(mode=mode, budget=budget)
    parts = attack.begin(oracle, small_net(), seed=0)
    parts.nets["generator"].train()
    parts.substitute.eval()
    return attack, oracle, parts


def test_published_queries():
    asked = {"labels": 1536, "probabilities": 2304}
    totals = {
        ("fashion-mnist", "probabilities"): 11_520_000, ("fashion-mnist", "labels"): 3_840_000,
        ("cifar10", "probabilities"): 23_040_000, ("cifar10", "labels"): 15_360_000,
    }  # fmt: skip
    for (images, mode), attack in PUBLISHED.items():
        assert attack.queries(mode) == asked[mode]
        assert attack.queries(mode) * attack.iterations == totals[images, mode]


@pytest.mark.parametrize("mode", MODES)
def test_an_iteration_asks_what_the_formula_says(mode):
    attack, oracle, parts = begun(mode)
    step = attack.step(oracle, parts)
    assert oracle.queries == attack.queries(mode)
    assert step.steps == 5 and int(step.histogram.sum()) == 5 * 16
    attack, oracle, parts = begun(mode, directions=3, s_steps=2)
    attack.step(oracle, parts)
    assert oracle.queries == attack.queries(mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("budget", [1, 17, 64, 200, 144 + 20])
def test_the_budget_is_used_up_to_the_query(mode, budget):
    oracle = linear_oracle(mode=mode, budget=budget)
    found = Tandem(**SMALL)(oracle, small_net(), seed=0, watch=Watch(every=1))
    assert found.queries == oracle.queries == budget and found.stopped == "budget"


def moved(parts, before):
    """Which of the three networks have other parameters than before."""
    generator = parts.nets["generator"]
    nets = {
        "substitute": parts.substitute, "explore": generator.explore, "exploit": generator.exploit,
    }  # fmt: skip
    now = {name: State(state_of(net).parameters, {}) for name, net in nets.items()}
    if before is None:
        return now
    return {name for name in nets if not same_state(now[name], before[name])}


@pytest.mark.parametrize(
    "mode, move, network",
    [
        ("labels", lambda a, o, p: a._explore_labels(o, p), "explore"),
        ("labels", lambda a, o, p: a._exploit_labels(p), "exploit"),
        ("labels", lambda a, o, p: a._imitate(o, p), "substitute"),
        ("probabilities", lambda a, o, p: a._explore_probabilities(o, p), "explore"),
        ("probabilities", lambda a, o, p: a._exploit_probabilities(o, p), "exploit"),
        ("probabilities", lambda a, o, p: a._imitate(o, p), "substitute"),
    ],
)
def test_each_step_moves_its_own_network(mode, move, network):
    attack, oracle, parts = begun(mode)
    before = moved(parts, None)
    move(attack, oracle, parts)
    assert moved(parts, before) == {network}


def slope_of(parts, name, half, move):
    """What a step went down, by plain gradient descent in place of RMSprop."""
    parts.optimisers[name] = torch.optim.SGD(half.parameters(), lr=1.0)
    before = flatten(dict(half.named_parameters())).detach().clone()
    rng = parts.generators["codes"].get_state()
    move()
    parts.generators["codes"].set_state(rng)
    with torch.no_grad():
        after = flatten(dict(half.named_parameters()))
        for parameter, value in zip(
            half.parameters(), before.split([p.numel() for p in half.parameters()]), strict=True
        ):
            parameter.copy_(value.view_as(parameter))
    return before - after


def test_exploring_goes_down_minus_the_cross_entropy_with_the_victims_label():
    attack, oracle, parts = begun("labels")
    generator = parts.nets["generator"]
    found = slope_of(
        parts, "explore", generator.explore, lambda: attack._explore_labels(oracle, parts)
    )
    x = generator(attack._codes(parts))
    loss = -cross_entropy(parts.substitute(x), linear_victim()[0](x).argmax(dim=1))
    exact = torch.autograd.grad(loss, list(generator.explore.parameters()))
    torch.testing.assert_close(found, torch.cat([g.flatten() for g in exact]), rtol=0, atol=1e-5)


def test_exploiting_goes_down_minus_the_log_confidence():
    attack, _, parts = begun("labels")
    generator = parts.nets["generator"]
    found = slope_of(parts, "exploit", generator.exploit, lambda: attack._exploit_labels(parts))
    x = generator(attack._codes(parts))
    exact = torch.autograd.grad(
        mega_generator_loss(parts.substitute(x)), list(generator.exploit.parameters())
    )
    torch.testing.assert_close(found, torch.cat([g.flatten() for g in exact]), rtol=0, atol=1e-5)


def of_distance(parts, x, victim):
    return -(parts.substitute(x) - recovered_logits(victim(x).softmax(dim=1))).abs().mean()


def of_confidence(parts, x, victim):
    return -victim(x).softmax(dim=1).amax(dim=1).mean()


@pytest.mark.parametrize(
    "name, objective",
    [("explore", of_distance), ("exploit", of_confidence)],
)
def test_differences_point_where_the_slopes_of_an_open_victim_do(name, objective):
    attack, oracle, parts = begun("probabilities", directions=400, eps=1e-2)
    generator, victim = parts.nets["generator"], linear_victim()[0]
    half = getattr(generator, name)
    move = getattr(attack, f"_{name}_probabilities")
    found = slope_of(parts, name, half, lambda: move(oracle, parts))
    loss = objective(parts, generator(attack._codes(parts)), victim)
    exact = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(half.parameters()))])
    assert float(torch.cosine_similarity(found, exact, dim=0)) > 0.9
    assert float(found.norm()) == pytest.approx(float(exact.norm()), rel=0.3)


def test_rates_fall_at_the_published_times():
    attack, oracle, parts = begun("labels", iterations=10, s_steps=1)
    course = []
    for iteration in range(10):
        parts.numbers["iteration"] = iteration
        attack.step(oracle, parts)
        rates = [parts.optimisers[name].param_groups[0]["lr"] for name in parts.optimisers]
        assert rates == pytest.approx([rates[0], rates[0] * 1e-2, rates[0] * 1e-3])
        course.append(rates[0])
    assert course == pytest.approx([1e-3] * 5 + [3e-4] * 3 + [9e-5] * 2)


def test_settings_out_of_range_are_refused():
    for name, value in (("s_steps", 0), ("directions", 0), ("lr_x", 0.0), ("iterations", 0)):
        with pytest.raises(SettingsError, match=f"{name} = 0"):
            Tandem(**{name: value})
    with pytest.raises(SettingsError, match="nothing ends"):
        Tandem()(linear_oracle(), small_net(), seed=0)
