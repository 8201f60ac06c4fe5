"""Reading votes, truths and results; writing results whole or not at all."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from jaxtyping import Bool, Int32

from crowdlearn.errors import VotesError, VotesWarning
from crowdlearn.gold import gold_codes, item_codes
from crowdlearn.output import new_file, new_folder, write_csv
from crowdlearn.reading.collect import Rows, collect, ordered_classes, recoded
from crowdlearn.reading.columns import TRUTH_COLUMNS, VOTE_COLUMNS, check_columns
from crowdlearn.reading.parts import Part
from crowdlearn.reading.soft import SoftRows
from crowdlearn.reading.sources import parts_of
from crowdlearn.reading.wide import unfolded
from crowdlearn.saved import load_aggregation
from crowdlearn.votes import Votes

__all__ = [
    "gold_codes",
    "load_aggregation",
    "new_file",
    "new_folder",
    "read_batches",
    "read_labels",
    "read_truth",
    "read_votes",
    "read_wide",
    "votes_from_stream",
    "write_csv",
]


def read_votes(
    source: Any,
    *,
    columns: Mapping[str, str] | None = None,
    classes: Sequence[Any] | None = None,
    drop_missing: bool = False,
    format: str | None = None,
) -> Votes:
    """Votes from CSV, JSON Lines or Parquet files, tables in memory, or a tool's export.

    `source` is a path, a glob, a URL as s3://bucket/*.parquet, a list of these (all one input), "-"
    for standard input, or a table that speaks the Arrow C stream. `columns` maps item, worker and
    label to the columns that hold them (task or item, worker or annotator, label, if not given).
    `classes` fixes the classes and their order; else those seen, by number where all look like
    integers, by spelling otherwise. `drop_missing` leaves out rows with a missing value, with a
    warning that counts them. `format` (csv, jsonl, parquet, wide, label-studio, argilla) overrides
    what the file's ending says.

    Files without a label, but with columns p_<class> that hold probabilities, make `SoftVotes` of
    all. Names are strings, or integers where a Parquet file or a table holds such. Raises
    VotesError naming file, row and column; the header of a CSV file is row 1.
    """
    roles, known = check_columns(columns), checked_classes(classes)
    soft = SoftRows(roles, known)
    with closing(parts_of(source, roles, format)) as opened:
        wide = (unfolded(part, roles) for part in opened)
        parts = soft.without(wide if format == "wide" else opened)
        first = next(parts, None)
        if first is None:
            return soft.joined(None)
        everything = itertools.chain([first], parts)
        rows = collect(
            everything, VOTE_COLUMNS, columns=roles, classes=known, drop_missing=drop_missing
        )
    return soft.joined(rows) if soft.found else _votes(rows, classes)


def read_batches(
    source: Any,
    size: int,
    *,
    columns: Mapping[str, str] | None = None,
    classes: Sequence[Any] | None = None,
    drop_missing: bool = False,
    skip: int = 0,
) -> tuple[list[str], Iterator[Votes]]:
    """The classes, and the votes in the order of their rows, `size` at a time, after `skip` rows.

    Read and checked as by `read_votes`, all before the first batch. The last batch may be smaller.
    """
    roles, known = check_columns(columns), checked_classes(classes)
    with closing(parts_of(source, roles, None)) as parts:
        rows = collect(parts, VOTE_COLUMNS, columns=roles, classes=known, drop_missing=drop_missing)
    order = known or ordered_classes(rows.names["label"])
    label = recoded(rows.codes["label"], rows.names["label"], order)
    starts = range(skip, len(label), size)
    return order, (_slice(rows, label, order, slice(n, n + size)) for n in starts)


def _slice(rows: Rows, label: Int32[np.ndarray, " row"], classes: list[str], at: slice) -> Votes:
    items, item = np.unique(rows.codes["item"][at], return_inverse=True)
    workers, worker = np.unique(rows.codes["worker"][at], return_inverse=True)
    return Votes.from_codes(
        item, worker, label[at],
        items=rows.names["item"].take(items), workers=rows.names["worker"].take(workers),
        classes=classes,
    )  # fmt: skip


def read_wide(
    source: Any,
    *,
    item: str | None = None,
    workers: Sequence[str] | None = None,
    classes: Sequence[Any] | None = None,
) -> Votes:
    """Votes from a table with an item a row and a worker a column; an empty cell is no vote.

    `item` names the column of items (else task, item, or the first), `workers` those of votes (else
    all others). Raises VotesError naming file, row and column.
    """
    roles = {} if item is None else {"item": item}
    with closing(parts_of(source, roles, "wide")) as opened:
        parts = (unfolded(part, roles, workers) for part in opened)
        rows = collect(parts, VOTE_COLUMNS, columns=roles, classes=checked_classes(classes))
    return _votes(rows, classes)


def votes_from_stream(
    table: Any,
    *,
    columns: Mapping[str, str] | None = None,
    classes: Sequence[Any] | None = None,
    drop_missing: bool = False,
    source: str = "table",
) -> Votes:
    """Votes from a table that speaks the Arrow C stream; errors call it `source`."""
    from crowdlearn.reading.parquet import table_part

    if not hasattr(table, "__arrow_c_stream__"):
        raise VotesError(
            f"{source}: {type(table).__name__} does not speak the Arrow C stream; pandas, polars, "
            "pyarrow and duckdb tables do"
        )
    roles, known = check_columns(columns), checked_classes(classes)
    parts: list[Part] = [table_part(source, table)]
    rows = collect(parts, VOTE_COLUMNS, columns=roles, classes=known, drop_missing=drop_missing)
    return _votes(rows, classes)


def read_truth(
    source: Any, votes: Votes, *, columns: Mapping[str, str] | None = None
) -> Int32[np.ndarray, " item"]:
    """The true class code of every item of `votes`, -1 where the source does not say.

    `source` is read like votes, with columns task (or item) and label (or truth, class); a gold
    file is one too. Items that no vote has are left out with a warning that counts them. Raises
    VotesError for an unknown class, for two truths of one item, and where no item matches.
    """
    roles = check_columns(columns)
    with closing(parts_of(source, roles, None)) as parts:
        rows = collect(parts, TRUTH_COLUMNS, columns=roles, classes=votes.classes)
    label = recoded(rows.codes["label"], rows.names["label"], votes.classes)
    _refuse_conflicts(rows, label)
    item = item_codes(votes, rows.names["item"])[rows.codes["item"]]
    _warn_of_strangers(rows, item < 0)
    truth = np.full(votes.n_items, -1, dtype=np.int32)
    truth[item[item >= 0]] = label[item >= 0]
    return truth


def read_labels(source: Any, classes: Sequence[str]) -> dict[str, str]:
    """Item -> label of a file with the columns task,label, whether or not the items have votes.

    Raises VotesError for an unknown class, and for two labels of one item.
    """
    with closing(parts_of(source, {}, None)) as parts:
        rows = collect(parts, TRUTH_COLUMNS, columns={}, classes=list(classes))
    label = recoded(rows.codes["label"], rows.names["label"], classes)
    _refuse_conflicts(rows, label)
    item = rows.codes["item"]
    names = rows.names["item"].cast("string").to_pylist()
    return {names[i]: classes[k] for i, k in zip(item.tolist(), label.tolist(), strict=True)}


def checked_classes(classes: Sequence[Any] | None) -> list[str] | None:
    """Class names as strings. Raises VotesError for fewer than two, or one that stands twice."""
    if classes is None:
        return None
    names = [str(name) for name in classes]
    if isinstance(classes, str) or len(set(names)) != len(names) or len(names) < 2:
        raise VotesError(f"classes={classes!r}: at least two different names are needed")
    return names


def _votes(rows: Rows, classes: Sequence[Any] | None) -> Votes:
    """Votes from coded rows; each column is let go as soon as it is not needed."""
    order = checked_classes(classes) or ordered_classes(rows.names["label"])
    if len(order) < 2:
        raise VotesError(
            f"{rows.places[0][0]}: all votes say {order[0]!r}: a single class leaves nothing to "
            "infer; name all classes with classes=[...] if the others were merely never chosen"
        )
    label = recoded(rows.codes.pop("label"), rows.names["label"], order)
    return Votes.from_codes(
        rows.codes.pop("item"),
        rows.codes.pop("worker"),
        label,
        items=rows.names["item"],
        workers=rows.names["worker"],
        classes=order,
    )


def _refuse_conflicts(rows: Rows, label: Int32[np.ndarray, " row"]) -> None:
    item = rows.codes["item"]
    first = np.full(len(rows.names["item"]), -1)
    first[item[::-1]] = np.arange(len(item))[::-1]
    clash = np.flatnonzero(label != label[first[item]])
    if len(clash):
        one, two = int(first[item[clash[0]]]), int(clash[0])
        name = rows.names["item"][int(item[two])].as_py()
        raise VotesError(
            f"{rows.place(two)}: another truth for item {name!r} than in {rows.place(one)}: "
            "keep one of them"
        )


def _warn_of_strangers(rows: Rows, strange: Bool[np.ndarray, " row"]) -> None:
    """Truth for items that no vote has: a warning, or an error where there is no other."""
    if not strange.any():
        return
    index = int(np.flatnonzero(strange)[0])
    example = rows.names["item"][int(rows.codes["item"][index])].as_py()
    n_strange, n_items = len(np.unique(rows.codes["item"][strange])), len(rows.names["item"])
    found = f"{n_strange:,} of {n_items:,} items with truth have no vote, as {example!r}"
    if strange.all():
        raise VotesError(
            f"{rows.place(index)}: none of the {n_items:,} items with truth has a vote, as "
            f"{example!r}: are these the truths of other votes, or the ids written otherwise?"
        )
    warnings.warn(f"{rows.place(index)}: {found}: left out", VotesWarning, stacklevel=3)
