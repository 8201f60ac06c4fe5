"""Parts to coded columns: every row checked, coded and remembered by its place."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int32

from crowdlearn.errors import VotesError, VotesWarning
from crowdlearn.reading.coding import Coder, codes_of, compact, encode, missing
from crowdlearn.reading.columns import find_columns
from crowdlearn.reading.parts import Batch, Part, ahead


@dataclass(frozen=True, eq=False)
class Rows:
    """Coded columns by role, the names behind the codes, and where each row stood."""

    names: Mapping[str, pa.Array]
    codes: dict[str, Int32[np.ndarray, " row"]]
    places: Sequence[tuple[str, Sequence[int]]]  # (part, row numbers), one a batch

    def place(self, index: int) -> str:
        """File and row number of the row with this index."""
        for part, rows in self.places:
            if index < len(rows):
                return f"{part}, row {rows[index]}"
            index -= len(rows)
        raise IndexError(index)


def collect(
    parts: Iterable[Part],
    wanted: Mapping[str, Sequence[str]],
    *,
    columns: Mapping[str, str],
    classes: Sequence[str] | None = None,
    drop_missing: bool = False,
) -> Rows:
    """Read all parts. Raises VotesError naming the place of the first row that cannot be used."""
    coders = {role: Coder() for role in wanted}
    places: list[tuple[str, Sequence[int]]] = []
    dropped: Counter[str] = Counter()
    names_of_parts = []
    for part in parts:
        names_of_parts.append(part.name)
        found = find_columns(part.columns, wanted, columns, part.name)
        checked = checked_batches(part, found, classes, dropped if drop_missing else None, coders)
        for encoded, rows in ahead(checked):
            places.append((part.name, rows))
            for role, coder in coders.items():
                coder.add(encoded[role])
    n_rows = sum(len(rows) for _, rows in places)
    if n_rows == 0:
        raise VotesError(f"{', '.join(names_of_parts[:3])}: holds no votes, only a header or less")
    _warn_of_dropped(dropped, n_rows)
    finished = {}
    for role in list(coders):  # one after the other, each freed before the next
        finished[role] = coders.pop(role).finish()
    return Rows(
        names={role: names for role, (names, _) in finished.items()},
        codes={role: codes for role, (_, codes) in finished.items()},
        places=places,
    )


def ordered_classes(names: pa.Array) -> list[str]:
    """Class names: by number where all look like integers, else by spelling."""
    strings = names.cast(pa.string()).to_pylist()
    if all(re.fullmatch(r"[+-]?[0-9]{1,18}", name) for name in strings):
        return sorted(strings, key=lambda name: (int(name), name))
    return sorted(strings)


def recoded(
    codes: Int32[np.ndarray, " row"], names: pa.Array, order: Sequence[str]
) -> Int32[np.ndarray, " row"]:
    """Codes into `names` as codes into `order`."""
    position = pc.index_in(names.cast(pa.string()), pa.array(list(order), pa.string()))
    return position.to_numpy().astype(np.int32)[codes]


def checked_batches(
    part: Part,
    found: Mapping[str, str],
    classes: Sequence[str] | None,
    dropped: Counter[str] | None,
    coders: Mapping[str, Coder] | None = None,
) -> Iterator[tuple[dict[str, pa.DictionaryArray], Sequence[int]]]:
    """The batches of a part, encoded, with what is missing refused or (counted) left out."""
    for batch in part.batches(list(found.values())):
        rare = {role for role, coder in (coders or {}).items() if coder.rarely_repeat}
        encoded = _encode(part.name, batch, found, rare, classes)
        yield _without_missing(part.name, batch.rows, encoded, found, dropped)


def _encode(
    part: str,
    batch: Batch,
    found: Mapping[str, str],
    rare: set[str],
    classes: Sequence[str] | None,
) -> dict[str, pa.DictionaryArray]:
    encoded = {}
    for role, column in found.items():
        values = batch.columns[column]
        try:
            encoded[role] = encode(values, rarely_repeat=role in rare and role != "label")
        except VotesError as error:
            at = _first_real(values, batch.rows)
            raise VotesError(f"{part}{at}, column {column!r}: {error}") from error
    label = encoded["label"]
    strings = label.dictionary.cast(pa.string())
    encoded["label"] = pa.DictionaryArray.from_arrays(label.indices, strings)
    if classes is not None:
        _check_classes(part, batch.rows, encoded["label"], found["label"], classes)
    return encoded


def _first_real(values: pa.Array, rows: Sequence[int]) -> str:
    """', row N' of the first real number; nothing where the whole column has a wrong type."""
    if not pa.types.is_floating(values.type):
        return ""
    fractional = pc.fill_null(pc.not_equal(pc.floor(values), values), False)
    fractional = pc.and_(fractional, pc.fill_null(pc.invert(pc.is_nan(values)), False))
    index = pc.index(fractional, True).as_py()
    return f", row {rows[index]}" if index >= 0 else ""


def _check_classes(
    part: str,
    rows: Sequence[int],
    label: pa.DictionaryArray,
    column: str,
    classes: Sequence[str],
) -> None:
    strange = pc.invert(pc.is_in(label.dictionary, pa.array(list(classes), pa.string())))
    strange = np.append(strange.to_numpy(zero_copy_only=False), False)
    blank = missing(label, is_label=True)
    bad = strange[codes_of(label)]
    if blank is not None:
        bad &= ~blank
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        known = ", ".join(classes[:20])
        raise VotesError(
            f"{part}, row {rows[first]}, column {column!r}: {label[first].as_py()!r} is not one "
            f"of {known}; correct it, or name all classes with classes=[...] where votes are read"
        )


def _without_missing(
    part: str,
    rows: Sequence[int],
    encoded: dict[str, pa.DictionaryArray],
    found: Mapping[str, str],
    dropped: Counter[str] | None,
) -> tuple[dict[str, pa.DictionaryArray], Sequence[int]]:
    """The rows that miss nothing; with no `dropped` to count in, a missing value is an error."""
    masks = {role: missing(column, is_label=role == "label") for role, column in encoded.items()}
    blank = {role: mask for role, mask in masks.items() if mask is not None}
    if not blank:
        return encoded, rows
    if dropped is None:
        raise VotesError(_missing_complaint(part, rows, blank, encoded, found))
    gone = np.logical_or.reduce(list(blank.values()))
    dropped.update({role: int(mask.sum()) for role, mask in blank.items()}, rows=int(gone.sum()))
    kept = {role: compact(column, ~gone) for role, column in encoded.items()}
    return kept, np.asarray(rows)[~gone].tolist()


def _missing_complaint(
    part: str,
    rows: Sequence[int],
    blank: Mapping[str, Bool[np.ndarray, " row"]],
    encoded: Mapping[str, pa.DictionaryArray],
    found: Mapping[str, str],
) -> str:
    first = {role: int(np.flatnonzero(mask)[0]) for role, mask in blank.items()}
    role = min(first, key=lambda r: first[r])
    value = encoded[role][first[role]].as_py()
    what = f"{value!r}, which reads as a missing {role}" if value else f"no {role}"
    return (
        f"{part}, row {rows[first[role]]}, column {found[role]!r}: {what}; fill it in, or leave "
        "such rows out with drop_missing=True (--drop-missing)"
    )


def _warn_of_dropped(dropped: Counter[str], n_kept: int) -> None:
    n_dropped = dropped.pop("rows", 0)
    if n_dropped:
        why = ", ".join(f"{n:,} without {role}" for role, n in dropped.items())
        warnings.warn(
            f"{n_dropped:,} of {n_kept + n_dropped:,} rows left out: {why}",
            VotesWarning,
            stacklevel=4,
        )
