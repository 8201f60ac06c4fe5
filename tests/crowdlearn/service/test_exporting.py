"""What is exported can be read back, and no spreadsheet takes it for a formula."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from crowdlearn.errors import SettingsError
from crowdlearn.io import read_votes
from crowdlearn.service.access import LOCAL
from crowdlearn.service.answers import accept, answer, note
from crowdlearn.service.exporting import CONTENTS, FORMATS, export, safe
from crowdlearn.service.projects import create_project
from crowdlearn.service.votes import NewVote, append_votes
from crowdlearn.store import Store
from tests.crowdlearn.service.conftest import Desk


def written(store: Store, project: str = "p", **what: Any) -> bytes:
    file = io.BytesIO()
    with store.read() as db:
        export(db, LOCAL, project, file, **what)
    return file.getvalue()


def rows_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def test_votes_come_back_as_they_went_in(desk: Desk, tmp_path: Path) -> None:
    wanted = sorted(map(tuple, (row.values() for row in desk.votes.to_table().to_pylist())))
    for format, ending in (("csv", "csv"), ("parquet", "parquet"), ("jsonl", "jsonl")):
        path = tmp_path / f"votes.{ending}"
        path.write_bytes(written(desk.store, what="votes", format=format))
        again = read_votes(path).to_table().to_pylist()
        assert sorted(map(tuple, (row.values() for row in again))) == wanted
    path = tmp_path / "tasks.json"
    path.write_bytes(written(desk.store, format="label-studio"))
    again = read_votes(path, format="label-studio").to_table().to_pylist()
    assert sorted((r["worker"], r["label"]) for r in again) == sorted(
        (worker, label) for _, worker, label in wanted
    )


def test_labels_say_what_stands_and_who_said_it(desk: Desk) -> None:
    desk.fold()
    with desk.store.write() as db:
        answer(db, LOCAL, "p", "7", "2")
        n = accept(db, LOCAL, "p", 0.999)
        note(db, LOCAL, "p", "7", "line\nbreak, and comma")
    desk.fold()
    rows = rows_of(written(desk.store))
    by_name = {row["task"]: row for row in rows}
    assert len(rows) == 120
    assert (by_name["7"]["label"], by_name["7"]["source"], by_name["7"]["state"]) == (
        "2", "expert", "answered",
    )  # fmt: skip
    assert sum(row["state"] == "accepted" for row in rows) == n
    for row in rows:
        shares = [float(row[f"p_{k}"]) for k in range(3)]
        assert abs(sum(shares) - 1) < 1e-9
        assert abs(max(shares) - float(row["confidence"])) < 1e-12
    told = rows_of(written(desk.store, what="answers"))
    assert told[-1]["text"] == "line\nbreak, and comma"
    table = pq.read_table(io.BytesIO(written(desk.store, format="parquet"))).to_pylist()
    lines = [json.loads(line) for line in written(desk.store, format="jsonl").splitlines()]
    assert table == lines
    assert [row["task"] for row in table] == [row["task"] for row in rows]


RISKY = ["=1+1", "+cmd|'/c calc'!A0", "-2+3", "@SUM(A1)", "\tx", "\rx", '=HYPERLINK("http://x")']


def test_no_cell_begins_like_a_formula(store: Store) -> None:
    names = [name for name in RISKY if name.isprintable()]
    with store.write() as db:
        create_project(db, LOCAL, "p", ["=a()", "b"])
        votes = [NewVote(item=name, worker=name, label="=a()") for name in names]
        append_votes(db, LOCAL, "p", votes)
        answer(db, LOCAL, "p", names[0], "b", note="=evil()")
    for what in CONTENTS:
        for row in csv.reader(io.StringIO(written(store, what=what).decode())):
            for cell in row:
                assert not cell or cell[0] not in "=+-@\t\r" or is_number(cell), cell
    raw = rows_of(written(store, what="votes", raw=True))
    assert [row["task"] for row in raw] == names


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("value", RISKY)
def test_risky_texts_get_an_apostrophe(value: str) -> None:
    assert safe(value) == "'" + value


@pytest.mark.parametrize("value", ["-5", "+1.5", "-1e-3", "abc", "", None, 3, -3.5, "a=b"])
def test_numbers_and_plain_texts_stay(value: object) -> None:
    assert safe(value) == value


def test_unknown_contents_and_formats_are_refused(desk: Desk) -> None:
    for what in ({"what": "x"}, {"format": "x"}, {"what": "votes", "format": "label-studio"}):
        with pytest.raises(SettingsError):
            written(desk.store, **what)


def test_every_format_holds_an_empty_project(store: Store) -> None:
    with store.write() as db:
        create_project(db, LOCAL, "p", ["a", "b"])
    kept = {format: written(store, format=format) for format in FORMATS}
    head = kept["csv"].decode().splitlines()
    assert head == ["task,label,confidence,n_votes,state,source,p_a,p_b"]
    assert kept["jsonl"] == b"" and json.loads(kept["label-studio"]) == []
    table = pq.read_table(io.BytesIO(kept["parquet"]))
    assert (table.num_rows, table.column_names) == (0, head[0].split(","))
