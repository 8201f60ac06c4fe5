"""What every reader promises: whatever the form of the file, the same votes; else the place."""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from crowdlearn.errors import VotesError, VotesWarning
from crowdlearn.io import read_truth, read_votes, read_wide, votes_from_stream, write_csv
from crowdlearn.votes import Votes

HEAD = "task,worker,label\n"
BODY = "a,ann,cat\nb,bob,dog\na,bob,cat\n"
ROWS = [("a", "ann", "cat"), ("b", "bob", "dog"), ("a", "bob", "cat")]
NAMES = ["task", "worker", "label"]

text = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\x00"),
    min_size=1,
    max_size=6,
)
label = text.filter(lambda word: word.strip().lower() not in ("", "nan", "null"))
rows = st.lists(st.tuples(text, text, label), min_size=1, max_size=30).filter(
    lambda all_rows: len({row[2] for row in all_rows}) > 1
)


def as_rows(votes: Votes) -> list[tuple[str, str, str]]:
    """The votes as sorted triples of names."""
    return sorted(tuple(map(str, row.values())) for row in votes.to_table().to_pylist())


def table(triples: list[tuple[str, str, str]]) -> pa.Table:
    return pa.table(dict(zip(NAMES, map(list, zip(*triples, strict=True)), strict=True)))


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


GOOD = {
    "plain.csv": HEAD + BODY,
    "no_end.csv": (HEAD + BODY).rstrip(),
    "blank_lines.csv": "\n" + HEAD + "\n" + BODY + "\n\n",
    "bom.csv": "\ufeff" + HEAD + BODY,
    "crlf.csv": (HEAD + BODY).replace("\n", "\r\n"),
    "semicolons.csv": (HEAD + BODY).replace(",", ";"),
    "tabs.tsv": (HEAD + BODY).replace(",", "\t"),
    "quoted.csv": '"task","worker","label"\n"a","ann","cat"\n"b",bob,dog\n"a",bob,"cat"\n',
    "more_columns.csv": "when,label,item,annotator\n1,cat,a,ann\n2,dog,b,bob\n3,cat,a,bob\n",
    "text.txt": HEAD + BODY,
    "packed.csv.gz": gzip.compress((HEAD + BODY).encode()),
    "lines.jsonl": "\n".join(json.dumps(dict(zip(NAMES, r, strict=True))) for r in ROWS),
    "lines.ndjson": "\n\n".join(json.dumps(dict(zip(NAMES, r, strict=True))) for r in ROWS) + "\n",
    "list.json": json.dumps([dict(zip(NAMES, r, strict=True)) for r in ROWS], indent=2),
    "packed.jsonl.gz": gzip.compress(
        "\n".join(json.dumps(dict(zip(NAMES, r, strict=True))) for r in ROWS).encode()
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_every_form_of_file_gives_the_same_votes(name: str, tmp_path: Path) -> None:
    votes = read_votes(write(tmp_path / name, GOOD[name]))
    assert as_rows(votes) == sorted(ROWS)
    assert votes.items.to_pylist() == ["a", "b"]
    assert votes.workers.to_pylist() == ["ann", "bob"]
    assert votes.classes == ("cat", "dog")


@pytest.mark.parametrize("kind", ["pyarrow", "pandas", "polars", "categorical", "enum", "reader"])
def test_every_table_in_memory_gives_the_same_votes(kind: str) -> None:
    frame = pd.DataFrame(ROWS, columns=NAMES)
    tables = {
        "pyarrow": table(ROWS),
        "pandas": frame,
        "polars": pl.DataFrame(ROWS, schema=NAMES, orient="row"),
        "categorical": frame.astype("category"),
        "enum": pl.DataFrame(ROWS, schema=NAMES, orient="row").with_columns(
            pl.col("label").cast(pl.Enum(["unused", "dog", "cat"])),
            pl.col("worker").cast(pl.Categorical),
        ),
        "reader": table(ROWS).to_reader(max_chunksize=1),
    }
    votes = read_votes(tables[kind])
    assert as_rows(votes) == sorted(ROWS)
    assert votes.classes == ("cat", "dog")


def test_a_table_and_votes_from_table_agree() -> None:
    assert as_rows(Votes.from_table(table(ROWS))) == sorted(ROWS)
    with pytest.raises(VotesError, match="list does not speak the Arrow C stream"):
        votes_from_stream([1, 2])


def test_parquet_keeps_integer_names_and_makes_classes_strings(tmp_path: Path) -> None:
    path = tmp_path / "votes.parquet"
    columns = {"task": [7, 3, 7], "worker": np.array([1, 1, 2], np.uint8), "label": [10, 9, 9]}
    pq.write_table(pa.table(columns), path)
    votes = read_votes(path)
    assert votes.items.equals(pa.array([7, 3]))
    assert votes.workers.equals(pa.array([1, 2]))
    assert votes.classes == ("9", "10")


def test_integers_that_travel_as_floats_are_integers() -> None:
    frame = pd.DataFrame({"task": [1.0, 2.0, None], "worker": ["w"] * 3, "label": [1.0, None, 2.0]})
    with pytest.warns(VotesWarning, match=r"2 of 3 rows left out: 1 without item, 1 without label"):
        votes = read_votes(frame, drop_missing=True, classes=[1, 2])
    assert votes.items.equals(pa.array([1])) and votes.classes == ("1", "2")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["10", "9", "x"], ("10", "9", "x")),
        (["b", "a", "B"], ("B", "a", "b")),
        (["01", "1", "0"], ("0", "01", "1")),
    ],
)
def test_classes_go_by_number_where_all_are_integers(
    labels: list[str], expected: tuple[str, ...]
) -> None:
    triples = [("a", "w", word) for word in labels]
    assert read_votes(table(triples)).classes == expected


