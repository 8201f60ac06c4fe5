"""A small crowd as tensors, in double precision where gradients are checked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crowdlearn.neural.batches import DeviceVotes, ItemVotes
from crowdlearn.simulate import World, dawid_skene

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def crowd() -> World:
    """40 items, 6 workers, 3 classes."""
    return dawid_skene(40, 6, 3, seed=4)


@pytest.fixture(scope="session")
def batch(crowd: World) -> ItemVotes:
    """Nine of its items, out of order; one is gold."""
    gold = np.full(40, -1)
    gold[7] = 2
    here = DeviceVotes.on(CPU, crowd.votes, gold)
    return here.batch(torch.tensor([3, 30, 7, 0, 12, 39, 1, 2, 20]))
