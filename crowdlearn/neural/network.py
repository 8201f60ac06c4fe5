"""The label aggregation network: all votes of an item in, logits of its class out.

The first layer sees an item's votes in one of three ways:
    bag      one row of weights for every (worker, label), summed over the item's votes; the cost
             grows with votes
    one-hot  the same function by a dense row of workers x labels an item, as published
    codes    a dense row of workers, each with its label's number, -1 where it has not voted (BiLA)
Hidden layers are tanh.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from crowdlearn.errors import SettingsError
from crowdlearn.neural.batches import ItemVotes

ENCODINGS = ("bag", "one-hot", "codes")
DENSE_UP_TO = 300  # workers; more are summed in a bag where `encoding` is "auto"

Fill = Callable[[Tensor, torch.Generator], None]


def glorot(weights: Tensor, rng: torch.Generator) -> None:
    """Uniform with variance 2 / (in + out); biases zero (Glorot and Bengio, 2010)."""
    if weights.ndim == 2:
        nn.init.xavier_uniform_(weights, generator=rng)
    else:
        nn.init.zeros_(weights)


def constant_plus_noise(weights: Tensor, rng: torch.Generator) -> None:
    """1 / sqrt(2 s), s the first size, plus Normal(0, 0.05^2): as BiLA was released."""
    noise = 0.05 * torch.randn(weights.shape, generator=rng)
    with torch.no_grad():
        weights.copy_(noise + 1 / math.sqrt(2 * weights.shape[0]))


class VoteNetwork(nn.Module):
    """q(class | votes of an item)."""

    def __init__(
        self,
        n_workers: int,
        n_classes: int,
        *,
        hidden: Sequence[int] = (64, 32),
        encoding: str = "bag",
        fill: Fill = glorot,
        seed: int = 0,
    ) -> None:
        """Raises SettingsError for an unknown encoding or a hidden layer without units."""
        super().__init__()
        if encoding == "auto":
            encoding = "one-hot" if n_workers <= DENSE_UP_TO else "bag"
        if encoding not in ENCODINGS:
            raise SettingsError(f"encoding must be auto, {', '.join(ENCODINGS)}, not {encoding!r}")
        if any(width < 1 for width in hidden):
            raise SettingsError(f"hidden must be positive widths, not {tuple(hidden)!r}")
        self.encoding = encoding
        n_inputs = n_workers if encoding == "codes" else n_workers * n_classes
        sizes = [n_inputs, *hidden, n_classes]
        pairs = list(zip(sizes[:-1], sizes[1:], strict=True))
        self.weights = nn.ParameterList([torch.empty(pair) for pair in pairs])
        self.biases = nn.ParameterList([torch.empty(pair[1]) for pair in pairs])
        rng = torch.Generator().manual_seed(seed)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            fill(weight, rng)
            fill(bias, rng)

    def forward(self, votes: ItemVotes) -> Float[Tensor, "item class"]:
        """Logits of every item's class."""
        layer = self._first(votes) + self.biases[0]
        for weight, bias in zip(self.weights[1:], self.biases[1:], strict=True):
            layer = torch.tanh(layer) @ weight + bias
        return layer

    def _first(self, votes: ItemVotes) -> Float[Tensor, "item unit"]:
        weight = self.weights[0]
        if self.encoding == "bag":
            return summed_rows(votes, weight)
        if self.encoding == "one-hot":
            row = weight.new_zeros(votes.n_items, votes.n_workers * votes.n_classes)
            ones = weight.new_ones(len(votes.item))
            row.index_put_((votes.item, votes.cell), ones, accumulate=True)
        else:
            row = weight.new_full((votes.n_items, votes.n_workers), -1.0)
            row[votes.item, votes.worker] = votes.label.to(weight.dtype)
        return row @ weight


def summed_rows(
    votes: ItemVotes, weight: Tensor, *, sparse: bool = True
) -> Float[Tensor, "item unit"]:
    """Row (worker, label) of `weight` summed over the votes of each item."""
    count = torch.bincount(votes.item, minlength=votes.n_items)
    starts = torch.cumsum(count, 0) - count
    return functional.embedding_bag(votes.cell, weight, starts, mode="sum", sparse=sparse)
