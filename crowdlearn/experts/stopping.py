"""When to stop asking about an item, and where not, whom to ask next."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import factorial

import numpy as np
from jaxtyping import Bool, Float, Int, Int8

from crowdlearn.errors import SettingsError
from crowdlearn.experts.expected import check_expert

STOP, VOTE, EXPERT = 0, 1, 2
AT_ONCE = 1 << 22  # numbers held at once


def stop_items(
    posterior: Float[np.ndarray, "item class"],
    target: float,
    stopped: Bool[np.ndarray, " item"] | None = None,
) -> Bool[np.ndarray, " item"]:
    """Which items need no more votes so that their labels' mean error stays at most `target`.

    The surest items stop, as many as keep the mean of 1 - max posterior over all stopped items at
    or under `target`; those that have `stopped` before stay so, and count.

    Guarantee: given the votes, the expected share of wrong labels among the stopped items IS that
    mean, if the posterior is that of the model that made the votes. Posteriors do not depend on why
    one stopped, so it holds however often the rule is applied while votes come in. A model whose
    posteriors are too sure breaks it by as much as they are: `benchmarks/results/stopping.md` has
    what that is on real votes, and `certified_items` a promise that does not lean on the model.

    Raises SettingsError for a target outside 0 to 1.
    """
    check_target(target)
    doubt = 1 - posterior.max(axis=1)
    stop = np.zeros(len(doubt), dtype=np.bool_) if stopped is None else stopped.copy()
    open_items = np.flatnonzero(~stop)
    order = open_items[np.argsort(doubt[open_items], kind="stable")]
    total = doubt[stop].sum() + np.cumsum(doubt[order])
    within = total <= target * (stop.sum() + np.arange(1, len(order) + 1)) + 1e-12
    last = np.flatnonzero(within)
    stop[order[: last[-1] + 1 if len(last) else 0]] = True
    return stop


def check_target(target: float) -> None:
    """Raises SettingsError for what is not an error rate."""
    if not 0 <= target <= 1:
        raise SettingsError(f"the target error is from 0 to 1, not {target!r}")


@dataclass(frozen=True, eq=False)
class NextStep:
    """For every item an action (0 stop, 1 one more vote, 2 the expert), and from whom.

    `worker` is -1 where no vote is asked for. `gain` is what the step is expected to save beyond
    its cost, 0 where stopping is best. For a step that pays only with others it is theirs, a step.
    """

    action: Int8[np.ndarray, " item"]
    worker: Int[np.ndarray, " item"]
    gain: Float[np.ndarray, " item"]


def next_step(
    posterior: Float[np.ndarray, "item class"],
    confusion: Float[np.ndarray, "worker class class"],
    *,
    error_cost: float,
    vote_cost: float | Float[np.ndarray, " worker"] = 1.0,
    expert_cost: float | None = None,
    expert: Float[np.ndarray, "class class"] | None = None,
    horizon: int = 3,
    voted: Bool[np.ndarray, "item worker"] | None = None,
) -> NextStep:
    """Stop, one more vote, or the expert: what saves most, for every item on its own.

    A wrong label costs `error_cost`, a vote `vote_cost` (one for all workers or each their own), an
    answer of the expert `expert_cost` (None: there is no expert), all in one currency. `confusion`
    has the workers' rows [truth, label], `expert` the expert's (None: never errs). A single vote
    often cannot change a label where three together would: up to `horizon` votes from workers like
    this one are looked ahead, exactly over all that they may say, and the best mean net gain a vote
    counts. Workers who have `voted` on an item are not asked again.

    Raises SettingsError for costs below 0 or a horizon below 1.
    """
    costs = np.broadcast_to(np.asarray(vote_cost, dtype=float), (len(confusion),))
    if min(error_cost, expert_cost or 0.0, costs.min(initial=0.0)) < 0 or horizon < 1:
        raise SettingsError("costs must be at least 0, and horizon at least 1")
    doubt = 1 - posterior.max(axis=1)
    net = np.full((len(posterior), len(confusion)), -np.inf)
    for n in range(1, horizon + 1):
        saved = error_cost * (doubt[:, None] - doubt_after(posterior, confusion, n))
        net = np.maximum(net, saved / n - costs)
    if voted is not None:
        net[voted] = -np.inf
    worker = net.argmax(axis=1) if len(confusion) else np.full(len(posterior), -1)
    by_vote = net.max(axis=1, initial=-np.inf)
    by_expert = np.full(len(posterior), -np.inf)
    if expert_cost is not None:
        rows = np.eye(posterior.shape[1]) if expert is None else expert
        check_expert(rows, posterior.shape[1])
        left = doubt_after(posterior, rows[None], 1)[:, 0]
        by_expert = error_cost * (doubt - left) - expert_cost
    action = np.argmax([np.full(len(doubt), 1e-12), by_vote, by_expert], axis=0).astype(np.int8)
    gain = np.choose(action, [np.zeros(len(doubt)), by_vote, by_expert])
    return NextStep(action, np.where(action == VOTE, worker, -1), gain)


def doubt_after(
    posterior: Float[np.ndarray, "item class"],
    confusion: Float[np.ndarray, "worker class class"],
    n_votes: int,
) -> Float[np.ndarray, "item worker"]:
    """Expected probability of a wrong label after `n_votes` votes of a worker with these rows.

    Exact over all that the votes may say: sum over outcomes of the largest joint probability.
    """
    n_items, n_classes = posterior.shape
    right = np.zeros((n_items, len(confusion)))
    step = max(AT_ONCE // max(len(confusion) * n_classes, 1), 1)
    for said in combinations_with_replacement(range(n_classes), n_votes):
        ways = factorial(n_votes)
        for label in set(said):
            ways //= factorial(said.count(label))
        chance = ways * np.prod([confusion[:, :, label] for label in said], axis=0)
        for first in range(0, n_items, step):
            part = posterior[first : first + step, None, :] * chance
            right[first : first + step] += part.max(axis=2)
    return 1 - right
