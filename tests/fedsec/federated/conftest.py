"""Small federations on real digits."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fedsec.core.rng import stream
from fedsec.data.images import ImageData
from fedsec.data.partitions import exclusive_mavericks, iid
from fedsec.federated.task import Task
from fedsec.nets import make_net


@pytest.fixture(scope="session")
def make_task(digits: ImageData) -> Callable[..., Task]:
    """(network, clients, Mavericks) -> a task on digits."""

    def make(net: str = "linear", n_clients: int = 12, mavericks: tuple[int, ...] = ()) -> Task:
        labels, rng = digits.train.y.numpy(), stream(0, "partition")
        parts = (
            exclusive_mavericks(labels, n_clients, mavericks, rng)
            if mavericks
            else iid(labels, n_clients, rng)
        )
        made = make_net(net, digits, 0)
        return Task(made, digits.train, parts.parts, digits.test, len(digits.classes))

    return make
