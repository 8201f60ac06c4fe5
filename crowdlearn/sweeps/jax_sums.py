"""Sums over the votes of every group, in an order fixed in advance.

A group is an item, or a cell: one worker with one label. Its sum climbs a tree: up to eight rows
are added element by element, then up to eight of these sums, until every group has one. Nothing is
scattered and nothing is atomic, so a run repeats to the last bit on any device.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Int32

WIDTH = 8  # rows added in one step of the tree

Tree = tuple[Int32[Array, "_ _"], ...]
"""Levels (width, node) of positions in the level below, at first of votes; -1 fills up. The last
level has one node a group."""

Rows = Callable[[Array], Array]
"""Positions (node,) -> what stands there, (node,) or (node, state)."""


def tree(
    offsets: Int[np.ndarray, " offset"], order: Int[np.ndarray, " vote"] | None = None
) -> tuple[Int32[np.ndarray, "_ _"], ...]:
    """The tree of groups that are ranges of positions; `order` names the votes at them."""
    levels: list[np.ndarray] = []
    n_groups = len(offsets) - 1
    while not levels or levels[-1].shape[1] > n_groups:
        children, offsets = _level(offsets)
        if not levels and order is not None:
            children = np.where(children >= 0, order[children], -1)
        levels.append(children.astype(np.int32))
    return tuple(levels)


def _level(
    offsets: Int[np.ndarray, " offset"],
) -> tuple[Int[np.ndarray, "width node"], Int[np.ndarray, " offset"]]:
    """Groups cut into nodes of at most WIDTH: the nodes' children, and the groups' first nodes."""
    sizes = np.diff(offsets)
    width = int(np.clip(sizes.max(), 1, WIDTH))
    nodes = np.maximum(-(-sizes // width), 1)
    above = np.concatenate([[0], np.cumsum(nodes)])
    group = np.repeat(np.arange(len(sizes)), nodes)
    start = offsets[group] + width * (np.arange(above[-1]) - above[group])
    children = start + np.arange(width)[:, None]
    return np.where(children < offsets[group + 1], children, -1), above


def group_sum(rows: Rows, levels: Tree) -> Array:
    """Sum of `rows(vote)` over the votes of every group: (group,) or (group, state)."""

    def add(total: Array, children: Array) -> Array:
        values = rows(jnp.maximum(children, 0))
        inside = (children >= 0).reshape(-1, *[1] * (values.ndim - 1))
        return total + jnp.where(inside, values, 0.0)

    for level in levels:
        sums = reduce(add, level, jnp.zeros(()))
        rows = partial(at, sums)
    return sums


def at(array: Array, index: Array) -> Array:
    """`array[index]` for positions known to be in range."""
    return array.at[index].get(mode="promise_in_bounds", wrap_negative_indices=False)
