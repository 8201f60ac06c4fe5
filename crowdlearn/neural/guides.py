"""Guiding models: p(label | truth, worker), with parameters that gradients can improve.

A guide of one's own is a `torch.nn.Module` with the two methods of `Guide`; see `docs/neural.md`.
"""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from crowdlearn.neural.batches import ItemVotes
from crowdlearn.votes import Votes


@runtime_checkable
class Guide(Protocol):
    """What a network is guided by; also a `torch.nn.Module`."""

    def log_vote(self, votes: ItemVotes) -> Float[Tensor, "vote class"]:
        """Log probability of every vote's label, for each class its item may have."""
        ...

    def confusion(self) -> Float[Tensor, "worker class class"]:
        """p(label | truth) of every worker on an item like any other: [worker, truth, label]."""
        ...


class ConfusionGuide(nn.Module):
    """confusion[w, k] = softmax(logits[w, k]): any kind of error."""

    def __init__(self, logits: Float[Tensor, "worker class class"]) -> None:
        super().__init__()
        self.n_classes = logits.shape[1]
        self.logits = nn.Parameter(logits.reshape(len(logits), -1).clone())

    @classmethod
    def start(cls, votes: Votes, posterior: Float[np.ndarray, "item class"]) -> ConfusionGuide:
        """Logits that are the row-normalised counts of votes against this posterior.

        So it was released (BiLA): probabilities taken for logits make the first confusions flat.
        """
        counts = counts_of(votes, posterior)
        totals = counts.sum(axis=2, keepdims=True)
        rows = np.where(totals > 0, counts / np.maximum(totals, 1e-30), 1 / votes.n_classes)
        return cls(torch.from_numpy(rows.astype(np.float32)))

    def log_vote(self, votes: ItemVotes) -> Float[Tensor, "vote class"]:
        worker, place = torch.unique(votes.worker, return_inverse=True)
        rows = functional.embedding(worker, self.logits, sparse=True)
        log_rows = self._cube(rows).log_softmax(2).transpose(1, 2)  # [worker, label, truth]
        return log_rows[place, votes.label]

    def confusion(self) -> Float[Tensor, "worker class class"]:
        return self._cube(self.logits).softmax(2)

    def _cube(self, rows: Tensor) -> Tensor:
        return rows.reshape(-1, self.n_classes, self.n_classes)


class OneCoinGuide(nn.Module):
    """A worker is right with probability sigmoid(ability); errors are spread evenly."""

    def __init__(self, ability: Float[Tensor, " worker"], n_classes: int) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.ability = nn.Parameter(ability[:, None].clone())

    @classmethod
    def start(cls, votes: Votes, posterior: Float[np.ndarray, "item class"]) -> OneCoinGuide:
        """The log odds of agreeing with this posterior, one vote's worth of doubt on each side."""
        counts = counts_of(votes, posterior)
        right = np.einsum("wkk->w", counts) + 1
        wrong = counts.sum(axis=(1, 2)) + 2 - right
        odds = np.log(right) - np.log(wrong)
        return cls(torch.from_numpy(odds.astype(np.float32)), votes.n_classes)

    def log_vote(self, votes: ItemVotes) -> Float[Tensor, "vote class"]:
        ability = functional.embedding(votes.worker, self.ability, sparse=True)
        right = functional.one_hot(votes.label, self.n_classes).bool()
        wrong = functional.logsigmoid(-ability) - math.log(self.n_classes - 1)
        return torch.where(right, functional.logsigmoid(ability), wrong)

    def confusion(self) -> Float[Tensor, "worker class class"]:
        right = torch.sigmoid(self.ability)[:, :, None]
        eye = torch.eye(self.n_classes, device=right.device)
        return right * eye + (1 - right) * (1 - eye) / (self.n_classes - 1)


GUIDES = {"confusion": ConfusionGuide.start, "one-coin": OneCoinGuide.start}


def counts_of(
    votes: Votes, posterior: Float[np.ndarray, "item class"]
) -> Float[np.ndarray, "worker class class"]:
    """Expected counts [worker, truth, label] of the votes, truths known with this posterior."""
    n_classes = votes.n_classes
    counts = np.empty((votes.n_workers, n_classes, n_classes))
    cell = votes.worker.astype(np.int64) * n_classes + votes.label
    item = votes.item
    for k in range(n_classes):
        flat = np.bincount(cell, posterior[item, k], votes.n_workers * n_classes)
        counts[:, k] = flat.reshape(votes.n_workers, n_classes)
    return counts
