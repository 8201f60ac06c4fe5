"""What clients reply to a strategy, checked at the door: who they are, a probe, an update."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import Message
from jaxtyping import Int
from torch import Tensor

from fedsec.core.record import Update
from fedsec.errors import DataError, UpdateError
from fedsec.federated.flower.records import SAMPLES, arrays_of, change
from fedsec.federated.rounds import Probe

Replies = Mapping[int, Message]
"""Node -> its reply; a node that did not reply is not there."""


def by_node(replies: Iterable[Message]) -> Replies:
    """The replies by the node they come from."""
    return {one.metadata.src_node_id: one for one in replies}


def introduced(
    nodes: Sequence[int], replies: Replies
) -> tuple[list[int], Int[np.ndarray, "client class"]]:
    """The node of each client, and the label counts.

    Raises DataError where a node does not tell them, or what they tell does not fit together.
    """
    found: dict[int, tuple[int, list[int]]] = {}
    for node in nodes:
        if fault := fault_of(replies.get(node)):
            raise DataError(
                f"node {node} does not tell who it is and which labels it holds: {fault}; a"
                " ClientApp does by report_label_counts"
            )
        told = metrics_of(replies.get(node))
        client, counts = int(told["client"]), [int(n) for n in told["counts"]]
        if not 0 <= client < len(nodes) or client in found:
            raise DataError(
                f"node {node} says that it is client {client}: give the {len(nodes)} nodes the"
                f" partition-ids 0 to {len(nodes) - 1}, one each"
            )
        if not sum(counts) or min(counts) < 0:
            raise DataError(f"client {client} tells label counts {counts}: it needs a sample")
        found[client] = node, counts
    ordered = [found[client] for client in range(len(nodes))]
    widths = {len(counts) for _, counts in ordered}
    if len(widths) > 1:
        raise DataError(f"clients count {sorted(widths)} classes: they must be the same ones")
    return [node for node, _ in ordered], np.array([counts for _, counts in ordered], np.int64)


def probe_of(reply: Message | None, client: int, number: int) -> Probe:
    """Loss and accuracy of the model at a client. Raises DataError where the reply has none."""
    where = f"client {client}, round {number}"
    if fault := fault_of(reply):
        raise DataError(f"{where}: it does not answer the probe: {fault}")
    told = metrics_of(reply)
    if "loss" not in told or "accuracy" not in told:
        raise DataError(
            f"{where}: its evaluate handler gives {', '.join(told) or 'nothing'}, where the"
            " selector asks for loss and accuracy"
        )
    return Probe(float(told["loss"]), float(told["accuracy"]))


def update_of(
    reply: Message | None, sent: Mapping[str, Tensor], client: int, number: int
) -> Update:
    """What the client changed. Raises UpdateError where it failed, or sent what is not finite."""
    fault = fault_of(reply)
    if reply is None or fault:
        raise UpdateError(f"client {client}, round {number}: {fault}")
    n = int(metrics_of(reply).get(SAMPLES, 0))
    return change(sent, arrays_of(reply.content), number=number, client=client, n=n).checked()


def metrics_of(reply: Message | None) -> Mapping[str, Any]:
    """The first record of metrics; empty where there is none."""
    if reply is None or reply.has_error():
        return {}
    return next(iter(reply.content.metric_records.values()), {})


def fault_of(reply: Message | None) -> str:
    """What went wrong; empty where nothing did."""
    if reply is None:
        return "it did not reply"
    return f"it failed: {reply.error.reason}" if reply.has_error() else ""
