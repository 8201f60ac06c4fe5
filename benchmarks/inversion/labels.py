"""How often are labels read off a gradient?

Of every network of the table: untrained, and after two epochs on the training set. The rate is the
share of labels that are right, as a multiset.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.inversion.cells import Key, Row
from benchmarks.inversion.clients import drawn, gradient_at, images_of, net_of
from fedsec.core.rng import torch_stream
from fedsec.inversion.labels import recover_labels
from fedsec.inversion.victim import classifier
from fedsec.nets import NETS

BATCHES = {"1": (1, False), "8, distinct labels": (8, True), "8": (8, False), "32": (32, False)}
STATES = ("untrained", "two epochs")
N_NETS = 5  # untrained ones; a trained one is one
EPOCHS, BATCH, LR = 2, 32, 1e-3
MOST = 5_000  # images of an epoch


def keys(given: Any) -> list[Key]:
    """A cell a data set, network, state and kind of batch."""
    return [
        {"data": data, "net": net, "state": state, "batch": batch, "draws": given.draws}
        for data in given.label_data for net in NETS for state in STATES for batch in BATCHES
    ]  # fmt: skip


def cell(key: Key) -> Row:
    """Shares of labels and of whole batches that are right, over the draws."""
    data = images_of(key["data"])
    n, distinct = BATCHES[key["batch"]]
    right, whole = [], []
    for draw in range(key["draws"]):
        net = (
            _trained(key["data"], key["net"])
            if key["state"] == STATES[1]
            else net_of(key["net"], data, draw % N_NETS)
        )
        images = drawn(data, n, draw, distinct)
        victim = classifier(net)
        shape = tuple(images.x.shape[1:])
        found = recover_labels(victim, gradient_at(victim, images), n, shape).labels
        common = Counter(found.tolist()) & Counter(images.y.tolist())
        right.append(common.total() / n)
        whole.append(common.total() == n)
    return {"labels": float(np.mean(right)), "batches": float(np.mean(whole))}


@cache
def _trained(data: str, name: str) -> nn.Module:
    images = images_of(data)
    net = net_of(name, images, 0)
    adam = torch.optim.Adam(net.parameters(), lr=LR)
    order = torch_stream(0, "training")
    n = min(MOST, len(images.train))
    for _ in range(EPOCHS):
        for ids in torch.randperm(len(images.train), generator=order)[:n].split(BATCH):
            adam.zero_grad()
            cross_entropy(net(images.train.x[ids]), images.train.y[ids]).backward()
            adam.step()
    return net.eval()


def summary(rows: list[Row]) -> dict[str, Any]:
    """The rows, and the lowest rate of each kind of batch on untrained networks."""
    untrained = [row for row in rows if row["state"] == STATES[0]]
    return {
        "table": rows,
        "lowest of untrained networks": {
            batch: min(row["labels"] for row in untrained if row["batch"] == batch)
            for batch in BATCHES
        },
    }
