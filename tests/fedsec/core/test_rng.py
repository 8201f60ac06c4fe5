"""Streams depend on seed, purpose, round and client, and on nothing else."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from fedsec.core.rng import stream, torch_stream

PLACES = list(itertools.product((0, 1), ("batches", "defence"), (0, 1, 2), (-1, 0, 1)))


def test_a_stream_is_the_same_each_time() -> None:
    for seed, purpose, round, client in PLACES:
        one, two = (stream(seed, purpose, round, client).random(4) for _ in range(2))
        np.testing.assert_array_equal(one, two)
        first, second = (
            torch.rand(4, generator=torch_stream(seed, purpose, round, client)) for _ in range(2)
        )
        assert torch.equal(first, second)


def test_no_two_streams_are_the_same() -> None:
    drawn = {float(stream(*place).random()) for place in PLACES}
    drawn_by_torch = {
        float(torch.rand(1, generator=torch_stream(*place), dtype=torch.float64))
        for place in PLACES
    }
    assert len(drawn) == len(drawn_by_torch) == len(PLACES)


def test_drawing_leaves_the_global_generators_alone() -> None:
    before = torch.random.get_rng_state()
    torch_stream(0, "x").initial_seed()
    assert torch.equal(torch.random.get_rng_state(), before)
