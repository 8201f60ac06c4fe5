"""Batches of items with all their votes, of equal shapes, so that one compiled step serves all.

The items are shuffled once and cut into batches; the last is filled up with items drawn from the
others, which an epoch then sees twice. Votes are padded with weight 0 to the longest batch.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from crowdlearn.models.data import VoteData
from crowdlearn.votes import Votes


def stacked_batches(
    votes: Votes, gold: Int[np.ndarray, " item"], batch_items: int, rng: np.random.Generator
) -> VoteData:
    """`VoteData` whose arrays have a leading axis of batches; one batch of all in order if 0."""
    n_items = votes.n_items
    if batch_items == 0 or batch_items >= n_items:
        members = np.arange(n_items)[None]
    else:
        n_batches = -(-n_items // batch_items)
        order = rng.permutation(n_items)
        others = order[: (n_batches - 1) * batch_items]
        spare = rng.choice(others, n_batches * batch_items - n_items, replace=False)
        members = np.sort(np.concatenate([order, spare]).reshape(n_batches, -1), axis=1)
    return _stacked(votes, gold, members)


def _stacked(
    votes: Votes, gold: Int[np.ndarray, " item"], members: Int[np.ndarray, "batch chosen"]
) -> VoteData:
    longest = max(int(votes.votes_per_item[members].sum(axis=1).max()), 1)
    each = [_batch(votes, gold, items, longest) for items in members]
    return jax.tree.map(lambda *arrays: jnp.asarray(np.stack(arrays)), *each)


def _batch(
    votes: Votes, gold: Int[np.ndarray, " item"], items: Int[np.ndarray, " here"], longest: int
) -> VoteData:
    """These items with all their votes, padded to `longest`."""
    n = votes.votes_per_item[items]
    rows = np.repeat(votes.item_offsets[items] - (np.cumsum(n) - n), n) + np.arange(n.sum())
    padding = (0, longest - len(rows))
    own = np.repeat(np.arange(len(items)), n)
    return VoteData(
        item=jnp.asarray(np.pad(own, padding, constant_values=len(items) - 1), jnp.int32),
        worker=jnp.asarray(np.pad(votes.worker[rows], padding), jnp.int32),
        label=jnp.asarray(np.pad(votes.label[rows], padding), jnp.int32),
        weight=jnp.asarray(np.pad(np.ones(len(rows)), padding), jnp.float32),
        index=jnp.asarray(items, jnp.int32),
        gold=jnp.asarray(gold[items], jnp.int32),
        n_items=votes.n_items,
        n_workers=votes.n_workers,
        n_classes=votes.n_classes,
        n_slots=max(int(votes.votes_per_item.max()), 1),
    )
