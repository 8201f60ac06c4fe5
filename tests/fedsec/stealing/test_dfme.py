"""DFME: queries by the formula, rates by the budget, and both players in their places."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from fedsec.core.functional import state_of
from fedsec.data.images import ImageData
from fedsec.nets import make_net
from fedsec.stealing.attack import Watch
from fedsec.stealing.dfme import Dfme
from fedsec.stealing.disagreement import through_copy
from fedsec.stealing.oracle import Mode, ModelOracle
from fedsec.stealing.substitute import recovered_logits

SHAPE = (1, 8, 8)


def once() -> Watch:
    left = [1]

    def stop() -> bool:
        left[0] -= 1
        return left[0] < 0

    return Watch(stop=stop)


@pytest.fixture(scope="module")
def victim(digits: ImageData) -> nn.Module:
    return make_net("linear", digits, 0).eval()


@pytest.mark.parametrize("mode", ["labels", "probabilities"])
@pytest.mark.parametrize(
    ("method", "queries"),
    [(Dfme(), 1792), (Dfme(seek=through_copy), 1536), (Dfme(batch=10, directions=3), 90)],
)
def test_an_iteration_asks_what_the_formula_says(
    method: Dfme, queries: int, mode: Mode, victim: nn.Module, digits: ImageData
) -> None:
    oracle = ModelOracle(victim, state_of(victim), SHAPE, 10, mode=mode)
    stolen = method(oracle, make_net("cnn-bn", digits, 1), seed=0, watch=once())
    assert oracle.queries == method.queries_per_iteration == queries
    assert stolen.substitute_steps == 5


def test_rates_fall_at_shares_of_the_budget(victim: nn.Module, digits: ImageData) -> None:
    method = Dfme(batch=10)
    oracle = ModelOracle(victim, state_of(victim), SHAPE, 10, budget=1400)
    parts = method.begin(oracle, make_net("cnn-bn", digits, 1), 0)
    rates = []
    for _ in range(20):  # each uses 70, a twentieth
        method.step(oracle, parts)
        rates.append([group.param_groups[0]["lr"] for group in parts.optimisers.values()])
    falls = [0] * 2 + [1] * 4 + [2] * 4 + [3] * 10
    expected = torch.tensor([[0.1 * 0.3**fall, 1e-4 * 0.3**fall] for fall in falls])
    assert torch.allclose(torch.tensor(rates), expected)


def test_from_probabilities_the_copy_learns_the_logits(
    victim: nn.Module, digits: ImageData
) -> None:
    """A linear copy of a linear victim: the loss on fresh images falls far below where it began."""
    method = Dfme(batch=64, lr=0.3, latent=16)
    oracle = ModelOracle(victim, state_of(victim), SHAPE, 10, mode="probabilities", budget=60_000)
    given = make_net("linear", digits, 7)
    stolen = method(oracle, given, seed=0)
    x = torch.rand(200, *SHAPE, generator=torch.Generator().manual_seed(3))

    def apart(net: nn.Module) -> Tensor:
        with torch.no_grad():
            return l1_loss(net(x), recovered_logits(victim(x).softmax(dim=1)))

    before = apart(given)
    given.load_state_dict({**stolen.state.parameters, **stolen.state.buffers})
    assert apart(given) < 0.3 * before