def test_given_classes_fix_order_and_may_have_no_votes() -> None:
    votes = read_votes(table(ROWS), classes=["dog", "cow", "cat"])
    assert votes.classes == ("dog", "cow", "cat")
    assert_array_equal(votes.counts(), [[0, 0, 2], [1, 0, 0]])


def test_ids_keep_leading_zeros_newlines_and_any_script(tmp_path: Path) -> None:
    content = HEAD + '007,"x\ny, z",cat\n7,"say ""hi""",dog\n日本,ω👍,dog\n'
    votes = read_votes(write(tmp_path / "v.csv", content))
    assert votes.items.to_pylist() == ["007", "7", "日本"]
    assert votes.workers.to_pylist() == ["x\ny, z", 'say "hi"', "ω👍"]


def test_many_files_are_one_input_whatever_their_column_order(tmp_path: Path) -> None:
    one = write(tmp_path / "part1.csv", HEAD + "a,ann,cat\n")
    two = write(tmp_path / "part2.csv", "label;annotator;item\ndog;bob;b\ncat;bob;a\n")
    for source in ([one, str(two)], str(tmp_path / "part*.csv"), (tmp_path / "part?.csv",)):
        assert as_rows(read_votes(source)) == sorted(ROWS)
    write(tmp_path / "part3.csv", "task,label\na,cat\n")
    with pytest.raises(
        VotesError, match=r"part3\.csv: no column 'worker' or 'annotator'; there is"
    ):
        read_votes(tmp_path / "part*.csv")


def test_files_may_disagree_on_the_type_of_a_name(tmp_path: Path) -> None:
    pq.write_table(pa.table({"task": [1], "worker": ["w"], "label": ["x"]}), tmp_path / "1.parquet")
    text_file = write(tmp_path / "2.csv", HEAD + "1,w,y\n2,w,y\n")
    votes = read_votes([tmp_path / "1.parquet", text_file])
    assert votes.items.to_pylist() == ["1", "2"]


