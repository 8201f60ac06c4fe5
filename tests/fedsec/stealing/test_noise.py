"""Uniform noise is uniform, and its published form takes one step on each batch."""

from __future__ import annotations

import torch
from scipy.stats import kstest
from torch import nn

from fedsec.core.functional import state_of
from fedsec.stealing.noise import UniformNoise
from fedsec.stealing.oracle import ModelOracle, QueryLog


def linear() -> nn.Module:
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(
                torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
            )
    return net


def test_every_pixel_is_uniform() -> None:
    log = QueryLog(3, n_images=1000)
    oracle = ModelOracle(linear(), state_of(linear()), (1, 4, 4), 3, budget=1000, log=log)
    UniformNoise(pool=250, memory=250)(oracle, linear(), seed=0)
    assert log.images is not None
    pixels = torch.stack(log.images)
    assert kstest(pixels.flatten().numpy(), "uniform").pvalue > 0.01
    assert len(pixels.unique(dim=0)) == 1000


def test_the_published_form_is_one_step_on_each_batch() -> None:
    oracle = ModelOracle(linear(), state_of(linear()), (1, 4, 4), 3, budget=640)
    method = UniformNoise(pool=64, memory=64, batch=64, epochs=1, held_out=0)
    assert method(oracle, linear(), seed=0).substitute_steps == 10


def test_answers_are_used_again() -> None:
    oracle = ModelOracle(linear(), state_of(linear()), (1, 4, 4), 3, budget=640)
    method = UniformNoise(pool=64, memory=640, batch=16, epochs=5, held_out=0)
    assert method(oracle, linear(), seed=0).substitute_steps == 10 * 5 * 4
