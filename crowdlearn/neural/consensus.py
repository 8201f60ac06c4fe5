"""The consensus of a network q(t | votes) and a guide p(votes, t), as one loss.

    loss = mean over items of  beta KL(q || p(t)) - sum over k of q(k) ln p(votes | t = k)

With beta = 1 it is minus the evidence lower bound: KL(q || p(t | votes)) - ln p(votes). The sum
over classes is exact. A gold item's truth is given: the network is taught it (cross-entropy), and
the guide explains its votes under it alone.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from crowdlearn.neural.batches import ItemVotes

READOUTS = ("guide", "network")


class Consensus(nn.Module):
    """A network and its guide, trained together."""

    def __init__(
        self, network: nn.Module, guide: Any, log_prior: Float[Tensor, " class"], beta: float
    ) -> None:
        super().__init__()
        self.network, self.guide, self.beta = network, guide, beta
        self.register_buffer("log_prior", log_prior)
        self.log_prior: Tensor

    def forward(self, votes: ItemVotes) -> Float[Tensor, ""]:
        """The loss, in nats an item."""
        log_q = self.network(votes).log_softmax(1)
        log_votes = votes.sum_by_item(self.guide.log_vote(votes))
        return consensus_loss(log_q, log_votes, self.log_prior, self.beta, votes.gold)

    @torch.no_grad()
    def log_posterior(self, votes: ItemVotes, readout: str) -> Float[Tensor, "item class"]:
        """By the network, or by the guide with all classes equally likely (as released)."""
        if readout == "network":
            return self.network(votes).log_softmax(1)
        return votes.sum_by_item(self.guide.log_vote(votes)).log_softmax(1)


def consensus_loss(
    log_q: Float[Tensor, "item class"],
    log_votes: Float[Tensor, "item class"],
    log_prior: Float[Tensor, " class"],
    beta: float,
    gold: Tensor,
) -> Float[Tensor, ""]:
    """Mean loss of the items; `log_votes` is ln p(votes of the item | class)."""
    q = log_q.exp()
    free = (q * (beta * (log_q - log_prior) - log_votes)).sum(1)
    known = functional.one_hot(gold.clamp(min=0), log_q.shape[1]).to(q.dtype)
    taught = -(known * (log_votes + log_q)).sum(1)
    return torch.where(gold >= 0, taught, free).mean()
