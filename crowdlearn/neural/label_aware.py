"""Label-aware autoencoders: votes in, a class in the middle, the same votes out.

    classifier  q(k | x) = softmax(x Wc + bc)        x: votes of an item, one-hot, 0 where none
    decoder     p(label | k, worker) = softmax over labels of (Wd[k] + bd) of that worker
    recon[i, k] = 1 / (J K) sum over votes of i of  -ln p(label | k, worker)
    loss        = mean over items of sum_k q[i, k] recon[i, k] + kl KL(q[i] || vote shares of i)
                  + penalties
With aspects, z[i] = softplus(x Wz + bz) > 0 weighs `n_aspects` classifiers and decoders:
    logits of q = sum_a z_a (x Wc_a + bc_a);   logits of p = sum_a z_a (Wd_a[k] + bd_a)
Penalties, J workers, K classes: LAA-B  l1 / (J K^2) |Wc|; with aspects  l1 / (J K^2) times the sum
of |weights and biases| of classifier and decoder, and l2 / (J n_aspects^2) / 2 times the sum of
squares of Wz and bz.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from crowdlearn.neural.batches import ItemVotes
from crowdlearn.neural.network import summed_rows

SMALL = 0.01  # standard deviation of the first weights, a normal cut at two of them
LEAST_SHARE = 1e-10  # added to vote shares inside logarithms


class LabelAware(nn.Module):
    """LAA-B (`n_aspects` 0), LAA-O (1) and LAA-L (2 or more)."""

    def __init__(
        self,
        n_workers: int,
        n_classes: int,
        n_aspects: int,
        *,
        kl: float,
        l1: float,
        l2: float,
        seed: int,
    ) -> None:
        super().__init__()
        self.n_workers, self.n_classes, self.n_aspects = n_workers, n_classes, n_aspects
        self.kl, self.l1, self.l2 = kl, l1, l2
        rng = torch.Generator().manual_seed(seed)
        width, cells = max(n_aspects, 1) * n_classes, n_workers * n_classes
        self.classifier = _small((cells, width), rng)
        self.classifier_bias = nn.Parameter(torch.zeros(width))
        self.decoder = _small((n_workers, max(n_aspects, 1), n_classes, n_classes), rng)
        self.decoder_bias = nn.Parameter(torch.zeros(n_workers, max(n_aspects, 1), n_classes))
        if n_aspects:
            self.aspects = _small((cells, n_aspects), rng)
            self.aspect_bias = nn.Parameter(torch.zeros(n_aspects))

    def forward(self, votes: ItemVotes) -> Float[Tensor, ""]:
        """The loss of all items together."""
        weight = self.aspect(votes)
        log_q = self.log_posterior(votes, weight)
        recon = -votes.sum_by_item(self.log_vote(votes, weight)) / (self.n_workers * self.n_classes)
        q = log_q.exp()
        shares = vote_shares(votes)
        off = (q * (log_q - torch.log(shares + LEAST_SHARE))).sum(1)
        free = (q * recon).sum(1) + self.kl * off
        known = functional.one_hot(votes.gold.clamp(min=0), self.n_classes).to(q.dtype)
        taught = (known * (recon - log_q)).sum(1)
        return torch.where(votes.gold >= 0, taught, free).mean() + self.penalty()

    def pretraining(self, votes: ItemVotes) -> Float[Tensor, ""]:
        """Cross-entropy of the classifier to the vote shares."""
        log_q = self.log_posterior(votes, self.aspect(votes))
        return -(vote_shares(votes) * log_q).sum(1).mean()

    def aspect(self, votes: ItemVotes) -> Float[Tensor, "item aspect"]:
        """z of every item; one without aspects has a single weight of one."""
        if not self.n_aspects:
            return self.classifier.new_ones(votes.n_items, 1)
        return functional.softplus(
            summed_rows(votes, self.aspects, sparse=False) + self.aspect_bias
        )

    def log_posterior(
        self, votes: ItemVotes, weight: Float[Tensor, "item aspect"]
    ) -> Float[Tensor, "item class"]:
        """ln q of every item."""
        each = summed_rows(votes, self.classifier, sparse=False) + self.classifier_bias
        by_aspect = each.reshape(votes.n_items, -1, self.n_classes)
        return (weight[:, :, None] * by_aspect).sum(1).log_softmax(1)

    def log_vote(
        self, votes: ItemVotes, weight: Float[Tensor, "item aspect"]
    ) -> Float[Tensor, "vote class"]:
        """ln p(label | class, worker) of every vote, on its own item."""
        logits = self._decoded()
        if not self.n_aspects:
            return logits[:, 0].log_softmax(2).transpose(1, 2)[votes.worker, votes.label]
        mixed = torch.einsum("va,vakc->vkc", weight[votes.item], logits[votes.worker])
        own = votes.label[:, None, None].expand(-1, self.n_classes, 1)
        return mixed.log_softmax(2).gather(2, own)[:, :, 0]

    def confusion(self, weight: Float[Tensor, " aspect"]) -> Float[Tensor, "worker class class"]:
        """p(label | class, worker) on an item with these aspects."""
        return torch.einsum("a,wakc->wkc", weight, self._decoded()).softmax(2)

    def penalty(self) -> Float[Tensor, ""]:
        cells = self.n_workers * self.n_classes**2
        lasso = self.classifier.abs().sum()
        if not self.n_aspects:
            return self.l1 / cells * lasso
        for other in (self.classifier_bias, self.decoder, self.decoder_bias):
            lasso = lasso + other.abs().sum()
        ridge = 0.5 * (self.aspects.square().sum() + self.aspect_bias.square().sum())
        return self.l1 / cells * lasso + self.l2 / (self.n_workers * self.n_aspects**2) * ridge

    def _decoded(self) -> Float[Tensor, "worker aspect class class"]:
        """Logits [worker, aspect, truth, label]."""
        return self.decoder + self.decoder_bias[:, :, None]


def vote_shares(votes: ItemVotes) -> Float[Tensor, "item class"]:
    """Share of an item's votes for each class; uniform where an item has no vote."""
    ones = torch.ones(len(votes.item), device=votes.item.device)
    counts = torch.zeros(votes.n_items, votes.n_classes, device=votes.item.device)
    counts.index_put_((votes.item, votes.label), ones, accumulate=True)
    total = counts.sum(1, keepdim=True)
    return torch.where(total > 0, counts / total.clamp(min=1), 1 / votes.n_classes)


def _small(shape: tuple[int, ...], rng: torch.Generator) -> nn.Parameter:
    values = torch.empty(shape)
    nn.init.trunc_normal_(values, std=SMALL, a=-2 * SMALL, b=2 * SMALL, generator=rng)
    return nn.Parameter(values)
