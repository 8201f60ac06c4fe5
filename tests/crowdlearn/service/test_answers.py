"""Decisions: one at a time, on what was seen, and never lost or doubled."""

import threading

import pytest
from sqlalchemy import select

from crowdlearn.errors import ConflictError, NotAllowedError, NotFoundError, SettingsError
from crowdlearn.service.access import LOCAL
from crowdlearn.service.answers import (
    Said,
    accept,
    acceptable,
    answer,
    flag,
    history,
    note,
    skip,
    undo,
    unflag,
)
from crowdlearn.service.assignments import next_item, take_item
from crowdlearn.service.items import count_items, read_item
from crowdlearn.service.projects import change_project, read_project
from crowdlearn.service.verifying import verify
from crowdlearn.service.views import view_item
from crowdlearn.store.tables import events
from tests.crowdlearn.service.conftest import Desk, make_user


def test_an_answer_stands_until_it_is_undone(desk: Desk) -> None:
    with desk.store.write() as db:
        said = answer(db, LOCAL, "p", "7", "2", note="clear")
        found = read_item(db, LOCAL, "p", "7")
        assert (found.label, found.decided, found.state) == ("2", True, "answered")
        assert read_project(db, LOCAL, "p").n_answers == 1
        assert undo(db, LOCAL, "p") == (Said(said.seq + 1), "7")
        found = read_item(db, LOCAL, "p", "7")
        assert (found.decided, found.state) == (False, "open")
        assert read_project(db, LOCAL, "p").n_answers == 0
        kinds = [(row["kind"], row["text"]) for row in history(db, LOCAL, "p", "7")]
        assert kinds == [("answer", "clear"), ("undo", None)]
        with pytest.raises(NotFoundError, match="no decision of yours"):
            undo(db, LOCAL, "p")


def test_the_same_key_is_one_answer(desk: Desk) -> None:
    with desk.store.write() as db:
        first = answer(db, LOCAL, "p", "7", "2", key="k")
        assert answer(db, LOCAL, "p", "7", "2", key="k") == Said(first.seq, duplicate=True)
        with pytest.raises(ConflictError, match="'k' was used before"):
            answer(db, LOCAL, "p", "8", "2", key="k")


def test_who_has_not_seen_the_decision_that_stands_is_refused(desk: Desk) -> None:
    anna, ben = (make_user(desk.store, name, "reviewer") for name in ("anna", "ben"))
    with desk.store.write() as db:
        said = answer(db, anna, "p", "7", "2")
    with pytest.raises(ConflictError, match="'7' has been decided by anna"):
        with desk.store.write() as db:
            answer(db, ben, "p", "7", "1")
    with desk.store.write() as db:
        assert view_item(db, ben, "p", "7").seen == said.seq
        answer(db, ben, "p", "7", "1", seen=said.seq)
        assert read_item(db, ben, "p", "7").label == "1"
        undo(db, ben, "p")
        assert read_item(db, ben, "p", "7").label == "2"  # anna's stands again
        with pytest.raises(NotAllowedError, match="is user:anna's"):
            undo(db, ben, "p", said.seq)
        undo(db, LOCAL, "p", said.seq)
        assert not read_item(db, ben, "p", "7").decided
    with pytest.raises(ConflictError, match="has been taken back"), desk.store.write() as db:
        answer(db, ben, "p", "7", "1", seen=said.seq)


def test_what_another_looks_at_is_left_to_them(desk: Desk) -> None:
    anna, ben = (make_user(desk.store, name, "reviewer") for name in ("anna", "ben"))
    with desk.store.write() as db:
        loan = take_item(db, anna, "p", "7")
    for act in (take_item, lambda *a: answer(*a, "1")):
        with pytest.raises(ConflictError, match="being looked at by anna"):
            with desk.store.write() as db:
                act(db, ben, "p", "7")
    with desk.store.write() as db:
        answer(db, anna, "p", "7", "1", token=loan.token)


