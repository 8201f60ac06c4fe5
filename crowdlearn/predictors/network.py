"""What a label aggregation network says of new items, without torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crowdlearn.predictors.base import Predictor, softmax, sum_by_item
from crowdlearn.predictors.product import ProductPredictor
from crowdlearn.votes import Votes

ROWS_AT_ONCE = 1 << 23  # numbers of a first layer held together


@dataclass(frozen=True, eq=False)
class NetworkPredictor:
    """A network over all votes of an item: hidden layers tanh, then softmax.

    `parameters` holds weight and bias of each layer in turn, flat; `sizes` the width of the input
    and of every layer. The first weight has a row for every (worker, label), summed over votes;
    or, with `coded` 1, a row for every worker, times the number of its label, -1 where it has none.
    An item without votes gets `prior`.
    """

    parameters: Float[np.ndarray, " parameter"]
    sizes: Int[np.ndarray, " layer"]
    prior: Float[np.ndarray, " class"]
    coded: Float[np.ndarray, " 1"]

    def layers(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Weight (in, out) and bias of every layer, as views."""
        found, start = [], 0
        for n_in, n_out in itertools.pairwise(self.sizes.tolist()):
            middle, end = start + n_in * n_out, start + (n_in + 1) * n_out
            weight = self.parameters[start:middle].reshape(n_in, n_out)
            found.append((weight, self.parameters[middle:end]))
            start = end
        return found

    def predict(self, votes: Votes) -> Float[np.ndarray, "item class"]:
        posterior = np.empty((votes.n_items, votes.n_classes))
        for rows, part in _parts(votes, int(self.sizes[1])):
            posterior[rows] = softmax(self._logits(part))
        posterior[votes.votes_per_item == 0] = self.prior
        return posterior

    def _logits(self, votes: Votes) -> Float[np.ndarray, "item class"]:
        (first, bias), *rest = self.layers()
        if self.coded[0]:
            silent = -first.sum(axis=0)
            said = first[votes.worker] * (votes.label[:, None] + 1.0)
            layer = silent + sum_by_item(said, votes) + bias
        else:
            cell = votes.worker.astype(np.int64) * votes.n_classes + votes.label
            layer = sum_by_item(first[cell], votes) + bias
        for weight, bias in rest:
            layer = np.tanh(layer) @ weight + bias
        return layer


@dataclass(frozen=True, eq=False)
class AspectPredictor:
    """softmax(sum over aspects a of z_a (x classifier_a + bias_a)), z = softplus(x aspects + bias).

    x sums one row a vote; the columns of `classifier` are aspects, then classes.
    """

    classifier: Float[np.ndarray, "cell unit"]
    classifier_bias: Float[np.ndarray, " unit"]
    aspects: Float[np.ndarray, "cell aspect"]
    aspect_bias: Float[np.ndarray, " aspect"]
    prior: Float[np.ndarray, " class"]

    def predict(self, votes: Votes) -> Float[np.ndarray, "item class"]:
        cell = votes.worker.astype(np.int64) * votes.n_classes + votes.label
        each = sum_by_item(self.classifier[cell], votes) + self.classifier_bias
        weight = np.logaddexp(0, sum_by_item(self.aspects[cell], votes) + self.aspect_bias)
        by_aspect = each.reshape(votes.n_items, -1, votes.n_classes)
        posterior = softmax((weight[:, :, None] * by_aspect).sum(axis=1))
        posterior[votes.votes_per_item == 0] = self.prior
        return posterior


@dataclass(frozen=True, eq=False)
class ConsensusPredictor:
    """A network and its guide; `by_guide` 1 answers by the guide."""

    parts: tuple[Predictor, ...]
    by_guide: Float[np.ndarray, " 1"]

    @property
    def network(self) -> Any:
        return self.parts[0]

    @property
    def guide(self) -> ProductPredictor:
        guide = self.parts[1]
        assert isinstance(guide, ProductPredictor)
        return guide

    def predict(self, votes: Votes) -> Float[np.ndarray, "item class"]:
        return self.parts[int(self.by_guide[0])].predict(votes)


def _parts(votes: Votes, width: int) -> Iterator[tuple[slice, Votes]]:
    """Runs of items whose first layers are small together."""
    budget = max(ROWS_AT_ONCE // width, 1)
    start = 0
    while start < votes.n_items:
        most = votes.item_offsets[start] + budget
        end = int(np.searchsorted(votes.item_offsets, most, side="right")) - 1
        end = min(max(end, start + 1), votes.n_items)
        yield slice(start, end), _items(votes, start, end)
        start = end


def _items(votes: Votes, start: int, end: int) -> Votes:
    """The items from `start` to before `end`, with their votes."""
    low, high = votes.item_offsets[start], votes.item_offsets[end]
    return Votes(
        items=votes.items.slice(start, end - start),
        workers=votes.workers,
        classes=votes.classes,
        item_offsets=votes.item_offsets[start : end + 1] - low,
        worker=votes.worker[low:high],
        label=votes.label[low:high],
    )
