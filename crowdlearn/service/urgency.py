"""Where items stand in the queues: minus the urgency that the project's strategy gives them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from crowdlearn.experts import STRATEGIES, entropy, least_confident, margin
from crowdlearn.experts.belief import StreamBelief
from crowdlearn.service.fold import Outcome, Running

BY_POSTERIOR: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "entropy": entropy,
    "margin": margin,
    "least-confident": least_confident,
}
STRATEGY_NAMES = (*BY_POSTERIOR, "information", "error-reduction", "random")


def initial_rank(strategy: str, n_classes: int) -> float:
    """Of an item without votes. What asks how votes bear on each other puts it last."""
    if strategy not in BY_POSTERIOR:
        return 0.0
    return -float(BY_POSTERIOR[strategy](np.full((1, n_classes), 1 / n_classes))[0])


def ranks(strategy: str, running: Running, outcome: Outcome) -> Float[np.ndarray, " item"]:
    """Of the items that a fold changed."""
    if strategy in BY_POSTERIOR:
        return -BY_POSTERIOR[strategy](outcome.posterior)
    rng = np.random.default_rng([running.number])
    if strategy == "random":
        return -rng.random(len(outcome.item))
    codes = running.state.ledger.item_codes
    places = np.array([codes.get(str(item), -1) for item in outcome.item.tolist()], dtype=np.int64)
    urgency = np.zeros(len(places))
    if running.state.n_votes:
        every = STRATEGIES[strategy](StreamBelief(running.method, running.state), rng)
        urgency[places >= 0] = every[places[places >= 0]]
    return -urgency
