"""Digits among six clients; client 0 holds all the ones, and nobody else has any."""

from functools import cache

from fedsec.core.rng import stream
from fedsec.data.images import load_images
from fedsec.data.partitions import exclusive_mavericks
from fedsec.federated.task import Task
from fedsec.nets import make_net

N_CLIENTS, PER_ROUND, SEED = 6, 2, 11


@cache
def whole() -> Task:
    """The task of all clients."""
    digits = load_images("digits")
    labels = digits.train.y.numpy()
    parts = exclusive_mavericks(labels, N_CLIENTS, (1,), stream(SEED, "partition"))
    return Task(
        make_net("mlp", digits, SEED), digits.train, parts.parts, digits.test, len(digits.classes)
    )


def of_client(client: int) -> Task:
    """What Ray's workers call, each in its own process."""
    return whole()
