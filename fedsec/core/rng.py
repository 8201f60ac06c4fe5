"""Streams of randomness, one for each (seed, purpose, round, client).

What a client draws depends on these four alone: not on who ran before it, nor on how many ran at
once. So a loop, a vmapped run, several processes and a resumed run draw the same numbers.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch

SERVER = -1  # the "client" of what the server draws


def stream(seed: int, purpose: str, round: int = 0, client: int = SERVER) -> np.random.Generator:
    """The NumPy generator of this stream. `seed`, `round` >= 0; `client` >= -1."""
    return np.random.Generator(np.random.PCG64(_sequence(seed, purpose, round, client)))


def torch_stream(
    seed: int,
    purpose: str,
    round: int = 0,
    client: int = SERVER,
    device: torch.device | str = "cpu",
) -> torch.Generator:
    """The torch generator of this stream, on a device. Devices draw different numbers."""
    words = _sequence(seed, purpose, round, client).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(words[0]))


def _sequence(seed: int, purpose: str, round: int, client: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(zlib.crc32(purpose.encode()), round, client + 1))
