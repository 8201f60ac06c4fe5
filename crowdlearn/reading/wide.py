"""Wide tables: an item a row, a worker a column, a label a cell; an empty cell is no vote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from crowdlearn.errors import VotesError
from crowdlearn.reading.coding import codes_of, encode, missing
from crowdlearn.reading.columns import VOTE_COLUMNS
from crowdlearn.reading.parts import Batch, Part


def unfolded(part: Part, columns: Mapping[str, str], workers: Sequence[str] | None = None) -> Part:
    """The part as a long table: item, worker, label, row by row.

    The items stand in `columns["item"]`, else in a column task or item, else in the first one.
    Workers are the columns named in `workers`, else all others. Raises VotesError for a missing or
    repeated column and for a row without an item.
    """
    item = columns.get("item") or next(
        (name for name in part.columns if name in VOTE_COLUMNS["item"]),
        part.columns[0] if part.columns else "",
    )
    voters = [n for n in part.columns if n != item] if workers is None else list(workers)
    _check(part, item, voters)
    names = tuple(columns.get(role, role) for role in ("item", "worker", "label"))

    def batches(_: Sequence[str]) -> Iterator[Batch]:
        for batch in part.batches([item, *voters]):
            yield _long(part.name, batch, item, voters, names)

    return Part(part.name, names, batches)


def _check(part: Part, item: str, voters: Sequence[str]) -> None:
    for name in (item, *voters):
        if part.columns.count(name) != 1:
            there = ", ".join(map(repr, part.columns[:20]))
            times = "stands twice" if name in part.columns else "is missing"
            raise VotesError(f"{part.name}: column {name!r} {times}; there is {there}")
    if not voters:
        raise VotesError(
            f"{part.name}: has no column of votes besides {item!r}: a wide table has one for each "
            "worker"
        )


def _long(
    name: str, batch: Batch, item: str, voters: Sequence[str], names: tuple[str, ...]
) -> Batch:
    items = encode(batch.columns[item])
    blank = missing(items, is_label=False)
    if blank is not None:
        row = batch.rows[int(np.flatnonzero(blank)[0])]
        raise VotesError(f"{name}, row {row}, column {item!r}: no item; every row needs one")
    cells = np.stack([_codes(encode(batch.columns[v])) for v in voters], axis=1)
    labels = [encode(batch.columns[v]).dictionary.cast(pa.string()) for v in voters]
    starts = np.concatenate([[0], np.cumsum([len(strings) for strings in labels])])
    at, voter = np.nonzero(cells >= 0)  # row by row
    label = cells[at, voter] + starts[voter]
    columns = {
        names[0]: items.take(pa.array(at)),
        names[1]: pa.DictionaryArray.from_arrays(voter.astype(np.int32), pa.array(list(voters))),
        names[2]: pa.DictionaryArray.from_arrays(
            label.astype(np.int32), pa.concat_arrays(labels).cast(pa.string())
        ),
    }
    return Batch(columns, np.asarray(batch.rows)[at].tolist())


def _codes(encoded: pa.DictionaryArray) -> np.ndarray:
    """Label codes of a column, -1 where there is no vote."""
    blank = missing(encoded, is_label=True)
    codes = codes_of(encoded)
    return codes if blank is None else np.where(blank, -1, codes)
