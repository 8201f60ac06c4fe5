"""How many threads an attack computes with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

SMALL = 200_000  # parameters


@contextmanager
def few_threads(net: nn.Module) -> Iterator[None]:
    """One thread within it for a small network, unless OMP_NUM_THREADS says how many.

    More threads gain nothing there, and where another program needs a core they wait for each
    other: 5 to 30 times slower on two cores.
    """
    large = sum(value.numel() for value in net.parameters()) >= SMALL
    if large or "OMP_NUM_THREADS" in os.environ:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
