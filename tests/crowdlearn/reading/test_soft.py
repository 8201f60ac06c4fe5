from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn.errors import VotesError
from crowdlearn.io import read_votes
from crowdlearn.soft_votes import SoftVotes
from crowdlearn.votes import Votes

CSV = "task,worker,p_cat,p_dog\nx,a,0.9,0.1\ny,a,0.25,0.75\nx,b,0.33,0.66\n"
ROWS = np.array([[0.9, 0.1], [1 / 3, 2 / 3], [0.25, 0.75]])  # x by a, x by b, y by a


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "soft.csv").write_text(CSV)
    return tmp_path / "soft.csv"


def test_columns_of_probabilities_are_soft_votes(path: Path) -> None:
    votes = read_votes(path)
    assert isinstance(votes, SoftVotes)
    assert votes.classes == ("cat", "dog")
    assert votes.items.to_pylist() == ["x", "y"] and votes.workers.to_pylist() == ["a", "b"]
    assert_array_equal(votes.item, [0, 0, 1])
    assert_allclose(votes.opinion, ROWS)
    assert_array_equal(votes.label, [0, 1, 1])
    assert_allclose(votes.counts(), [ROWS[0] + ROWS[1], ROWS[2]])


def test_json_lines_and_parquet_say_the_same(path: Path, tmp_path: Path) -> None:
    table = read_votes(path).to_table()
    pq.write_table(table, tmp_path / "soft.parquet")
    lines = "".join(
        f'{{"task": "{r["task"]}", "worker": "{r["worker"]}", "p_cat": {r["p_cat"]}, '
        f'"p_dog": {r["p_dog"]}}}\n'
        for r in table.to_pylist()
    )
    (tmp_path / "soft.jsonl").write_text(lines)
    for name in ("soft.parquet", "soft.jsonl"):
        assert read_votes(tmp_path / name).to_table().equals(table)
    assert read_votes(table).to_table().equals(table)


def test_hard_votes_among_them_are_sure(path: Path, tmp_path: Path) -> None:
    """In either order of the files; a class that a judge has no column for is impossible to it."""
    (tmp_path / "hard.csv").write_text("task,worker,label\ny,a,dog\nz,c,emu\n")
    for source in ([path, tmp_path / "hard.csv"], [tmp_path / "hard.csv", path]):
        votes = read_votes(source)
        assert isinstance(votes, SoftVotes)
        assert votes.classes == ("cat", "dog", "emu")
        rows = {
            (r["task"], r["worker"], r["p_cat"], r["p_dog"], r["p_emu"])
            for r in votes.to_table().to_pylist()
        }
        assert ("y", "a", 0.25, 0.75, 0.0) in rows and ("y", "a", 0.0, 1.0, 0.0) in rows
        assert ("z", "c", 0.0, 0.0, 1.0) in rows and len(rows) == 5


def test_a_label_beside_probabilities_is_what_counts(tmp_path: Path) -> None:
    (tmp_path / "both.csv").write_text("task,worker,label,p_x,p_y\n1,a,x,0.1,0.9\n1,b,y,0.1,0.9\n")
    votes = read_votes(tmp_path / "both.csv")
    assert type(votes) is Votes and votes.classes == ("x", "y")


def test_given_classes_fix_the_order(path: Path) -> None:
    votes = read_votes(path, classes=["dog", "emu", "cat"])
    assert_allclose(votes.opinion[0], [0.1, 0.0, 0.9])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x,a,0.9,0.3", r"row 2: 0.9, 0.3 \(sum 1.2\) are not probabilities"),
        ("x,a,1.2,-0.2", r"row 2: 1.2, -0.2"),
        ("x,a,0.9,\n", r"row 2: 0.9, nan|row 2, column 'p_dog'"),
        ("x,a,0.9,much", "row 2, column 'p_dog': 'much' is not a probability"),
        ("x,,0.9,0.1", "row 2, column 'worker': no worker"),
        ("", "holds no votes"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "bad.csv").write_text(f"task,worker,p_cat,p_dog\n{text}\n" if text else CSV[:24])
    with pytest.raises(VotesError, match=complaint):
        read_votes(tmp_path / "bad.csv")


def test_strange_classes_are_refused(path: Path) -> None:
    with pytest.raises(VotesError, match="column 'p_cat' is of no class among emu, dog"):
        read_votes(path, classes=["emu", "dog"])


def test_opinions_are_checked() -> None:
    zero = np.zeros(1, dtype=int)
    with pytest.raises(VotesError, match="vote 0: 0.5, 0.6 are not probabilities"):
        SoftVotes.from_opinions(zero, zero, np.array([[0.5, 0.6]]))
    with pytest.raises(VotesError, match="3 classes, but rows of 2"):
        SoftVotes.from_opinions(zero, zero, np.array([[0.5, 0.5]]), classes=["a", "b", "c"])
    votes = SoftVotes.from_opinions(
        np.array([1, 0]), zero.repeat(2), np.array([[0.2, 0.8], [0.6, 0.4]])
    )
    assert_allclose(votes.opinion, [[0.6, 0.4], [0.2, 0.8]])
    assert_allclose(votes.only_items(np.array([False, True])).opinion, [[0.2, 0.8]])
    assert isinstance(votes.only_workers(np.array([True])), SoftVotes)
    assert pa.table(votes.to_table()).column_names == ["task", "worker", "p_0", "p_1"]
