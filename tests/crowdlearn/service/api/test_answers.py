"""Experts' work over HTTP: an item is lent to one at a time, and a stale answer is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.crowdlearn.service.api.conftest import BIRDS, FISH, Place

PATH = f"/v1/projects/{BIRDS}"


@pytest.fixture
def one(place: Place) -> TestClient:
    """A reviewer."""
    return place.client("reviewer")


@pytest.fixture
def other(place: Place) -> TestClient:
    """Another one."""
    return place.client("user reviewer")


def lend(client: TestClient, **wish: Any) -> Any:
    """The next item to answer."""
    found = client.post(f"{PATH}/next", json={"purpose": "answer"} | wish)
    return None if found.status_code == 204 else found.json()


def test_next_answer_undo(one: TestClient) -> None:
    loan = lend(one)
    item = loan["item"]["name"]
    assert lend(one)["token"] == loan["token"] and lend(one)["again"]
    sent = {"item": item, "label": "yes", "seen": loan["seen"], "token": loan["token"], "key": "a"}
    said = one.post(f"{PATH}/answers", json=sent).json()
    assert one.post(f"{PATH}/answers", json=sent).json() == said | {"duplicate": True}
    view = one.get(f"{PATH}/item/view", params={"name": item}).json()
    assert view["seen"] == said["seq"]
    assert view["item"]["state"] == "answered" and view["decided_by"] == "key:reviewer key"
    assert lend(one)["item"]["name"] != item
    undone = one.post(f"{PATH}/undo", json={})
    assert undone.json()["item"] == item
    assert one.post(f"{PATH}/undo", json={}).status_code == 404
    kinds = [
        event["kind"]
        for event in one.get(f"{PATH}/item/view", params={"name": item}).json()["history"]
    ]
    assert kinds == ["answer", "undo"]


def test_a_stale_answer_is_refused(one: TestClient, other: TestClient) -> None:
    first = {"item": "birds-3", "label": "yes", "seen": 0}
    assert one.post(f"{PATH}/answers", json=first).status_code == 200
    stale = other.post(f"{PATH}/answers", json=first | {"label": "no"})
    assert stale.status_code == 409 and "decided by" in stale.json()["detail"]
    seen = other.get(f"{PATH}/item/view", params={"name": "birds-3"}).json()["seen"]
    again = other.post(f"{PATH}/answers", json=first | {"label": "no", "seen": seen})
    assert again.status_code == 200


def test_an_item_in_other_hands_is_not_answered(one: TestClient, other: TestClient) -> None:
    item = lend(one)["item"]["name"]
    assert other.post(f"{PATH}/answers", json={"item": item, "label": "no"}).status_code == 409


def test_no_item_is_lent_twice_and_all_are_lent(place: Place) -> None:
    app = place.app()
    app.openapi()  # builds the routes, which is not for many threads
    who = ("reviewer", "user reviewer", "admin", "user admin")
    clients = [TestClient(app, headers=place.headers[name]) for name in who]
    with ThreadPoolExecutor(4) as pool:
        lent = list(pool.map(lambda k: lend(clients[k % 4], session=str(k)), range(16)))
    names = [loan["item"]["name"] for loan in lent if loan is not None]
    assert len(names) == len(set(names)) == 7
    assert lend(clients[0], session="late") is None


def test_a_loan_is_renewed_and_given_back(one: TestClient, other: TestClient) -> None:
    loan = lend(one)
    token = {"token": loan["token"]}
    assert one.post(f"{PATH}/loans/renew", json=token).json()["until"] >= loan["until"]
    assert other.post(f"{PATH}/loans/release", json=token).json() == {"released": False}
    assert one.post(f"{PATH}/loans/release", json=token).json() == {"released": True}
    assert one.post(f"{PATH}/loans/renew", json=token).json() == {"until": None}
    assert lend(other)["item"]["name"] == loan["item"]["name"]


def test_bulk_acceptance_is_previewed_and_taken_back_as_one(one: TestClient) -> None:
    preview = one.get(f"{PATH}/accept", params={"at_least": 0.9}).json()
    assert preview["n_items"] == 5 and 0 < preview["expected_error"] < 0.1
    none = one.get(f"{PATH}/accept", params={"at_least": 1}).json()
    assert none == {"n_items": 0, "expected_error": None}
    assert one.post(f"{PATH}/accept", json={"at_least": 0.9}).json() == {"n_items": 5}
    states = one.get(f"{PATH}/items", params={"state": "accepted"}).json()["items"]
    assert len(states) == 5
    one.post(f"{PATH}/undo", json={})
    assert one.get(f"{PATH}/items", params={"state": "accepted"}).json()["items"] == []


def test_flagged_items_leave_the_queue(one: TestClient) -> None:
    what = {"item": "birds-2", "reason": "blurred"}
    assert one.post(f"{PATH}/flag", json=what).status_code == 200
    assert one.get(f"{PATH}/item", params={"name": "birds-2"}).json()["state"] == "flagged"
    assert one.post(f"{PATH}/unflag", json={"item": "birds-2"}).status_code == 200
    assert one.post(f"{PATH}/note", json={"item": "birds-2", "text": "look"}).status_code == 200
    assert one.post(f"{PATH}/note", json={"item": "birds-2", "text": " "}).status_code == 422
    history = one.get(f"{PATH}/item/view", params={"name": "birds-2"}).json()["history"]
    assert [event["text"] for event in history] == ["blurred", None, "look"]


def test_blind_reviewers_see_no_estimates_before_they_decide(place: Place) -> None:
    admin, one = place.client("admin"), place.client("reviewer")
    admin.patch(PATH, json={"settings": {"blind": True}})
    item = one.get(f"{PATH}/item", params={"name": "birds-1"}).json()
    assert item["label"] is item["confidence"] is item["posterior"] is None
    view = one.get(f"{PATH}/item/view", params={"name": "birds-1"}).json()
    assert view["votes"] == [] and view["explanation"] is None
    rows = one.get(f"{PATH}/posteriors").json()["posteriors"]
    assert all(row["posterior"] is None for row in rows)
    one.post(f"{PATH}/answers", json={"item": "birds-1", "label": "no"})
    assert one.get(f"{PATH}/item/view", params={"name": "birds-1"}).json()["votes"]
    assert admin.get(f"{PATH}/item", params={"name": "birds-2"}).json()["posterior"]


def test_workers_are_shown_and_judged(admin: TestClient) -> None:
    found = admin.get(f"{PATH}/worker", params={"name": "w0"}).json()
    assert found["worker"]["n_votes"] == 5 and found["classes"] == ["no", "yes"]
    assert [sum(row) for row in found["confusion"]] == pytest.approx([1, 1])
    assert sum(window["n_votes"] for window in found["drift"]) == 5
    judged = admin.post(f"{PATH}/worker/flag", json={"name": "w0", "flag": "blocked"}).json()
    assert judged["flag"] == "blocked"
    assert admin.post(f"{PATH}/worker/flag", json={"name": "w9", "flag": None}).status_code == 404
    page = admin.get(f"{PATH}/workers", params={"order": "name", "descending": False, "skip": 1})
    assert [worker["name"] for worker in page.json()["workers"]] == ["w1", "w2"]


def test_progress_follows_the_fold_and_methods_are_compared(
    admin: TestClient, place: Place
) -> None:
    admin.post(f"{PATH}/answers", json={"item": "birds-1", "label": "yes"})
    before = admin.get(f"{PATH}/progress").json()
    assert before["n_pending"] == 1 and before["n_answered"] == 1
    place.catch_up()
    after = admin.get(f"{PATH}/progress").json()
    assert after["n_pending"] == 0 and after["expected_error"] < before["expected_error"]
    assert len(admin.get(f"{PATH}/progress/curve").json()) >= 2
    assert admin.get(f"{PATH}/agreement").json()["alpha"] == pytest.approx(1)
    asked = {"methods": ["majority", "wawa", "majority"]}
    rows = admin.post(f"{PATH}/comparisons", json=asked).json()["methods"]
    assert [row["method"] for row in rows] == ["majority", "wawa"]
    assert rows[0]["n_answers"] == 1 and rows[0]["error"] == 0
    kept = [fit["method"]["name"] for fit in admin.get(f"{PATH}/fits").json()]
    assert kept[:2] == ["wawa", "majority"]
    assert admin.post(f"{PATH}/verify").json()["problems"] == []


def test_long_computations_take_turns(place: Place) -> None:
    client = place.client()
    with client.app.state.service.heavy:
        found = client.post(f"{PATH}/verify")
        assert found.status_code == 429 and found.headers["retry-after"] == "10"
        assert client.post(f"/v1/projects/{FISH}/verify").status_code == 404
    assert client.post(f"{PATH}/verify").status_code == 200
