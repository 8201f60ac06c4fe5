"""Methods on one budget: each uses it up, and takes about as many steps of the copy as planned."""

from __future__ import annotations

import pytest
import torch

from fedsec.data.images import Images
from fedsec.errors import SettingsError
from fedsec.stealing.attack import Method, StealAttack
from fedsec.stealing.lineup import CONTROL, LINEUP, WITH_IMAGES, Stake, method_for
from fedsec.stealing.surrogate import Surrogate
from tests.fedsec.stealing.toys import SHAPE, generator, images, linear_oracle, small_net

PICTURES = Surrogate(Images(images(4000), torch.randint(3, (4000,), generator=generator())))
BUDGET, BATCH = 4000, 128
ROUGH = {"zsdb3kd": 3.0}
"""Method -> by which factor its steps may differ: what an image costs there is known afterwards."""


def stake(**changed) -> Stake:
    given = {
        "budget": BUDGET, "mode": "labels", "shape": SHAPE, "n_classes": 4, "passes": 2,
        "batch": BATCH, "surrogate": PICTURES,
    }  # fmt: skip
    return Stake(**(given | changed))


@pytest.mark.parametrize("mode", ["labels", "probabilities"])
@pytest.mark.parametrize("name", LINEUP)
def test_the_budget_is_used_and_the_steps_are_those_of_all(name: str, mode: str) -> None:
    one = stake(mode=mode)
    method = method_for(name, one)
    assert isinstance(method, Method) and isinstance(method, StealAttack)
    oracle = linear_oracle(mode=mode, budget=BUDGET)
    stolen = method(oracle, small_net(), seed=0)
    assert stolen.queries == BUDGET
    assert stolen.stopped == ("done" if name in WITH_IMAGES else "budget")
    factor = stolen.substitute_steps / one.steps
    most = ROUGH.get(name, 1.3)
    assert 1 / most <= factor <= most, (stolen.substitute_steps, one.steps)


def test_steps_and_pools_follow_the_budget() -> None:
    assert stake(budget=64_000, passes=3, batch=100).steps == 1920
    assert stake(budget=64_000).pool == 3200 and stake(budget=10**6).pool == 10_000
    assert stake().latent == 32 and stake(shape=(3, 32, 32)).latent == 128


def test_the_control_is_in_it_and_what_is_wrong_is_named() -> None:
    assert CONTROL in LINEUP
    with pytest.raises(SettingsError, match="no method 'magic': choose from mega"):
        method_for("magic", stake())
    with pytest.raises(SettingsError, match="give a surrogate"):
        method_for("knockoff", stake(surrogate=None))
    with pytest.raises(SettingsError, match="passes = 0: give at least 1"):
        stake(passes=0)
