"""The calls of a pass as tasks on a Ray cluster: a lost one is done again elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from crowdlearn.shards.cluster import connect, got, ray
from crowdlearn.shards.each import Each

FOR_EACH_CORE = 2  # tasks begun: the next one waits where the one before ends


def on_ray(device: str) -> Each:
    """`Each` on the cluster that `device` names; see `cluster.connect`.

    Of the calls, at most two for each core have begun and not ended. After an error, or where no
    more results are asked for, these are cancelled and waited for.
    """

    def each(function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        connect(device)
        task = ray.remote(num_cpus=1)(function)
        most = max(int(ray.cluster_resources().get("CPU", 1)), 1) * FOR_EACH_CORE
        sent: dict[int, Any] = {}
        begun: deque[Any] = deque()
        try:
            for call in calls:
                if len(begun) >= most:
                    yield got(begun.popleft())
                begun.append(task.remote(*(_sent(one, sent) for one in call)))
            while begun:
                yield got(begun.popleft())
        finally:
            for one in begun:
                ray.cancel(one)
            if begun:
                ray.wait(list(begun), num_returns=len(begun))

    return each


def _sent(one: Any, sent: dict[int, Any]) -> Any:
    """What all calls share travels once."""
    if isinstance(one, str | int):
        return one
    if id(one) not in sent:
        sent[id(one)] = ray.put(one)
    return sent[id(one)]
