"""The plate of items, for stories in which items have parameters of their own.

In a batch, NumPyro must know three things of such a site: it has a row for every item of the whole
set, this batch reads the rows `data.index`, and their log density counts `data.scale` times, so
that a batch's density is an unbiased estimate of the whole's. `item_plate` says all three; a guide
that is to see batches takes it as `AutoNormal(story, create_plates=item_plate)`.
"""

from __future__ import annotations

import numpyro
from jaxtyping import Array, Float
from numpyro import handlers

from crowdlearn.models.data import VoteData


def item_plate(data: VoteData) -> numpyro.plate:
    """A plate named "item" of `data.n_items`, subsampled to the items of this batch."""
    with handlers.substitute(data={"item": data.index}):
        return numpyro.plate("item", data.n_items, subsample_size=data.n_here)


def of_items(data: VoteData, site: Float[Array, "rows ..."]) -> Float[Array, "item ..."]:
    """The rows of an item site that belong to this batch, in its order.

    `site` has a row for every item of the whole set (as draws of a posterior have, and the site
    itself when nothing is left out), or just the rows of this batch.
    """
    return site[data.index] if site.shape[0] == data.n_items else site
