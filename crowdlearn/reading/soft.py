"""Files of soft votes: a row a judgement, a column `p_<class>` for each class."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int32

from crowdlearn.errors import VotesError
from crowdlearn.reading.coding import Coder, encode, missing
from crowdlearn.reading.collect import Rows, ordered_classes, recoded
from crowdlearn.reading.columns import VOTE_COLUMNS, find_columns
from crowdlearn.reading.parts import Batch, Part
from crowdlearn.soft_votes import SoftVotes, improper

MARK = "p_"
WANTED = {role: VOTE_COLUMNS[role] for role in ("item", "worker")}


class SoftRows:
    """Soft votes among the parts of an input, set aside while the hard ones are read."""

    def __init__(self, columns: Mapping[str, str], classes: Sequence[str] | None) -> None:
        self._columns = {role: name for role, name in columns.items() if role in WANTED}
        self._label = (columns["label"],) if "label" in columns else VOTE_COLUMNS["label"]
        self._known = classes
        self._coders = {role: Coder() for role in WANTED}
        self._rows: list[tuple[list[str], Float[np.ndarray, "_ class"]]] = []

    def without(self, parts: Iterator[Part]) -> Iterator[Part]:
        """The parts of hard votes; those of soft votes are read when their turn comes."""
        try:
            for part in parts:
                marked = [name for name in part.columns if name.startswith(MARK) and name != MARK]
                if len(marked) < 2 or any(name in self._label for name in part.columns):
                    yield part
                else:
                    self._read(part, marked)
        finally:
            if isinstance(parts, Generator):
                parts.close()  # a file that was refused does not stay open

    @property
    def found(self) -> bool:
        return bool(self._rows)

    def joined(self, hard: Rows | None) -> SoftVotes:
        """All soft votes, and these hard ones as rows that are sure."""
        names = {role: coder.finish() for role, coder in self._coders.items()}
        classes = self._classes(hard)
        opinion = [_spread(columns, rows, classes) for columns, rows in self._rows]
        item, items = _together(names["item"], hard, "item")
        worker, workers = _together(names["worker"], hard, "worker")
        if hard is not None:
            label = recoded(hard.codes["label"], hard.names["label"], classes)
            opinion.append(np.eye(len(classes))[label])
        return SoftVotes.from_opinions(
            item, worker, np.concatenate(opinion), items=items, workers=workers, classes=classes
        )

    def _classes(self, hard: Rows | None) -> list[str]:
        if self._known is not None:
            return list(self._known)
        names = {column.removeprefix(MARK) for columns, _ in self._rows for column in columns}
        if hard is not None:
            names |= set(hard.names["label"].cast(pa.string()).to_pylist())
        return ordered_classes(pa.array(sorted(names)))

    def _read(self, part: Part, marked: list[str]) -> None:
        if self._known is not None:
            _refuse_strange(part.name, marked, self._known)
        found = find_columns(part.columns, WANTED, self._columns, part.name)
        n_rows = 0
        for batch in part.batches([*found.values(), *marked]):
            for role, coder in self._coders.items():
                coder.add(_names(part.name, batch, found[role], role))
            rows = np.stack([_numbers(part.name, batch, name) for name in marked], axis=1)
            _refuse_improper(part.name, batch, rows)
            self._rows.append((marked, rows))
            n_rows += len(rows)
        if n_rows == 0:
            raise VotesError(f"{part.name}: holds no votes, only a header or less")


def _together(
    soft: tuple[pa.Array, Int32[np.ndarray, " _"]], hard: Rows | None, role: str
) -> tuple[Int32[np.ndarray, " vote"], pa.Array]:
    """Codes of the soft rows, then of the hard ones, and the names behind them."""
    names, codes = soft
    if hard is None:
        return codes, names
    others = hard.names[role]
    if names.type != others.type:
        names, others = names.cast(pa.string()), others.cast(pa.string())
    merged = pa.concat_arrays([names, others]).dictionary_encode()
    place = merged.indices.to_numpy()
    both = np.concatenate([place[codes], place[len(names) :][hard.codes[role]]])
    return both.astype(np.int32), merged.dictionary


def _spread(
    columns: Sequence[str], rows: Float[np.ndarray, "vote column"], classes: Sequence[str]
) -> Float[np.ndarray, "vote class"]:
    """Rows with a column for each class; a class that has none is impossible."""
    wide = np.zeros((len(rows), len(classes)))
    wide[:, [classes.index(name.removeprefix(MARK)) for name in columns]] = rows
    return wide


def _names(part: str, batch: Batch, column: str, role: str) -> pa.DictionaryArray:
    try:
        encoded = encode(batch.columns[column])
    except VotesError as error:
        raise VotesError(f"{part}, column {column!r}: {error}") from error
    blank = missing(encoded, is_label=False)
    if blank is not None:
        row = batch.rows[int(np.flatnonzero(blank)[0])]
        raise VotesError(f"{part}, row {row}, column {column!r}: no {role}; fill it in")
    return encoded


def _numbers(part: str, batch: Batch, column: str) -> Float[np.ndarray, " row"]:
    values = batch.columns[column]
    try:
        return pc.fill_null(values.cast(pa.float64()), np.nan).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise VotesError(_no_number(part, batch, column)) from error


def _no_number(part: str, batch: Batch, column: str) -> str:
    for row, value in zip(batch.rows, batch.columns[column].to_pylist(), strict=True):
        try:
            float("nan" if value is None else value)
        except (TypeError, ValueError):
            return f"{part}, row {row}, column {column!r}: {value!r} is not a probability"
    return f"{part}, column {column!r}: holds no numbers"


def _refuse_improper(part: str, batch: Batch, rows: Float[np.ndarray, "row column"]) -> None:
    bad = np.flatnonzero(improper(rows))
    if len(bad):
        row = rows[bad[0]]
        found = ", ".join(f"{p:g}" for p in row[:20])
        raise VotesError(
            f"{part}, row {batch.rows[int(bad[0])]}: {found} (sum {row.sum():g}) are not "
            "probabilities that sum to one; correct the row, or leave it out"
        )


def _refuse_strange(part: str, marked: Sequence[str], classes: Sequence[str]) -> None:
    strange = [name for name in marked if name.removeprefix(MARK) not in classes]
    if strange:
        raise VotesError(
            f"{part}: column {strange[0]!r} is of no class among {', '.join(classes[:20])}; name "
            "all classes with classes=[...] where votes are read"
        )
