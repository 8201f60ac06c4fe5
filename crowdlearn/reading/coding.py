"""Names to int32 codes over batches, so that the strings of a whole file never exist at once.

Every batch is dictionary-encoded alone; the small dictionaries wait until together they are twice
as long as the vocabulary, and are then merged into it by one hashing pass. So the work is linear in
the rows, and memory holds about three times the vocabulary, never all rows.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int32, Shaped

from crowdlearn.errors import VotesError

MISSING = ("", "nan", "null")
"""Labels that mean "no label", whatever their case."""

ROOM = 1 << 18
"""Names that may wait at any time before they are merged."""


def encode(values: pa.Array, *, rarely_repeat: bool = False) -> pa.DictionaryArray:
    """Dictionary of the distinct values in order of first appearance; a null stays a null index.

    Values come out as strings or int64. Where they `rarely_repeat`, they may stand in the
    dictionary as they are: finding the few repeats is left to `Coder`, which has to look at all of
    them anyway. Raises VotesError for real numbers and nested types.
    """
    if pa.types.is_dictionary(values.type):
        used = values.indices.dictionary_encode()
        distinct = plain(values.dictionary).take(used.dictionary)
        if distinct.null_count == 0:
            return pa.DictionaryArray.from_arrays(used.indices, distinct)
        values = distinct.take(used.indices)
    if not (pa.types.is_string(values.type) or pa.types.is_integer(values.type)):
        values = plain(values)
    if rarely_repeat and values.null_count == 0:
        each = pa.array(np.arange(len(values), dtype=np.int32))
        return pa.DictionaryArray.from_arrays(each, plain(values))
    encoded = values.dictionary_encode()
    return pa.DictionaryArray.from_arrays(encoded.indices, plain(encoded.dictionary))


def plain(values: pa.Array) -> pa.Array:
    """Values as strings or int64, NaN as null. Raises VotesError for a type that is no name."""
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_int64(kind):
        return values
    if pa.types.is_integer(kind):
        return _cast(values, pa.string() if pa.types.is_uint64(kind) else pa.int64())
    if pa.types.is_floating(kind):
        return _whole_numbers(values)
    if pa.types.is_nested(kind):
        raise VotesError(f"holds {kind}, where strings or integers are needed")
    return _cast(values, pa.string())


def _whole_numbers(values: pa.Array) -> pa.Array:
    """Integers that travel as floats, because some were missing."""
    values = pc.if_else(pc.is_nan(values), None, values)
    fractional = values.filter(pc.fill_null(pc.not_equal(pc.floor(values), values), False))
    if len(fractional):
        raise VotesError(
            f"holds the real number {fractional[0].as_py()}: names and classes are strings or "
            "integers; bin the numbers, or turn them into strings"
        )
    return _cast(values, pa.int64())


def _cast(values: pa.Array, kind: pa.DataType) -> pa.Array:
    try:
        return values.cast(kind)
    except pa.ArrowInvalid as error:
        raise VotesError(f"cannot be read as {kind}: {error}") from error
    except pa.ArrowNotImplementedError as error:
        raise VotesError(f"holds {values.type}, where strings or integers are needed") from error


def codes_of(encoded: pa.DictionaryArray) -> Int32[np.ndarray, " row"]:
    """The indices, -1 for a null."""
    indices = encoded.indices
    return (indices.fill_null(-1) if indices.null_count else indices).to_numpy()


def missing(encoded: pa.DictionaryArray, *, is_label: bool) -> Bool[np.ndarray, " row"] | None:
    """Which rows hold no name: a null, an empty string, or (for labels) a word for it; or None."""
    names = encoded.dictionary
    blank = np.zeros(len(names) + 1, dtype=bool)
    blank[-1] = encoded.indices.null_count > 0
    if pa.types.is_string(names.type):
        if is_label:
            words = pc.utf8_lower(pc.utf8_trim_whitespace(names))
            blank[:-1] = pc.is_in(words, pa.array(MISSING)).to_numpy(zero_copy_only=False)
        else:
            blank[:-1] = pc.equal(pc.binary_length(names), 0).to_numpy(zero_copy_only=False)
    return blank[codes_of(encoded)] if blank.any() else None


def compact(encoded: pa.DictionaryArray, keep: Bool[np.ndarray, " row"]) -> pa.DictionaryArray:
    """The rows to keep, with only the names that they use."""
    used = encoded.indices.filter(pa.array(keep)).dictionary_encode()
    return pa.DictionaryArray.from_arrays(used.indices, encoded.dictionary.take(used.dictionary))


class Coder:
    """Codes of one column, by order of first appearance; add batches, then `finish` once."""

    def __init__(self) -> None:
        self._names: pa.Array | None = None
        self._codes: list[Int32[np.ndarray, " _"]] = []
        self._waiting: list[pa.DictionaryArray] = []
        self._n_waiting = 0
        self.rarely_repeat = False

    def add(self, encoded: pa.DictionaryArray) -> None:
        """Take in a batch that holds no null."""
        self.rarely_repeat |= 2 * len(encoded.dictionary) > len(encoded) >= 1000
        self._waiting.append(encoded)
        self._n_waiting += len(encoded.dictionary)
        n_known = 0 if self._names is None else len(self._names)
        if self._n_waiting > max(ROOM, 2 * n_known):
            self._merge()

    def finish(self) -> tuple[pa.Array, Int32[np.ndarray, " row"]]:
        """The names, and the code of every row."""
        self._merge()
        names = pa.array([], pa.string()) if self._names is None else self._names
        return names, _joined(self._codes)

    def _merge(self) -> None:
        if not self._waiting:
            return
        known = [] if self._names is None else [self._names]
        merged = _together([*known, *(e.dictionary for e in self._waiting)]).dictionary_encode()
        code = merged.indices.to_numpy()
        start = 0 if self._names is None else len(self._names)
        for encoded in self._waiting:
            stop = start + len(encoded.dictionary)
            self._codes.append(code[start:stop][encoded.indices.to_numpy()])
            start = stop
        self._names, self._waiting, self._n_waiting = merged.dictionary, [], 0


def _together(pieces: list[pa.Array]) -> pa.Array:
    """One array of all; strings where some are strings; large strings past 2 GB of text."""
    if len({piece.type for piece in pieces}) > 1:
        pieces = [piece.cast(pa.string()) for piece in pieces]
    if sum(piece.nbytes for piece in pieces) > 2**31 - 2**24:
        if not pa.types.is_integer(pieces[0].type):
            pieces = [piece.cast(pa.large_string()) for piece in pieces]
    return pa.concat_arrays(pieces)


def _joined(pieces: list[Shaped[np.ndarray, " _"]]) -> Int32[np.ndarray, " row"]:
    """All pieces in one array; each is let go as soon as it is copied."""
    whole = np.empty(sum(map(len, pieces)), dtype=np.int32)
    stop = len(whole)
    while pieces:
        piece = pieces.pop()
        whole[stop - len(piece) : stop] = piece
        stop -= len(piece)
    return whole
