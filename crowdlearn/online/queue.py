"""What a stream shows after a batch: whom the expert should see next, and how wrong it still is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool

from crowdlearn.evaluation import error_of_names
from crowdlearn.experts.audit import certified_items
from crowdlearn.experts.belief import StreamBelief
from crowdlearn.experts.stopping import stop_items
from crowdlearn.experts.strategies import Strategy


def queue(method: Any, state: Any, chosen: Strategy) -> list[int]:
    """Items that no expert has answered, the most urgent first; of equals, the earlier one.

    `chosen` is one of `crowdlearn.experts.STRATEGIES`, or a function like them. With one that looks
    at the posterior alone this costs by the items so far, with the others by the votes.
    """
    rng = np.random.default_rng([method.seed, state.n_updates])
    free = np.flatnonzero(~answered(method, state))
    urgency = chosen(StreamBelief(method, state), rng)[free]
    found: list[int] = free[np.argsort(-urgency, kind="stable")].tolist()
    return found


def answered(method: Any, state: Any) -> Bool[np.ndarray, " item"]:
    """Which items have a gold answer, or a vote of one of the `experts` of the method."""
    found: np.ndarray = state.ledger.gold.live >= 0
    for name in getattr(method, "experts", {}):
        code = state.ledger.worker_codes.get(name, -1)
        found[state.ledger.item.live[state.ledger.worker.live == code]] = True
    return found


def n_done(state: Any, target: float, audit: Mapping[str, str] | None = None) -> int:
    """How many items need no more votes for a mean error of at most `target`.

    By `stop_items`, which trusts the posterior; where an `audit` is given (item -> class of a
    random sample that the stream has not been told), by `certified_items`. Items with a gold
    answer are done, and count as certain; so do audited ones.
    """
    answered = state.ledger.gold.live >= 0
    if audit is None:
        return int(stop_items(state.tau.live, target, answered).sum())
    code = {name: k for k, name in enumerate(state.classes)}
    known = np.array([code.get(audit.get(name, ""), -1) for name in state.items], dtype=np.int64)
    done = certified_items(state.tau.live, target, known, answered)
    return int((done | answered | (known >= 0)).sum())


def error_so_far(state: Any, truths: Mapping[str, str]) -> float | None:
    """Share of wrong labels among the items with truth, ties in parts; None where none has it."""
    return error_of_names(state.items, state.tau.live, state.classes, truths)
