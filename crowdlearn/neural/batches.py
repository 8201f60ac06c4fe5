"""Votes on a torch device, and batches of items cut from them without leaving it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from crowdlearn.votes import Votes


@dataclass(frozen=True, eq=False)
class ItemVotes:
    """All votes of some items, sorted by item; `item` counts within the batch.

    `index` is the code of every item among all, `gold` its class or -1.
    """

    item: Int[Tensor, " vote"]
    worker: Int[Tensor, " vote"]
    label: Int[Tensor, " vote"]
    index: Int[Tensor, " item"]
    gold: Int[Tensor, " item"]
    n_workers: int
    n_classes: int

    @property
    def n_items(self) -> int:
        return len(self.index)

    @property
    def cell(self) -> Int[Tensor, " vote"]:
        """worker * n_classes + label of every vote."""
        return self.worker * self.n_classes + self.label

    def sum_by_item(self, values: Float[Tensor, "vote state"]) -> Float[Tensor, "item state"]:
        """Sums over the votes of each item; zero for an item without votes."""
        return values.new_zeros(self.n_items, values.shape[1]).index_add(0, self.item, values)


@dataclass(frozen=True, eq=False)
class DeviceVotes:
    """All votes as tensors; `offsets` is the index of the items, as in `Votes`."""

    offsets: Int[Tensor, " offset"]
    worker: Int[Tensor, " vote"]
    label: Int[Tensor, " vote"]
    gold: Int[Tensor, " item"]
    n_workers: int
    n_classes: int

    @classmethod
    def on(cls, device: torch.device, votes: Votes, gold: Int[np.ndarray, " item"]) -> DeviceVotes:
        """These votes, and the classes of gold items, on a device."""
        arrays = (votes.item_offsets, votes.worker, votes.label, gold)
        offsets, worker, label, known = (
            torch.from_numpy(np.asarray(array, dtype=np.int64)).to(device) for array in arrays
        )
        return cls(offsets, worker, label, known, votes.n_workers, votes.n_classes)

    @property
    def n_items(self) -> int:
        return len(self.gold)

    @property
    def device(self) -> torch.device:
        return self.gold.device

    def batch(self, index: Int[Tensor, " item"]) -> ItemVotes:
        """The items with these codes, in this order."""
        start = self.offsets[index]
        count = self.offsets[index + 1] - start
        item = torch.repeat_interleave(torch.arange(len(index), device=index.device), count)
        first = torch.cumsum(count, 0) - count
        row = torch.arange(len(item), device=index.device) + (start - first)[item]
        return ItemVotes(
            item=item,
            worker=self.worker[row],
            label=self.label[row],
            index=index,
            gold=self.gold[index],
            n_workers=self.n_workers,
            n_classes=self.n_classes,
        )

    def batches(self, order: Int[Tensor, " item"], batch_items: int) -> list[Tensor]:
        """Codes of the items of every batch, in this order; one batch of all where 0."""
        return list(torch.split(order, batch_items or max(len(order), 1)))

    def in_order(self) -> Int[Tensor, " item"]:
        return torch.arange(self.n_items, device=self.offsets.device)