@pytest.mark.parametrize("format", [None, "csv", "jsonl"])
def test_standard_input(format: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    content = GOOD["lines.jsonl"] if format == "jsonl" else GOOD["plain.csv"]
    assert isinstance(content, str)
    stream = io.TextIOWrapper(io.BytesIO(content.encode()))
    monkeypatch.setattr(sys, "stdin", stream)
    assert as_rows(read_votes("-", format=format)) == sorted(ROWS)


BAD = {
    "missing_column.csv": ("task,who,label\na,w,x\n", r"there is 'task', 'who', .*columns="),
    "two_of_a_kind.csv": ("task,item,worker,label\na,a,w,x\n", r"could both .*--columns item=task"),
    "duplicate.csv": ("task,worker,label,label\na,w,x,y\n", r"column 'label' stands 2 times"),
    "empty_item.csv": (HEAD + BODY + ",w,x\n", r"row 5, column 'task': no item; .*drop_missing"),
    "empty_worker.csv": (HEAD + BODY + "a,,x\n", r"row 5, column 'worker': no worker"),
    "empty_label.csv": (HEAD + '"a\n\n",w,x\n' + "a,w,\n", r"row 3, column 'label': no label"),
    "nan.csv": (HEAD + BODY + "a,w,NaN\n", r"row 5, column 'label': 'NaN', which reads as"),
    "null.csv": (HEAD + BODY + "a,w, null \n", r"row 5, column 'label': ' null ', which reads as"),
    "empty.csv": ("", r"is empty: the first line must name the columns"),
    "blank.csv": ("\ufeff\n\n", r"is empty"),
    "header.csv": (HEAD, r"holds no votes"),
    "one_class.csv": (HEAD + "a,w,x\nb,w,x\n", r"all votes say 'x': a single class.*classes=\["),
    "short_row.csv": (HEAD + BODY + "a,w\n", r"row 5: 2 fields, where the header has 3"),
    "long_row.csv": (HEAD + BODY + "a,w,x,y\n", r"row 5: 4 fields, where the header has 3"),
    "latin1.csv": ((HEAD + BODY).encode() + b"a,\xe9,x\n", r"row 5, column 'worker': is not UTF-8"),
    "latin1_head.csv": (b"t\xe9sk,worker,label\na,w,x\n", r"row 1: is not UTF-8"),
    "utf16.csv": ((HEAD + BODY).encode("utf-16"), r"is UTF-16: save it as UTF-8"),
    "open_quote.csv": (HEAD + 'a,w,"x\nb,w,y\n', r"odd number of quote marks"),
    "open_quote_in_the_middle.csv": (HEAD + 'a,"w,x\nb,w,y\n', r"row 2: 2 fields"),
    "cut.csv.gz": (gzip.compress((HEAD + BODY * 50_000).encode())[:-30], r"breaks off before its"),
    "cut_early.csv.gz": (gzip.compress((HEAD + BODY).encode())[:12], r"breaks off|damaged"),
    "damaged.csv.gz": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + b"\xff" * 99, r"damaged gzip"),
    "unknown.votes": (HEAD + BODY, r"its ending says no format: .*\.parquet.*format='csv'"),
    "not_json.jsonl": ('{"task": 1,\n', r"row 1: is not JSON"),
    "pretty.json": ('{\n "task": 1\n}', r"row 1: is not JSON .*one object a line, or one list"),
    "later_bad.jsonl": ('{"task":1,"worker":1,"label":1}\n{"task"', r"row 2: is not JSON"),
    "number.json": ("[1, 2]", r"row 1: '1' is not a JSON object"),
    "no_label.jsonl": ('{"task":1,"worker":1}\n{"task":1,"worker":2,"label":3}', r"row 1, .* no l"),
    "nested.jsonl": ('{"task":1,"worker":1,"label":["x"]}', r"row 1, .*: \[\"x\"\] is not a"),
    "surrogate.jsonl": ('{"task":"\\ud800","worker":1,"label":1}', r"row 1, .* is not text"),
    "empty.jsonl": ("", r"is empty"),
    "keys.jsonl": ('{"a":1}', r"no column 'task' or 'item'; there is 'a'"),
    "no.parquet": ("task,worker,label", r"cannot be read as a table"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_malformed_files_are_refused_with_their_place(name: str, tmp_path: Path) -> None:
    content, message = BAD[name]
    with pytest.raises(VotesError, match=f"(?s)^{tmp_path}/{name.replace('.', '[.]')}.*{message}"):
        read_votes(write(tmp_path / name, content))


def test_sources_that_are_no_files_are_refused_with_advice(tmp_path: Path) -> None:
    write(tmp_path / "votes.csv", HEAD + BODY)
    for source, message in {
        tmp_path: r"is a directory: name its files, as '.*/\*\.csv'",
        tmp_path / "vote.csv": r"there is no such file; did you mean .*votes\.csv\?",
        tmp_path / "no" / "votes.csv": r"nor a directory",
        tmp_path / "*.parquet": "no file matches",
    }.items():
        with pytest.raises(VotesError, match=message):
            read_votes(source)
    for nothing in (42, [], {"a": 1}):
        with pytest.raises(VotesError, match="cannot read votes from"):
            read_votes(nothing)
    with pytest.raises(VotesError, match="'xml' is not one of csv, json"):
        read_votes(tmp_path / "votes.csv", format="xml")
    with pytest.raises(VotesError, match="Parquet cannot be read from a pipe"):
        read_votes("-", format="parquet")
    with pytest.raises(VotesError, match="'voter' is not one of item, worker, label"):
        read_votes(tmp_path / "votes.csv", columns={"voter": "worker"})


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([1, None, 2]), "row 2, column 'label': no label"),
        (pa.array([1.0, float("nan"), 2.0]), "row 2, column 'label': no label"),
        (pa.array([1.0, 2.0, 0.5]), "row 3, column 'label': holds the real number 0.5"),
        (pa.array([["x"], ["y"], []]), "column 'label': holds list<"),
        (pa.nulls(3), "row 1, column 'label': no label"),
        (pa.array(["x", None, "y"]).dictionary_encode(), "row 2, column 'label': no label"),
        (pa.DictionaryArray.from_arrays(pa.array([0, 1, 1]), pa.array(["x", None])), "row 2"),
    ],
)
def test_bad_values_in_a_table_are_refused_with_their_place(column: pa.Array, message: str) -> None:
    bad = pa.table({"task": ["a", "b", "c"], "worker": ["w"] * 3, "label": column})
    with pytest.raises(VotesError, match=message):
        read_votes(bad)


