"""Small clients and audits that several tests look at."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from fedsec.data.images import ImageData, load_images
from fedsec.federated.engines import Local
from fedsec.federated.local import FullGradient
from fedsec.inversion.audit import QUICK, Recipe, Scope, Subject, make_client
from fedsec.inversion.victim import Victim, classifier

DIGITS: ImageData = load_images("digits")
GRADIENT = FullGradient()
TINY = replace(
    QUICK, iterations=4, clients=0, curve_iterations=2, steps=(1,), batches=(2,),
    ladders=("top-k",), rungs=1, cost_rounds=1, cost_seeds=1,
)  # fmt: skip
"""Everything once, and without curves."""
ANALYTIC: Scope = replace(TINY, threats=("update",), attacks=("analytic",))


def dense_net(seed: int = 0) -> nn.Module:
    """One that the analytic attack inverts."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))


def victim(seed: int = 0) -> Victim:
    return classifier(dense_net(seed))


def client(n: int = 1, local: Local = GRADIENT, seed: int = 0) -> Subject:
    """With digits."""
    return make_client(victim(), DIGITS, Recipe(images=n, local=local), seed)
