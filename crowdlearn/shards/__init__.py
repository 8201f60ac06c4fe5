"""Votes that are larger than memory: coded once into buckets of items on disk, fitted from there.

`code_votes` makes a folder of any number of files, `open_votes` opens one. A method's `fit` takes
what it gives (`ShardedVotes`) in place of `Votes`: on this machine the buckets go through memory in
turn, on a Ray cluster (`device="ray"`) actors keep them. Posteriors stay where the items are, and
are written as Parquet, a part a bucket.
"""

from __future__ import annotations

from crowdlearn.shards.coding import code_votes
from crowdlearn.shards.votes import ShardedVotes, open_votes

__all__ = ["ShardedVotes", "code_votes", "open_votes"]
