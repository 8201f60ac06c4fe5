"""What does the loop cost beside a plain PyTorch loop that does the same? One process, in turn.

MEGA       pools of 2000 on digits: make images, ask, ten epochs of the copy, one of the generator
TandemGAN  iterations of six batches of 64: one step of each half of the generator, five of the copy

The plain loops hold modules, optimisers and nothing else: no oracle, count, record or checkpoint.
Both do the same number of steps on the same sizes; the median of the ratios of several turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.inversion.cells import Key, Row
from benchmarks.stealing_parts.victims import copy_of, data_of, victim_of
from fedsec.core.functional import state_of
from fedsec.stealing.attack import StealSettings, Watch
from fedsec.stealing.generators import Generator, make_generator
from fedsec.stealing.mega import Mega
from fedsec.stealing.oracle import ModelOracle
from fedsec.stealing.tandem import Tandem

SHAPE, LATENT = (1, 8, 8), 32
POOL, EPOCHS, BATCH, ITERATIONS = 2000, 10, 200, 3
TANDEM_BATCH, TANDEM_ITERATIONS = 64, 30
TURNS = 5


def keys(given: Any) -> list[Key]:
    """One method each."""
    base = {"data": "digits", "net": "cnn-bn", "limit": 0, "test": 0, "seed": 0,
            "device": given.device}  # fmt: skip
    return [{**base, "what": what} for what in ("mega", "tandemgan")]


def cell(key: Key) -> Row:
    """Seconds of both loops, turn by turn."""
    net, state = victim_of(key)
    n_classes = len(data_of(key).classes)
    copy, generator = copy_of(key), make_generator(SHAPE, LATENT, 0).to(key["device"])
    mega = key["what"] == "mega"
    method: StealSettings
    if mega:
        method = Mega(
            pool=POOL, batch=BATCH, latent=LATENT, warm_epochs=EPOCHS, s_epochs=EPOCHS, held_out=0,
            iterations=ITERATIONS, max_rounds=0,
        )  # fmt: skip
    else:
        method = Tandem(batch=TANDEM_BATCH, latent=LATENT, iterations=TANDEM_ITERATIONS, held_out=0)
    plain = plain_mega if mega else plain_tandem

    def ours() -> int:
        oracle = ModelOracle(net, state, SHAPE, n_classes)
        method(oracle, copy, seed=0, watch=Watch(every=10**9))
        return oracle.queries

    start = state_of(copy), state_of(generator)

    def theirs() -> int:
        for module, before in zip((copy, generator), start, strict=True):
            module.load_state_dict({**before.parameters, **before.buffers})
        return plain(net, copy, generator)

    took: dict[str, list[float]] = {"ours": [], "plain": []}
    asked: dict[str, int] = {}
    for turn in range(TURNS + 1):
        for name, loop in (("ours", ours), ("plain", theirs)):
            seconds, asked[name] = _timed(loop)
            if turn:  # the first warms up
                took[name].append(seconds)
    return {"seconds": took, "queries": asked}


def plain_mega(victim: nn.Module, copy: nn.Module, generator: Generator) -> int:
    """MEGA as a script; returns the queries."""
    by_s = torch.optim.RMSprop(copy.parameters(), lr=1e-3, foreach=True)
    by_g = torch.optim.RMSprop(generator.parameters(), lr=1e-5, foreach=True)
    device = next(copy.parameters()).device
    z = torch.randn(POOL, LATENT, device=device)
    generator.train()
    for _ in range(ITERATIONS):
        with torch.no_grad():
            x = torch.cat([generator(part) for part in z.split(1000)])
            y = victim(x).argmax(dim=1)
        copy.train()
        for _ in range(EPOCHS):
            for rows in torch.randperm(POOL, device=device).split(BATCH):
                by_s.zero_grad()
                cross_entropy(copy(x[rows]), y[rows]).backward()
                by_s.step()
        copy.eval()
        for rows in torch.randperm(POOL, device=device).split(BATCH):
            by_g.zero_grad()
            loss = -copy(generator(z[rows])).log_softmax(dim=1).amax(dim=1).mean()
            loss.backward(inputs=list(generator.parameters()))
            by_g.step()
    return POOL * ITERATIONS


def plain_tandem(victim: nn.Module, copy: nn.Module, generator: Generator) -> int:
    """TandemGAN for labels as a script; returns the queries."""
    by_s = torch.optim.RMSprop(copy.parameters(), lr=1e-3, foreach=True)
    by_x = torch.optim.RMSprop(generator.explore.parameters(), lr=1e-5, foreach=True)
    by_e = torch.optim.RMSprop(generator.exploit.parameters(), lr=1e-6, foreach=True)
    device = next(copy.parameters()).device
    generator.train()
    for _ in range(TANDEM_ITERATIONS):
        copy.eval()
        x = generator(torch.randn(TANDEM_BATCH, LATENT, device=device))
        with torch.no_grad():
            y = victim(x).argmax(dim=1)
        by_x.zero_grad()
        (-cross_entropy(copy(x), y)).backward(inputs=list(generator.explore.parameters()))
        by_x.step()
        with torch.no_grad():
            features = generator.explore(torch.randn(TANDEM_BATCH, LATENT, device=device))
        logits = copy(generator.activation(generator.exploit(features)))
        by_e.zero_grad()
        loss = -logits.log_softmax(dim=1).amax(dim=1).mean()
        loss.backward(inputs=list(generator.exploit.parameters()))
        by_e.step()
        copy.train()
        for _ in range(5):
            with torch.no_grad():
                x = generator(torch.randn(TANDEM_BATCH, LATENT, device=device))
                y = victim(x).argmax(dim=1)
            by_s.zero_grad()
            cross_entropy(copy(x), y).backward()
            by_s.step()
    return 6 * TANDEM_BATCH * TANDEM_ITERATIONS


def summary(rows: list[Row]) -> dict[str, Any]:
    """Queries a second, seconds an iteration, and plain over ours."""
    found = []
    for row in rows:
        seconds, n = row["seconds"], ITERATIONS if row["what"] == "mega" else TANDEM_ITERATIONS
        ratios = [plain / ours for ours, plain in zip(*seconds.values(), strict=True)]
        found.append({
            "method": row["what"], "turns": len(ratios), "ratio": float(np.median(ratios)),
            **{f"{name}, {what}": float(value)
               for name in seconds
               for what, value in (
                   ("queries a second", row["queries"][name] / np.median(seconds[name])),
                   ("seconds an iteration", np.median(seconds[name]) / n))},
        })  # fmt: skip
    return {"table": found}


def _timed(loop: Callable[[], int]) -> tuple[float, int]:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    asked = loop()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started, asked
