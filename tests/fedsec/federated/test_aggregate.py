"""One model of many."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from fedsec.core.functional import State
from fedsec.core.record import Update
from fedsec.federated.aggregate import apply_updates, by_samples, uniform, weighted_mean

STATE = State({"w": torch.tensor([1.0, 2.0])}, {"seen": torch.tensor(0), "m": torch.tensor(0.0)})


def updates(kind: str = "delta") -> list[Update]:
    """Two clients, the second with three times as many samples."""
    return [
        Update(
            kind=kind,
            tensors={"w": torch.tensor(delta)},
            round=1,
            client=k,
            n=n,
            buffers={"seen": torch.tensor(seen), "m": torch.tensor(float(seen))},
        )  # fmt: skip
        for k, (delta, n, seen) in enumerate([([1.0, 0.0], 10, 4), ([0.0, 2.0], 30, 8)])
    ]


def test_samples_weigh() -> None:
    assert by_samples(updates()) == [0.25, 0.75]
    assert uniform(updates()) == [0.5, 0.5]
    found = apply_updates(STATE, updates(), by_samples)
    assert_close(found.parameters["w"], torch.tensor([1.25, 3.5]))
    assert_close(found.buffers, {"seen": torch.tensor(7), "m": torch.tensor(7.0)})


def test_of_gradients_a_step_is_taken() -> None:
    found = apply_updates(STATE, updates("gradient"), uniform, 0.1)
    assert_close(found.parameters["w"], torch.tensor([0.95, 1.9]))


def test_nothing_came_nothing_changes() -> None:
    assert apply_updates(STATE, [], by_samples) is STATE
    assert weighted_mean([], []) == {}
