"""Gold answers: what is known for sure about some items, as class codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int32, Shaped

from crowdlearn.errors import VotesError
from crowdlearn.votes import Votes, VoteSet


def gold_codes(
    votes: VoteSet, gold: Mapping[Any, Any] | Shaped[np.ndarray, " *axes"] | None
) -> Any:
    """Class code of every gold item, -1 for the others.

    `gold` maps item names to class names, or is such an array already. Raises VotesError for an
    unknown item or class, and for an array of another length, type or range.
    """
    if not isinstance(votes, Votes):
        return votes.gold_codes(gold)
    if gold is None:
        return np.full(votes.n_items, -1, dtype=np.int32)
    if isinstance(gold, Mapping):
        return _from_names(votes, gold)
    codes = np.asarray(gold)
    if codes.shape != (votes.n_items,):
        raise VotesError(
            f"gold has shape {codes.shape}, where one code for each of the {votes.n_items:,} items "
            "is needed, -1 for those that are not gold"
        )
    if codes.dtype.kind not in "iu":
        raise VotesError(f"gold holds {codes.dtype}, where integer class codes are needed")
    bad = np.flatnonzero((codes < -1) | (codes >= votes.n_classes))
    if len(bad):
        raise VotesError(
            f"gold of item {votes.items[int(bad[0])].as_py()!r} is {codes[bad[0]]}, where -1 (not "
            f"gold) to {votes.n_classes - 1} is possible"
        )
    return codes.astype(np.int32)


def item_codes(votes: Votes, names: pa.Array) -> Int32[np.ndarray, " name"]:
    """The code of each item name, -1 for one that no vote has."""
    known = votes.items
    if names.type != known.type:
        try:
            names = names.cast(known.type)
        except pa.ArrowInvalid:  # text among integers: compare as text
            names, known = names.cast(pa.string()), known.cast(pa.string())
    return pc.index_in(names, known).fill_null(-1).to_numpy()


def _from_names(votes: Votes, gold: Mapping[Any, Any]) -> Int32[np.ndarray, " item"]:
    codes = np.full(votes.n_items, -1, dtype=np.int32)
    if not gold:
        return codes
    items = [str(name) for name in gold]
    classes = [str(name) for name in gold.values()]
    item = item_codes(votes, pa.array(items))
    label = pc.index_in(pa.array(classes), pa.array(votes.classes)).fill_null(-1).to_numpy()
    _refuse_unknown(item < 0, items, f"is not among the {votes.n_items:,} items")
    _refuse_unknown(label < 0, classes, f"is not one of {', '.join(votes.classes[:20])}")
    codes[item] = label
    return codes


def _refuse_unknown(unknown: Bool[np.ndarray, " name"], names: list[str], why: str) -> None:
    if unknown.any():
        raise VotesError(f"gold: {names[int(np.flatnonzero(unknown)[0])]!r} {why}")