def test_a_thousand_presses_at_once_are_one_decision(desk: Desk) -> None:
    users = [make_user(desk.store, f"u{k}", "reviewer") for k in range(6)]
    done: list[str] = []

    def press(user: object) -> None:
        for label in "012012":
            try:
                with desk.store.write() as db:
                    answer(db, user, "p", "7", label)  # type: ignore[arg-type]
                done.append(label)
            except ConflictError:
                pass

    threads = [threading.Thread(target=press, args=(user,)) for user in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with desk.store.read() as db:
        rows = db.execute(select(events).where(events.c.kind == "answer")).all()
        assert len(rows) == len(done) == 1
        assert read_item(db, LOCAL, "p", "7").label == done[0]


def test_flagged_items_leave_the_queue_and_come_back(desk: Desk) -> None:
    with desk.store.write() as db:
        flag(db, LOCAL, "p", "7", reason="blank")
        note(db, LOCAL, "p", "7", "will ask")
        assert count_items(db, LOCAL, "p", state="flagged") == 1
        unflag(db, LOCAL, "p", "7")
        assert count_items(db, LOCAL, "p", state="flagged") == 0
        assert [row["text"] for row in history(db, LOCAL, "p", "7")] == ["blank", "will ask", None]


def test_skipped_items_go_to_others_and_come_last(desk: Desk) -> None:
    anna, ben = (make_user(desk.store, name, "reviewer") for name in ("anna", "ben"))
    desk.fold()
    with desk.store.write() as db:
        first = next_item(db, anna, "p", "answer")
        assert first is not None
        skip(db, anna, "p", first.item.name, reason="no idea")
        second = next_item(db, anna, "p", "answer")
        assert second is not None and second.item.name != first.item.name
        theirs = next_item(db, ben, "p", "answer")
        assert theirs is not None and theirs.item.name == first.item.name


def test_an_annotator_skips_what_they_hold_and_gets_it_back_at_the_end(desk: Desk) -> None:
    anna = make_user(desk.store, "anna", "annotator")
    with desk.store.write() as db:
        change_project(db, LOCAL, "p", settings={"redundancy": 99})
    desk.fold()
    met = []
    with desk.store.write() as db:
        while (loan := next_item(db, anna, "p", "vote")) is not None and not loan.again:
            if loan.item.name in met:
                break
            met.append(loan.item.name)
            skip(db, anna, "p", loan.item.name)
        assert loan is not None and len(met) > 1
        assert loan.item.name in met
        other = next(name for name in met if name != loan.item.name)
        for name in (other, "no such item"):  # one that is there, but not theirs, is as unknown
            with pytest.raises(NotFoundError, match=f"^there is no item '{name}'$"):
                skip(db, anna, "p", name)
        assert next_item(db, anna, "p", "vote").item.name == loan.item.name


def test_a_bulk_acceptance_is_told_before_and_taken_back_as_one(desk: Desk) -> None:
    desk.fold()
    with desk.store.write() as db:
        before = count_items(db, LOCAL, "p", state="open")
        told = acceptable(db, LOCAL, "p", 0.95)
        sure = [row for row in told.__dict__.values()]
        assert told.n_items > 10 and 0 <= told.expected_error <= 0.05, sure
        assert accept(db, LOCAL, "p", 0.95) == told.n_items
        assert count_items(db, LOCAL, "p", state="accepted") == told.n_items
        assert acceptable(db, LOCAL, "p", 0.95).n_items == 0
        assert accept(db, LOCAL, "p", 0.95) == 0
        undo(db, LOCAL, "p")
        assert count_items(db, LOCAL, "p", state="open") == before
        only = acceptable(db, LOCAL, "p", 0.95, label="1")
        assert 0 < only.n_items < told.n_items
        accept(db, LOCAL, "p", 0.95, label="1")
        answer(db, LOCAL, "p", "7", "1", seen=view_item(db, LOCAL, "p", "7").seen)
    desk.fold()
    with desk.store.read() as db:
        assert verify(db, LOCAL, "p").problems == ()


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (("none", "1"), NotFoundError, "no item 'none'"),
        (("7", "9"), SettingsError, "label '9' is not one of 0, 1, 2"),
        (("7' OR 1=1 --", "1"), NotFoundError, "no item"),
    ],
)
def test_bad_answers_are_refused(
    desk: Desk, arguments: tuple[str, str], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said), desk.store.write() as db:
        answer(db, LOCAL, "p", *arguments)
    with pytest.raises(SettingsError, match="a note has at most"), desk.store.write() as db:
        answer(db, LOCAL, "p", "7", "1", note="x" * 5000)
    with desk.store.read() as db:
        assert db.execute(select(events).where(events.c.kind == "answer")).first() is None
