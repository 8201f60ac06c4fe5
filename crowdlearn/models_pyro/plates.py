"""The plate of items, for stories in which items have parameters of their own.

As `crowdlearn.models.plates`. A guide that is to see batches takes it as
`AutoNormal(story, create_plates=item_plate)`.
"""

from __future__ import annotations

import pyro
from jaxtyping import Float
from torch import Tensor

from crowdlearn.models_pyro.data import VoteData


def item_plate(data: VoteData) -> pyro.plate:
    """A plate named "item" of `data.n_items`, subsampled to the items of this batch."""
    return pyro.plate("item", data.n_items, subsample=data.index)


def of_items(data: VoteData, site: Float[Tensor, "rows ..."]) -> Float[Tensor, "item ..."]:
    """The rows of an item site that belong to this batch, in its order."""
    return site[data.index] if len(site) == data.n_items else site