def test_a_frame_of_mixed_objects_is_refused() -> None:
    frame = pd.DataFrame({"task": ["a", 1], "worker": ["w", "w"], "label": ["x", "y"]})
    with pytest.raises(VotesError, match="cannot be read as a table"):
        read_votes(frame)


def test_a_label_that_is_no_given_class_is_refused_by_row(tmp_path: Path) -> None:
    path = write(tmp_path / "votes.csv", HEAD + BODY + "c,bob,catt\n")
    with pytest.raises(VotesError, match=r"row 5, column 'label': 'catt' is not one of cat, dog"):
        read_votes(path, classes=["cat", "dog"])
    for classes in (["cat"], ["cat", "cat"], "cat"):
        with pytest.raises(VotesError, match="at least two different names"):
            read_votes(path, classes=classes)


def test_dropped_rows_are_counted_and_leave_no_names_behind(tmp_path: Path) -> None:
    path = write(tmp_path / "votes.csv", HEAD + BODY + "gone,gone,\n,x,cat\n,y,nan\n")
    with pytest.warns(VotesWarning, match="3 of 6 rows left out: 2 without item, 2 without label"):
        votes = read_votes(path, drop_missing=True)
    assert as_rows(votes) == sorted(ROWS)
    assert votes.workers.to_pylist() == ["ann", "bob"] and votes.items.to_pylist() == ["a", "b"]


def test_rows_are_numbered_across_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crowdlearn.reading.delimited.BLOCK", 1 << 12)
    lines = [f"item{n},worker{n % 7},{n % 3}" for n in range(5000)]
    lines[4321] = "item4321,worker2,"
    with pytest.raises(VotesError, match=r"row 4323, column 'label'"):
        read_votes(write(tmp_path / "v.csv", HEAD + "\n".join(lines)))


def test_small_batches_and_large_ones_give_equal_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    draws = np.column_stack([rng.integers(0, most, 9000) for most in (2000, 40, 3)])
    path = write(tmp_path / "v.csv", HEAD + "".join(f"i{i},w{w},{k}\n" for i, w, k in draws))
    whole = read_votes(path)
    monkeypatch.setattr("crowdlearn.reading.delimited.BLOCK", 1 << 13)
    monkeypatch.setattr("crowdlearn.reading.coding.ROOM", 64)
    pieces = read_votes(path)
    assert whole.items.equals(pieces.items) and whole.workers.equals(pieces.workers)
    assert_array_equal(whole.item_offsets, pieces.item_offsets)
    assert_array_equal(whole.worker, pieces.worker)
    assert_array_equal(whole.label, pieces.label)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(triples=rows)
def test_what_is_written_is_read_back(triples: list[tuple[str, str, str]], tmp_path: Path) -> None:
    votes = read_votes(table(triples))
    assert as_rows(votes) == sorted(triples)
    write_csv(votes.to_table(), tmp_path / "votes.csv")
    pq.write_table(votes.to_table(), tmp_path / "votes.parquet")
    lines = "\n".join(json.dumps(row) for row in votes.to_table().to_pylist())
    write(tmp_path / "votes.jsonl", lines)
    for ending in ("csv", "parquet", "jsonl"):
        again = read_votes(tmp_path / f"votes.{ending}", classes=votes.classes)
        assert again.items.equals(votes.items) and again.classes == votes.classes
        assert_array_equal(again.item_offsets, votes.item_offsets)
        assert_array_equal(again.label, votes.label)
        assert as_rows(again) == as_rows(votes)


