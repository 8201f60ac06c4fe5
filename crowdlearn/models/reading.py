"""The end of every story: votes given truths, with the truths summed out exactly.

A story draws its continuous parameters, then says what a vote is worth under each possible state of
its item, and calls `marginalise`. An item's state is its class, or class and subtype. Summing the
states out leaves a smooth density for NUTS and for variational inference; the posterior of the
states is recovered exactly from what `marginalise` returns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from crowdlearn.models.data import VoteData

IMPOSSIBLE = -1e30  # a log probability that never wins, and whose gradient is not nan
LEAST = 1e-30  # the least probability that is told from 0


class Reading(NamedTuple):
    """What the votes say of the items under one draw of the parameters. All in nats.

    State `s` of an item belongs to class `s // (n_states / n_classes)`.
    """

    log_prior: Float[Array, "item state"]  # of each item's state, before its votes; gold clamps it
    log_vote: Float[Array, "vote state"]  # of each vote's label, given its item's state

    def evidence(self, data: VoteData) -> Float[Array, "item state"]:
        """Log joint probability of each item's state and its votes."""
        weighted = self.log_vote * data.weight[:, None]
        return self.log_prior + jax.ops.segment_sum(
            weighted, data.item, data.n_here, indices_are_sorted=True
        )

    def truth(self, data: VoteData) -> Float[Array, "item class"]:
        """Posterior of each item's class, given the parameters."""
        states = jax.nn.softmax(self.evidence(data), axis=1)
        return states.reshape(data.n_here, data.n_classes, -1).sum(axis=2)


def marginalise(
    data: VoteData,
    log_prior: Float[Array, "#item state"] | Float[Array, " state"],
    log_vote: Float[Array, "vote state"],
) -> Reading:
    """Add the log likelihood of the votes to the story, every item's state summed out.

    A batch counts for the whole set: its log likelihood is scaled by `data.scale`. The story must
    return what this returns.
    """
    each = jnp.broadcast_to(log_prior, (data.n_here, log_vote.shape[1]))
    state_class = jnp.arange(log_vote.shape[1]) // (log_vote.shape[1] // data.n_classes)
    open_to = (data.gold[:, None] < 0) | (data.gold[:, None] == state_class)
    reading = Reading(jnp.where(open_to, each, IMPOSSIBLE), log_vote)
    numpyro.factor("votes", data.scale * logsumexp(reading.evidence(data), axis=1).sum())
    return reading


def log_of(probability: Float[Array, " *entry"]) -> Float[Array, " *entry"]:
    """Logarithm of a probability that may have been rounded to 0; never infinite."""
    return jnp.log(jnp.maximum(probability, LEAST))


def of_worker(
    data: VoteData, table: Float[Array, "worker state label"]
) -> Float[Array, "vote state"]:
    """What a table of every worker says of each vote's label, under each state of its item."""
    return table.transpose(0, 2, 1)[data.worker, data.label]


def label_of(data: VoteData, table: Float[Array, "vote state label"]) -> Float[Array, "vote state"]:
    """What a table of every vote says of its label, under each state of its item."""
    return jnp.take_along_axis(table, data.label[:, None, None], axis=2)[:, :, 0]


Story = Callable[..., Reading]
"""`story(data: VoteData, *, hyperparameters) -> Reading`."""
