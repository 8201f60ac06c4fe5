"""Tables cut by workers on a Ray cluster: how actors make the blocks, and make them again.

Every actor counts the votes of a block, the block's owner adds up and makes it. A block lies where
it was made until others have read it: a machine that is lost before takes it along. As the counts
stand for arrays of items that do not move before all have read the table, it is then made again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crowdlearn.errors import ClusterError
from crowdlearn.shards.cluster import LOST, got
from crowdlearn.shards.cuts import Counted, of_block

COUNTED_AHEAD, MAKING = 2, 2  # blocks of workers under way at once
TRIES = 4  # to make a block while actors are lost
ONCE = {"max_task_retries": 0}  # what is lost is asked for again here, with what it needs


@dataclass(frozen=True, eq=False)
class Made:
    """A table in Ray's object store, and what it was made of (nothing where it was read)."""

    refs: Sequence[Any]
    recipe: tuple[str, Counted, Sequence[Any]] | None = None


@dataclass(frozen=True)
class Block:
    """A block of workers under way: what is said of it, and its table, as references."""

    number: int
    made: Sequence[Any]


def tabulated(
    crew: Any, how: str, counts: Counted, given: Sequence[Any]
) -> tuple[list[np.ndarray], list[Any]]:
    """What a maker says of each block, and references to the tables.

    The blocks to come are counted before one is made, so that no actor waits for another; and no
    more of them than a few.
    """
    n = crew.cut.n_blocks
    said: list[np.ndarray] = []
    tables: list[Any] = []
    counted: deque[list[Any]] = deque()
    making: deque[Block] = deque()
    for step in range(n + COUNTED_AHEAD + MAKING):
        if step < n:
            counted.append(counts_asked(crew, step, counts))
        if 0 <= (block := step - COUNTED_AHEAD) < n:
            making.append(_making(crew, block, how, counts, given, counted.popleft()))
        if step >= COUNTED_AHEAD + MAKING:
            result, table = _made(crew, making.popleft(), how, counts, given)
            said.append(result)
            tables.append(table)
    return said, tables


def counts_asked(crew: Any, block: int, counts: Counted) -> list[Any]:
    """All actors but its owner asked to count the votes of a block of workers."""
    owner = block % len(crew.actors)
    others = (actor for k, actor in enumerate(crew.actors) if k != owner)
    return [actor.counted.options(**ONCE).remote(crew.at, counts, block) for actor in others]


def _making(
    crew: Any, block: int, how: str, counts: Counted, given: Sequence[Any], parts: Sequence[Any]
) -> Block:
    """The owner of a block asked to make something of it."""
    owner, there = block % len(crew.actors), of_block(given, crew.cut.span(block))
    made = (
        crew.actors[owner].made.options(num_returns=2, **ONCE)
        .remote(crew.at, how, counts, block, owner, len(there), *there, *parts)
    )  # fmt: skip
    return Block(block, made)


def _made(
    crew: Any, one: Block, how: str, counts: Counted, given: Sequence[Any]
) -> tuple[np.ndarray, Any]:
    """What is said of a block, and the reference to its table, once they are there."""
    failed = 0
    while True:
        try:
            if (said := got(one.made[0])) is not None:
                return said, one.made[1]
        except LOST:  # an actor on the way, or a table that the counts need
            failed += 1
            if failed == TRIES:
                raise
        crew.catch_up(crew.at)
        parts = counts_asked(crew, one.number, counts)
        one = _making(crew, one.number, how, counts, given, parts)


def made_again(crew: Any, table: Made) -> Made:
    """A table of which blocks are gone, whole."""
    if table.recipe is None:  # what was read lies with the driver
        return table
    _, refs = tabulated(crew, *table.recipe)
    return Made(refs, table.recipe)


def lost(error: Exception) -> ClusterError:
    """What to say where nothing brings back what a machine took along."""
    return ClusterError(
        "a machine of the cluster was lost with tables of workers that no other had"
        f" ({type(error).__name__}): make the same call again; with a checkpoint it goes on from"
        " the last note"
    )
