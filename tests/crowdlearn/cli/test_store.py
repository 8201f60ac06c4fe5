"""`crowdlearn store`: what goes in comes out, and bad input changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from crowdlearn.cli import app
from crowdlearn.io import read_truth, read_votes
from crowdlearn.service.accounts import key_holder, signed_in
from crowdlearn.store import open_store

VOTES = "task,worker,label\na,w,cat\na,v,cat\na,u,dog\nb,w,dog\nb,v,dog\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "votes.csv").write_text(VOTES)
    assert run(tmp_path, "init").exit_code == 0
    return tmp_path


def run(folder: Path, *words: object, stdin: str | None = None) -> Result:
    first, *rest = (str(word) for word in words)
    store = ["--store", str(folder / "s.db")]
    return CliRunner().invoke(app, ["store", first, *store, *rest], input=stdin)


def refused(folder: Path, *words: object) -> str:
    done = run(folder, *words)
    assert done.exit_code == 2 and done.stdout == "", done.output
    return done.stderr


def told(folder: Path, *words: object) -> dict[str, Any]:
    done = run(folder, *words, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_votes_go_in_once_and_labels_come_out(place: Path) -> None:
    file = place / "votes.csv"
    dry = told(place, "ingest", file, "-p", "pets", "--create", "--dry-run")
    assert dry["n_new"] == 5
    assert json.loads(run(place, "list", "--json").stdout or "{}") == {}
    assert told(place, "ingest", file, "-p", "pets", "--create")["n_new"] == 5
    assert told(place, "ingest", file, "-p", "pets")["n_new"] == 0
    out = place / "labels.csv"
    assert told(place, "export", "-p", "pets", "--out", out)["rows"] == 2
    votes = read_votes(file)
    assert read_truth(out, votes).tolist() == [0, 1]
    run(place, "export", "-p", "pets", "--out", place / "v.parquet", "--what", "votes")
    assert read_votes(place / "v.parquet").n_votes == 5
    assert told(place, "verify", "-p", "pets")["problems"] == []


def test_items_and_answers_go_in(place: Path) -> None:
    (place / "items.csv").write_text("task,text\na,a small cat\nc,a dog\n")
    (place / "answers.csv").write_text("task,label\nc,dog\n")
    run(place, "ingest", place / "votes.csv", "-p", "pets", "--create")
    assert told(place, "ingest", place / "items.csv", "-p", "pets", "--kind", "items") == {
        "file": str(place / "items.csv"), "dry_run": False, "kind": "items", "n_rows": 2,
        "n_new": 2, "n_known": 0, "n_new_items": 1, "n_new_workers": 0, "unknown_classes": [],
        "sample": [
            {"item": "a", "kind": "text", "payload": "a small cat"},
            {"item": "c", "kind": "text", "payload": "a dog"},
        ],
        "problem": None,
    }  # fmt: skip
    done = told(place, "ingest", place / "answers.csv", "-p", "pets", "--kind", "answers")
    assert done["n_new"] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("ingest", "none.csv", "-p", "pets", "--create"), "none.csv: there is no such file"),
        (("ingest", "votes.csv", "-p", "none"), "there is no project 'none'"),
        (("export", "-p", "none", "--out", "x.csv"), "there is no project 'none'"),
        (("export", "-p", "none", "--out", "x.txt"), "say --format"),
        (("restore", "votes.csv"), "exists already"),
        (("backup", "votes.csv"), "votes.csv: exists already"),
        (("verify", "-p", "none"), "there is no project 'none'"),
        (("key", "k", "king", "-p", "none"), "there is no project 'none'"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(place)
    assert said in refused(place, *words)
    assert run(place, "list", "--json").stdout == ""
    assert sorted(path.name for path in place.iterdir() if "-" not in path.name) == [
        "s.db", "votes.csv",
    ]  # fmt: skip


def test_labels_that_are_no_classes_are_refused_or_added(place: Path) -> None:
    run(place, "ingest", place / "votes.csv", "-p", "pets", "--create")
    (place / "more.csv").write_text("task,worker,label\na,x,bird\nb,x,cat\n")
    assert "no classes of the project: bird" in refused(
        place, "ingest", place / "more.csv", "-p", "pets"
    )
    done = run(place, "ingest", place / "more.csv", "-p", "pets", "--add-classes")
    assert "2 added" in done.stdout


def test_users_members_and_keys(place: Path) -> None:
    run(place, "ingest", place / "votes.csv", "-p", "pets", "--create")
    done = run(place, "user", "anna", "--password-stdin", stdin="long enough\n")
    assert done.stdout == "anna can sign in\n"
    assert run(place, "member", "anna", "reviewer", "-p", "pets").exit_code == 0
    secret = run(place, "key", "tool", "tool", "-p", "pets").stdout.strip()
    with open_store(place / "s.db") as store, store.read() as db:
        assert signed_in(db, "anna", "long enough") is not None
        assert key_holder(db, secret) is not None
    run(place, "user", "anna", "--change", "--password-stdin", stdin="another word\n")
    assert "no longer" in run(place, "user", "anna", "--disable").stdout
    with open_store(place / "s.db") as store, store.read() as db:
        assert signed_in(db, "anna", "another word") is None


def test_a_backup_makes_the_same_store(place: Path) -> None:
    run(place, "ingest", place / "votes.csv", "-p", "pets", "--create")
    told(place, "backup", place / "kept")
    store = ["--store", str(place / "new.db")]
    done = CliRunner().invoke(app, ["store", "restore", *store, str(place / "kept")])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, ["store", "upgrade", *store, "--json"])
    found = json.loads(done.stdout)
    assert found["before"] == found["after"]
    assert '"pets"' in CliRunner().invoke(app, ["store", "list", *store, "--json"]).stdout


def test_the_demo_is_there(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    done = run(tmp_path, "init", "--demo")
    assert done.stdout.endswith("a store with 2 projects: anesthesia, digits\n")
    assert "digits" in run(tmp_path, "list").stdout
