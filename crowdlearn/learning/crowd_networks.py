"""Networks trained on the votes themselves: the crowd layer, and CoNAL. Baselines.

CrowdLayer  A classifier's probabilities p go through a matrix of each worker's, started at the
            identity; the loss is the cross-entropy of each vote under softmax(M_w p). Rodrigues and
            Pereira (2018), Deep learning from crowds, AAAI; the matrix form.
CoNAL       A vote comes with probability omega from a confusion matrix that all share, else from
            the worker's own; omega is a sigmoid of the product of an embedding of the features and
            one of the worker. Loss: cross-entropy of the votes, minus `weight` times the distance
            of the workers' matrices from the shared one. Chu, Ma and Wang (2021), Learning from
            crowds by modeling common confusions, AAAI.
Departures  One hidden layer over given features, as Rodrigues and Pereira's LabelMe network (128
            units, dropout 0.5); Adam; a fixed number of epochs. The mixture of CoNAL is of
            probabilities, as in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from crowdlearn.errors import VotesError
from crowdlearn.learning.network import (
    FittedNetwork,
    Scaled,
    batches,
    optimiser,
    perceptron,
    seeded,
)
from crowdlearn.votes import Votes

FIRM = 6.0  # logit on the diagonal of CoNAL's matrices at the start
N_EMBEDDED = 20  # numbers an item and a worker are embedded in


class NoiseModel(nn.Module):
    """From class probabilities to log probabilities of the label of a worker."""

    def apart(self) -> torch.Tensor:
        """How far workers' matrices are from what they share; 0 without such."""
        return torch.zeros(())


@dataclass(frozen=True, kw_only=True)
class CrowdLayer:
    """Settings of the crowd layer."""

    name: ClassVar[str] = "crowd-layer"

    n_hidden: int = 128
    dropout: float = 0.5
    learning_rate: float = 1e-3
    batch_size: int = 64
    n_epochs: int = 50
    seed: int = 0

    def fit(self, votes: Votes, features: Float[np.ndarray, "item feature"]) -> FittedNetwork:
        """The classifier under the workers' layers. Raises VotesError for too few feature rows."""
        return _train(self, votes, features, 0.0)

    def head(self, votes: Votes, n_features: int) -> NoiseModel:
        return _WorkerLayer(votes)


@dataclass(frozen=True, kw_only=True)
class Conal:
    """Settings of CoNAL; `weight` pulls the workers' matrices away from the shared one."""

    name: ClassVar[str] = "conal"

    n_hidden: int = 128
    dropout: float = 0.5
    learning_rate: float = 1e-3
    batch_size: int = 64
    n_epochs: int = 50
    weight: float = 1e-5
    seed: int = 0

    def fit(self, votes: Votes, features: Float[np.ndarray, "item feature"]) -> FittedNetwork:
        """The classifier under the two noise models. Raises VotesError as CrowdLayer does."""
        return _train(self, votes, features, self.weight)

    def head(self, votes: Votes, n_features: int) -> NoiseModel:
        return _CommonConfusion(votes, n_features)


class _WorkerLayer(NoiseModel):
    """[worker, label, class] scores of labels; the identity at first."""

    def __init__(self, votes: Votes) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.eye(votes.n_classes).repeat(votes.n_workers, 1, 1))

    def forward(self, x: torch.Tensor, p: torch.Tensor, worker: torch.Tensor) -> torch.Tensor:
        scores = torch.einsum("vlk,vk->vl", self.table[worker], p)
        return torch.log_softmax(scores, dim=1)


class _CommonConfusion(NoiseModel):
    """Shared and own confusion matrices, mixed by item and worker."""

    def __init__(self, votes: Votes, n_features: int) -> None:
        super().__init__()
        start = FIRM * torch.eye(votes.n_classes)
        self.shared = nn.Parameter(start.clone())
        self.own = nn.Parameter(start.repeat(votes.n_workers, 1, 1))
        self.item = nn.Linear(n_features, N_EMBEDDED)
        self.worker = nn.Embedding(votes.n_workers, N_EMBEDDED)

    def forward(self, x: torch.Tensor, p: torch.Tensor, worker: torch.Tensor) -> torch.Tensor:
        item, person = self.item(x), self.worker(worker)
        unit = nn.functional.normalize
        common = torch.sigmoid((unit(item, dim=1) * unit(person, dim=1)).sum(dim=1))[:, None]
        shared = p @ torch.softmax(self.shared, dim=1)
        own = torch.einsum("vk,vkl->vl", p, torch.softmax(self.own[worker], dim=2))
        return torch.log(common * shared + (1 - common) * own + 1e-12)

    def apart(self) -> torch.Tensor:
        return torch.linalg.vector_norm(self.own - self.shared, dim=(1, 2)).sum()


def _train(
    settings: CrowdLayer | Conal, votes: Votes, features: np.ndarray, weight: float
) -> FittedNetwork:
    """Cross-entropy of all votes, a batch being the votes of some items."""
    if len(features) != votes.n_items:
        raise VotesError(f"{len(features)} rows of features for {votes.n_items} items: one each")
    with seeded(settings.seed) as draw:
        scaled = Scaled.of(features)
        x = scaled.tensor(features)
        body = perceptron(x.shape[1], settings.n_hidden, votes.n_classes, settings.dropout)
        head = settings.head(votes, x.shape[1])
        step = optimiser(nn.ModuleList([body, head]), settings.learning_rate, 0.0)
        voted = torch.as_tensor(np.flatnonzero(votes.votes_per_item > 0))
        for _ in range(settings.n_epochs):
            body.train()
            for rows in batches(voted, settings.batch_size, draw):
                step(_loss(body, head, x, rows, votes) - weight * head.apart())
    return FittedNetwork(body.eval(), scaled)


def _loss(
    body: nn.Module, head: NoiseModel, x: torch.Tensor, rows: torch.Tensor, votes: Votes
) -> torch.Tensor:
    """Mean cross-entropy of the votes of these items."""
    items = rows.numpy()
    many = votes.votes_per_item[items]
    vote = np.concatenate([np.arange(*votes.item_offsets[i : i + 2]) for i in items])
    place = torch.as_tensor(np.repeat(np.arange(len(items)), many))
    p = torch.softmax(body(x[rows]), dim=1)[place]
    worker = torch.as_tensor(votes.worker[vote], dtype=torch.int64)
    said = torch.as_tensor(votes.label[vote], dtype=torch.int64)
    log_label: torch.Tensor = head(x[rows][place], p, worker)
    return nn.functional.nll_loss(log_label, said)
