"""The end of every Pyro story: the votes, with the items' states summed out exactly.

As `crowdlearn.models.reading`, in torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pyro
import torch
from jaxtyping import Float
from torch import Tensor

from crowdlearn.models_pyro.data import VoteData

IMPOSSIBLE = -1e30  # a log probability that never wins, and whose gradient is not nan
LEAST = 1e-30  # the least probability that is told from 0


class Reading(NamedTuple):
    """What the votes say of the items under one draw of the parameters. All in nats."""

    log_prior: Float[Tensor, "item state"]  # of each item's state, before its votes; gold clamps it
    log_vote: Float[Tensor, "vote state"]  # of each vote's label, given its item's state

    def evidence(self, data: VoteData) -> Float[Tensor, "item state"]:
        """Log joint probability of each item's state and its votes."""
        return self.log_prior.index_add(0, data.item, self.log_vote)

    def truth(self, data: VoteData) -> Float[Tensor, "item class"]:
        """Posterior of each item's class, given the parameters."""
        states = self.evidence(data).softmax(1)
        return states.reshape(data.n_here, data.n_classes, -1).sum(2)


def marginalise(
    data: VoteData, log_prior: Float[Tensor, " state"], log_vote: Float[Tensor, "vote state"]
) -> Reading:
    """Add the log likelihood of the votes to the story, scaled to the whole set."""
    n_states = log_vote.shape[1]
    state_class = torch.arange(n_states, device=log_vote.device) // (n_states // data.n_classes)
    open_to = (data.gold[:, None] < 0) | (data.gold[:, None] == state_class)
    each = torch.where(open_to, log_prior.expand(data.n_here, n_states), IMPOSSIBLE)
    reading = Reading(each, log_vote)
    pyro.factor("votes", data.scale * reading.evidence(data).logsumexp(1).sum())
    return reading


def log_of(probability: Float[Tensor, ...]) -> Float[Tensor, ...]:
    """Logarithm of a probability that may have been rounded to 0; never infinite."""
    return probability.clamp(min=LEAST).log()


def of_worker(
    data: VoteData, table: Float[Tensor, "worker state label"]
) -> Float[Tensor, "vote state"]:
    """What a table of every worker says of each vote's label, under each state of its item."""
    return table.transpose(1, 2)[data.worker, data.label]


Story = Callable[..., Reading]
"""`story(data: VoteData, *, hyperparameters) -> Reading`."""
