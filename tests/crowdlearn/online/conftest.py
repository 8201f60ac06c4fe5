"""A crowd, and its votes cut into batches."""

from __future__ import annotations

import numpy as np
import pytest

from crowdlearn.simulate import World, idbla
from crowdlearn.votes import Votes


@pytest.fixture(scope="session")
def crowd() -> World:
    """150 items, 8 workers, 3 classes; some items are hard."""
    return idbla(150, 8, 3, seed=1)


def batches(votes: Votes, n: int, *, by_vote: bool = False, seed: int = 0) -> list[Votes]:
    """The votes in `n` batches: whole items, or single votes of any items."""
    rng = np.random.default_rng(seed)
    key = rng.permutation(votes.n_votes if by_vote else votes.n_items)
    of_vote = key if by_vote else key[votes.item]
    found = []
    for chosen in np.array_split(np.argsort(of_vote, kind="stable"), n):
        item, worker = votes.item[chosen], votes.worker[chosen]
        items, item = np.unique(item, return_inverse=True)
        workers, worker = np.unique(worker, return_inverse=True)
        found.append(
            Votes.from_codes(
                item,
                worker,
                votes.label[chosen],
                items=votes.items.take(items),
                workers=votes.workers.take(workers),
                classes=votes.classes,
            )  # fmt: skip
        )
    return found
