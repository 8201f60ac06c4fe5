"""Votes as a Pyro story reads them: the tensors of `crowdlearn.models.data`, whole or a batch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from crowdlearn.votes import Votes


@dataclass(frozen=True, eq=False)
class VoteData:
    """Votes, sorted by item, all on one device."""

    item: Int[Tensor, " vote"]  # position within this batch
    worker: Int[Tensor, " vote"]
    label: Int[Tensor, " vote"]
    index: Int[Tensor, " item"]  # code of each item in the whole set
    gold: Int[Tensor, " item"]  # known class, -1 where unknown
    one: Float[Tensor, ""]  # says device and precision of everything that is drawn
    n_items: int  # in the whole set
    n_workers: int
    n_classes: int

    @property
    def n_here(self) -> int:
        """Items in this batch."""
        return len(self.index)

    @property
    def scale(self) -> float:
        """Items of the whole set for each item of this batch."""
        return self.n_items / self.n_here


def vote_data(
    votes: Votes,
    gold: Int[np.ndarray, " item"] | None = None,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> VoteData:
    """All votes as one batch; `gold` holds class codes, -1 where unknown."""
    known = np.full(votes.n_items, -1) if gold is None else gold
    return VoteData(
        item=torch.tensor(votes.item, dtype=torch.int64, device=device),
        worker=torch.tensor(votes.worker, dtype=torch.int64, device=device),
        label=torch.tensor(votes.label, dtype=torch.int64, device=device),
        index=torch.arange(votes.n_items, device=device),
        gold=torch.tensor(known, dtype=torch.int64, device=device),
        one=torch.ones((), dtype=dtype, device=device),
        n_items=votes.n_items,
        n_workers=votes.n_workers,
        n_classes=votes.n_classes,
    )


def items_of(data: VoteData, items: Int[Tensor, " chosen"]) -> VoteData:
    """A batch of some items of the whole set `data`, in the order given, with all their votes."""
    first = torch.searchsorted(data.item, items)
    counts = torch.searchsorted(data.item, items, right=True) - first
    item = torch.repeat_interleave(torch.arange(len(items), device=items.device), counts)
    within = torch.arange(len(item), device=items.device) - (counts.cumsum(0) - counts)[item]
    votes = first[item] + within
    return replace(
        data,
        item=item,
        worker=data.worker[votes],
        label=data.label[votes],
        index=data.index[items],
        gold=data.gold[items],
    )
