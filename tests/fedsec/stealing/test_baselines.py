"""What all baselines promise: the budget to the query, the seed decides, resumed runs are equal, a
refusal or an end is clean, and the substitute that is given is left alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fedsec.core.functional import state_of
from fedsec.data.images import ImageData, Images
from fedsec.errors import SettingsError
from fedsec.nets import make_net
from fedsec.stealing.answers import RateLimit
from fedsec.stealing.attack import Method, StealAttack, StealSettings, Stolen, Watch
from fedsec.stealing.dast import Dast
from fedsec.stealing.dfme import Dfme
from fedsec.stealing.disagreement import through_copy
from fedsec.stealing.knockoff import AdaptiveKnockoff, Knockoff
from fedsec.stealing.maze import Maze
from fedsec.stealing.noise import UniformNoise
from fedsec.stealing.oracle import Mode, ModelOracle
from fedsec.stealing.surrogate import Surrogate
from fedsec.stealing.victims import Recipe, train_victim
from fedsec.stealing.zsdb3kd import Zsdb3kd

SHAPE = (1, 8, 8)
BUDGET = 603

PICTURES = Images(
    torch.rand(1500, *SHAPE, generator=torch.Generator().manual_seed(0)),
    torch.randint(7, (1500,), generator=torch.Generator().manual_seed(1)),
)
SURROGATE = Surrogate(PICTURES, "pictures")

BASELINES: dict[str, StealSettings] = {
    "noise": UniformNoise(pool=120, epochs=2, memory=300, batch=40),
    "dast": Dast(batch=90, latent=16),
    "dfme": Dfme(batch=24, latent=16),
    "dfme-through": Dfme(batch=24, latent=16, seek=through_copy),
    "maze": Maze(batch=20, latent=16, memory=50, directions=3),
    "maze-through": Maze(batch=20, latent=16, memory=50, seek=through_copy),
    "zsdb3kd": Zsdb3kd(images=4, moves=1, bisections=4, signs=3, epochs=2, batch=8),
    "knockoff": Knockoff(surrogate=SURROGATE, pool=200, batch=50, epochs=2),
    "knockoff-adaptive": AdaptiveKnockoff(surrogate=SURROGATE, pool=90, batch=50, epochs=2),
}

every_one = pytest.mark.parametrize("method", BASELINES.values(), ids=BASELINES)
both_modes = pytest.mark.parametrize("mode", ["labels", "probabilities"])


@pytest.fixture(scope="module")
def victim(digits: ImageData) -> nn.Module:
    return train_victim(digits, 0, Recipe(net="linear", steps=150, lr=1e-2))[0]


def asking(victim: nn.Module, mode: Mode = "labels", **settings: Any) -> ModelOracle:
    settings = {"budget": BUDGET, **settings}
    return ModelOracle(victim, state_of(victim), SHAPE, 10, mode=mode, **settings)


def substitute(digits: ImageData, seed: int = 5) -> nn.Module:
    return make_net("cnn-bn", digits, seed)


def equal(first: Stolen, second: Stolen) -> bool:
    """To the bit, but for wall time."""
    pairs = [(first.state, second.state), (first.best, second.best)]
    return (
        all(
            torch.equal(value, getattr(b, kind)[name])
            for a, b in pairs
            for kind in ("parameters", "buffers")
            for name, value in getattr(a, kind).items()
        )
        and [dataclasses.replace(record, seconds=0.0).to_json() for record in first.records]
        == [dataclasses.replace(record, seconds=0.0).to_json() for record in second.records]
        and first.substitute_steps == second.substitute_steps
        and first.best_queries == second.best_queries
    )


@every_one
@both_modes
def test_the_budget_is_used_to_the_query(
    method: StealAttack, mode: Mode, victim: nn.Module, digits: ImageData
) -> None:
    assert isinstance(method, StealAttack) and isinstance(method, Method)
    oracle, given = asking(victim, mode), substitute(digits)
    before = state_of(given)
    stolen = method(oracle, given, seed=1)
    assert oracle.queries == stolen.queries == BUDGET
    assert int(oracle.log.counts.sum()) == BUDGET
    assert stolen.stopped == "budget" and stolen.substitute_steps > 0
    assert stolen.records[-1].queries == BUDGET
    assert all(value.isfinite().all() for value in stolen.state.parameters.values())
    after = state_of(given)
    assert all(
        torch.equal(value, after.parameters[key]) for key, value in before.parameters.items()
    )
    assert all(torch.equal(value, after.buffers[key]) for key, value in before.buffers.items())


@every_one
def test_the_seed_decides(method: StealAttack, victim: nn.Module, digits: ImageData) -> None:
    """That one seed gives one copy is seen where runs are resumed."""
    first, other = (method(asking(victim), substitute(digits), seed=seed) for seed in (1, 2))
    assert not equal(first, other)


@every_one
@both_modes
def test_a_resumed_run_is_equal_to_one_that_was_never_interrupted(
    method: StealAttack, mode: Mode, victim: nn.Module, digits: ImageData, tmp_path: Path
) -> None:
    watch = Watch(every=200)
    whole = method(asking(victim, mode), substitute(digits), seed=3, watch=watch)
    left = [2]

    def stop() -> bool:
        left[0] -= 1
        return left[0] < 0

    path = tmp_path / "run.safetensors"
    part = method(
        asking(victim, mode), substitute(digits), seed=3, checkpoint=path,
        watch=Watch(every=200, stop=stop),
    )  # fmt: skip
    assert part.stopped == "interrupted" and 0 < part.queries < BUDGET
    rest = method(asking(victim, mode), substitute(digits), seed=3, checkpoint=path, watch=watch)
    assert rest.queries == BUDGET and equal(whole, rest)


@every_one
def test_a_refusal_ends_it_cleanly(
    method: StealAttack, victim: nn.Module, digits: ImageData
) -> None:
    limit = RateLimit(images=250, window=1e9)
    oracle = asking(victim, answers=(limit,))
    stolen = method(oracle, substitute(digits), seed=1)
    assert stolen.stopped == "refused"
    assert 0 < oracle.queries == stolen.queries <= 250


@every_one
def test_it_agrees_on_what_was_kept_apart_more_than_a_guess_does(
    method: StealSettings, victim: nn.Module, digits: ImageData
) -> None:
    """About 150 queries are kept apart: a guess at random is right about 0.1 of them, +- 0.024."""
    settings = {"held_out": 0.1, **({"lr": 1e-3} if isinstance(method, Dast) else {})}
    method = dataclasses.replace(method, **settings)
    stolen = method(asking(victim, budget=1500), substitute(digits), seed=1)
    found = stolen.records[-1].held_out
    assert found is not None and found > 0.18


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: UniformNoise(pool=0), "pool = 0: give at least 1"),
        (lambda: UniformNoise(pool=100, memory=50), "memory = 50: give at least the pool, 100"),
        (lambda: Dast(alpha=-1), "alpha = -1"),
        (lambda: Dfme(directions=0), "directions = 0"),
        (lambda: Maze(replays=-1), "replays = -1: give 0 or more"),
        (lambda: Zsdb3kd(temperature=0), "temperature = 0"),
        (lambda: Zsdb3kd(images=1), "images = 1: give at least 2"),
        (lambda: Knockoff(surrogate=SURROGATE, epochs=0), "epochs = 0"),
        (lambda: Dfme(batch=1), "batch = 1: give at least 2"),
    ],
)
def test_settings_out_of_range_are_refused(make: Any, match: str) -> None:
    with pytest.raises(SettingsError, match=match):
        make()