@settings(max_examples=40)
@given(triples=rows, order=st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing_but_the_order(
    triples: list[tuple[str, str, str]], order: object
) -> None:
    shuffled = list(triples)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = read_votes(table(triples)), read_votes(table(shuffled))
    assert as_rows(one) == as_rows(other)
    assert one.classes == other.classes


def test_wide_tables_are_long_ones_folded(tmp_path: Path) -> None:
    content = "name,ann,bob\na,cat,cat\nb,,dog\n"
    path = write(tmp_path / "wide.csv", content)
    votes = read_votes(path, format="wide")
    assert as_rows(votes) == sorted(ROWS)
    assert as_rows(read_wide(path, workers=["bob"], classes=["cat", "dog"])) == sorted(ROWS[1:])
    frame = pl.DataFrame({"ann": [1, None], "name": ["a", "b"], "bob": [1, 2]})
    wide = read_wide(frame, item="name")
    assert as_rows(wide) == [("a", "ann", "1"), ("a", "bob", "1"), ("b", "bob", "2")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("item\na\n", "has no column of votes besides 'item'"),
        ("item,w\n,x\n", "row 2, column 'item': no item"),
        ("item,w,w\na,x,y\n", "column 'w' stands twice"),
        ("item,w\na,\nb,\n", "holds no votes"),
    ],
)
def test_bad_wide_tables_are_refused(content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(VotesError, match=message):
        read_wide(write(tmp_path / "wide.csv", content))


def test_a_bad_cell_of_a_wide_table_has_its_row(tmp_path: Path) -> None:
    path = write(tmp_path / "wide.csv", "item,ann,bob\na,cat,\nb,dog,cat\nc,dog,cow\n")
    with pytest.raises(VotesError, match=r"row 4, .*'cow' is not one of cat, dog"):
        read_wide(path, classes=["cat", "dog"])
    with pytest.raises(VotesError, match="'eve' is missing; there is 'item', 'ann', 'bob'"):
        read_wide(path, workers=["eve"])
    with pytest.raises(VotesError, match="not JSON"):
        read_wide(write(tmp_path / "wide.jsonl", '{"item": 1, "w": 2}'))


def test_truth_is_read_by_item_and_unknown_elsewhere(tmp_path: Path) -> None:
    votes = read_votes(table(ROWS))
    for head in ("task,label", "item,truth", "task,class"):
        path = write(tmp_path / "truth.csv", f"{head}\nb,cat\nb,cat\n")
        assert_array_equal(read_truth(path, votes), [-1, 0])
    path = write(tmp_path / "truth.csv", "q,a\na,dog\n")
    assert_array_equal(read_truth(path, votes, columns={"item": "q", "label": "a"}), [1, -1])


def test_truth_of_integer_items_is_found_by_string_and_by_number(tmp_path: Path) -> None:
    votes = read_votes(pa.table({"task": [5, 6], "worker": ["w", "w"], "label": [0, 1]}))
    assert_array_equal(read_truth(write(tmp_path / "t.csv", "task,label\n6,0\n"), votes), [-1, 0])
    assert_array_equal(read_truth(pa.table({"task": [6], "label": [0]}), votes), [-1, 0])
    with pytest.warns(VotesWarning, match=r"1 of 2 items with truth have no vote, as 'x'"):
        truth = read_truth(write(tmp_path / "t.csv", "task,label\n6,0\nx,0\n"), votes)
    assert_array_equal(truth, [-1, 0])


def test_truth_of_other_items_is_left_out_with_a_count(tmp_path: Path) -> None:
    votes = read_votes(table(ROWS))
    path = write(tmp_path / "truth.csv", "task,label\nx,cat\na,dog\ny,dog\n")
    with pytest.warns(VotesWarning, match=r"row 2: 2 of 3 items with truth have no vote, as 'x'"):
        assert_array_equal(read_truth(path, votes), [1, -1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("task,label\na,cow\n", r"row 2, column 'label': 'cow' is not one of cat, dog"),
        ("task,label\na,cat\nb,dog\na,dog\n", r"row 4: another truth for item 'a' than in .*row 2"),
        ("task,label\nx,cat\ny,dog\n", r"none of the 2 items with truth has a vote, as 'x'"),
        ("task,label\na,\n", r"row 2, column 'label': no label"),
        ("task\na\n", r"no column 'label' or 'truth' or 'class'"),
        ("task,label\n", r"holds no"),
    ],
)
def test_bad_truth_is_refused_with_its_place(content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(VotesError, match=message):
        read_truth(write(tmp_path / "truth.csv", content), read_votes(table(ROWS)))
