"""Items are lent to one at a time, come back, and go where they are wanted."""

import threading
from collections import defaultdict
from unittest.mock import patch

import pytest
from sqlalchemy import select, update

from crowdlearn.errors import NotAllowedError, SettingsError
from crowdlearn.service.access import LOCAL, Actor
from crowdlearn.service.answers import answer
from crowdlearn.service.assignments import Loan, next_item, release, renew
from crowdlearn.service.projects import change_project
from crowdlearn.service.votes import NewVote, append_votes
from crowdlearn.service.workers import judge_worker
from crowdlearn.store import Store
from crowdlearn.store.tables import assignments, events, folding
from tests.crowdlearn.service.conftest import Desk, make_user


def take(store: Store, actor: Actor, purpose: str = "answer", **more: str) -> Loan:
    with store.write() as db:
        found = next_item(db, actor, "p", purpose, **more)
    assert found is not None
    return found


def overlaps(store: Store) -> list[tuple]:
    """Pairs of loans of one item at one time."""
    with store.read() as db:
        rows = db.execute(select(assignments).order_by(assignments.c.taken_at)).all()
    by_item = defaultdict(list)
    for row in rows:
        by_item[row.project, row.item].append((row.taken_at, row.ended_at or row.until))
    return [
        (item, one, other)
        for item, spans in by_item.items()
        for one, other in zip(spans, spans[1:], strict=False)
        if one[1] > other[0]
    ]


def test_two_windows_hold_two_items_and_a_reload_gives_the_same(desk: Desk) -> None:
    desk.fold()
    one, two = take(desk.store, LOCAL, session="a"), take(desk.store, LOCAL, session="b")
    assert one.item.name != two.item.name
    again = take(desk.store, LOCAL, session="a")
    assert (again.item.name, again.token, again.again) == (one.item.name, one.token, True)


def test_the_most_urgent_comes_first(desk: Desk) -> None:
    desk.fold()
    doubts = []
    for _ in range(20):
        loan = take(desk.store, LOCAL)
        doubts.append(1 - loan.item.confidence)
        with desk.store.write() as db:
            answer(db, LOCAL, "p", loan.item.name, "0", token=loan.token)
    assert doubts[0] > 0.3
    assert sum(doubts[:5]) > sum(doubts[-5:])


def test_an_item_comes_back_after_its_lease(desk: Desk) -> None:
    desk.fold()
    anna, ben = (make_user(desk.store, name, "reviewer") for name in ("anna", "ben"))
    held = take(desk.store, anna)
    assert take(desk.store, ben).item.name != held.item.name
    with desk.store.write() as db:
        assert renew(db, ben, "p", held.token) is None  # not theirs
        assert renew(db, anna, "p", held.token) is not None
    late = held.until + 10_000_000 + 300_000_000
    with patch("crowdlearn.service.assignments.now", lambda: late):
        assert take(desk.store, ben, session="new").item.name == held.item.name
        with desk.store.write() as db:
            assert renew(db, anna, "p", held.token) is None
    assert overlaps(desk.store) == []


def test_what_is_given_back_is_free_at_once(desk: Desk) -> None:
    desk.fold()
    anna, ben = (make_user(desk.store, name, "reviewer") for name in ("anna", "ben"))
    held = take(desk.store, anna)
    with desk.store.write() as db:
        assert not release(db, ben, "p", held.token)
        assert release(db, anna, "p", held.token)
        assert not release(db, anna, "p", held.token)
    assert take(desk.store, ben).item.name == held.item.name


def test_workers_get_what_still_needs_votes_and_never_twice(desk: Desk) -> None:
    with desk.store.write() as db:
        change_project(db, LOCAL, "p", settings={"redundancy": 6, "target": 0.0})
    desk.fold()
    worker = make_user(desk.store, "w", "annotator")
    seen = []
    while True:
        with desk.store.write() as db:
            loan = next_item(db, worker, "p", "vote")
            if loan is None:
                break
            assert loan.item.n_votes < 6
            seen.append(loan.item.name)
            new = [NewVote(item=loan.item.name, worker="w", label="1")]
            append_votes(db, worker, "p", new, token=loan.token)
    assert len(seen) == len(set(seen)) > 60
    with desk.store.read() as db:
        open_loans = db.execute(select(assignments).where(assignments.c.ended_at.is_(None))).all()
    assert open_loans == []


def test_workers_get_nothing_that_may_stop_and_nothing_when_blocked(desk: Desk) -> None:
    with desk.store.write() as db:
        change_project(db, LOCAL, "p", settings={"redundancy": 100, "target": 0.02})
    desk.fold()
    with desk.store.write() as db:
        stop = db.execute(select(folding.c.stop_doubt)).scalar_one()
        loan = next_item(db, LOCAL, "p", "vote", worker="new")
        assert loan is not None and 1 - loan.item.confidence > stop > 0
        judge_worker(db, LOCAL, "p", "3", "blocked")
        assert next_item(db, LOCAL, "p", "vote", worker="3") is None
        db.execute(update(folding).values(stop_doubt=1.0))
        assert next_item(db, LOCAL, "p", "vote", worker="another") is None


def test_annotators_take_items_for_themselves_only(desk: Desk) -> None:
    worker = make_user(desk.store, "w", "annotator")
    with desk.store.write() as db:
        with pytest.raises(NotAllowedError):
            next_item(db, worker, "p", "vote", worker="somebody")
        with pytest.raises(NotAllowedError):
            next_item(db, worker, "p", "answer")
        with pytest.raises(SettingsError, match="purpose 'x'"):
            next_item(db, worker, "p", "x")


def test_eight_reviewers_at_once_never_hold_the_same_item(desk: Desk) -> None:
    desk.fold()
    users = [make_user(desk.store, f"u{k}", "reviewer") for k in range(8)]
    errors: list[BaseException] = []

    def work(user: Actor) -> None:
        try:
            for _ in range(10):
                loan = take(desk.store, user)
                with desk.store.write() as db:
                    answer(db, user, "p", loan.item.name, "1", token=loan.token)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(user,)) for user in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert overlaps(desk.store) == []
    with desk.store.read() as db:
        answered = db.execute(select(events.c.item).where(events.c.kind == "answer")).scalars()
        listed = list(answered)
    assert len(listed) == len(set(listed)) == 80
