"""Votes as a story reads them: long-format arrays on the device, whole or one batch of items.

A batch is itself a `VoteData`: `item` counts within the batch, `index` says which items of the
whole set these are, and `n_items` stays the size of the whole set, so that a story can scale up
what it sees. Votes that only fill a batch up to a fixed length have weight 0.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from crowdlearn.votes import Votes

SIZES = ("n_items", "n_workers", "n_classes", "n_slots")


@dataclass(frozen=True, eq=False)
class VoteData:
    """Votes, sorted by item. Sizes are plain integers: under `jit` they stay known."""

    item: Int[Array, " vote"]  # position within this batch
    worker: Int[Array, " vote"]
    label: Int[Array, " vote"]
    weight: Float[Array, " vote"]  # 1 for a vote, 0 for padding
    index: Int[Array, " item"]  # code of each item in the whole set
    gold: Int[Array, " item"]  # known class, -1 where unknown
    n_items: int  # in the whole set
    n_workers: int
    n_classes: int
    n_slots: int = 0  # votes of the busiest item, for `grid`; 0 where nobody counted

    @property
    def n_here(self) -> int:
        """Items in this batch."""
        return int(self.index.shape[0])

    @property
    def scale(self) -> float:
        """Items of the whole set for each item of this batch."""
        return self.n_items / self.n_here

    def grid(
        self,
    ) -> tuple[Int[Array, "item slot"], Int[Array, "item slot"], Bool[Array, "item slot"]]:
        """Worker and label of every vote by item and slot, and whether there is a vote at all.

        For stories that draw their truths at a discrete site, whose votes must stand in rows.
        """
        n_slots = self.n_slots or int(jnp.bincount(self.item).max())
        first = jnp.searchsorted(self.item, jnp.arange(self.n_here))
        slot = jnp.arange(self.item.shape[0]) - first[self.item]
        nobody = jnp.zeros((self.n_here, n_slots), jnp.int32)
        here = (self.item, slot)
        worker = nobody.at[here].set(self.worker, mode="drop")
        label = nobody.at[here].set(self.label, mode="drop")
        return worker, label, nobody.at[here].set(self.weight > 0, mode="drop") > 0


def vote_data(votes: Votes, gold: Int[np.ndarray, " item"] | None = None) -> VoteData:
    """All votes as one batch; `gold` holds class codes, -1 where unknown."""
    known = np.full(votes.n_items, -1) if gold is None else gold
    return VoteData(
        item=jnp.asarray(votes.item, jnp.int32),
        worker=jnp.asarray(votes.worker, jnp.int32),
        label=jnp.asarray(votes.label, jnp.int32),
        weight=jnp.ones(votes.n_votes),
        index=jnp.arange(votes.n_items, dtype=jnp.int32),
        gold=jnp.asarray(known, jnp.int32),
        n_items=votes.n_items,
        n_workers=votes.n_workers,
        n_classes=votes.n_classes,
        n_slots=max(int(votes.votes_per_item.max()), 1),
    )


def items_of(data: VoteData, items: Int[np.ndarray, " chosen"] | Int[Array, " chosen"]) -> VoteData:
    """A batch of some items of the whole set `data`, in the order given, with all their votes."""
    items, item = np.asarray(items), np.asarray(data.item)
    first, last = (np.searchsorted(item, items, side) for side in ("left", "right"))
    of_each = [np.arange(start, stop) for start, stop in zip(first, last, strict=True)]
    votes = np.concatenate([np.zeros(0, dtype=np.int64), *of_each])
    return replace(
        data,
        item=jnp.asarray(np.repeat(np.arange(len(items)), last - first), jnp.int32),
        worker=jnp.asarray(np.asarray(data.worker)[votes]),
        label=jnp.asarray(np.asarray(data.label)[votes]),
        weight=jnp.asarray(np.asarray(data.weight)[votes]),
        index=jnp.asarray(np.asarray(data.index)[items]),
        gold=jnp.asarray(np.asarray(data.gold)[items]),
    )


_ARRAYS = tuple(f.name for f in fields(VoteData) if f.name not in SIZES)


def _flatten(data: VoteData) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    return tuple(getattr(data, n) for n in _ARRAYS), tuple(getattr(data, n) for n in SIZES)


def _unflatten(sizes: tuple[int, ...], arrays: Any) -> VoteData:
    """Past the constructor: JAX also puts things in the leaves that are no arrays."""
    data = object.__new__(VoteData)
    for name, value in (*zip(_ARRAYS, arrays, strict=True), *zip(SIZES, sizes, strict=True)):
        object.__setattr__(data, name, value)
    return data


jax.tree_util.register_pytree_node(VoteData, _flatten, _unflatten)
