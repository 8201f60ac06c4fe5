"""Votes in one request: each is in the log once, however often it is sent."""

from __future__ import annotations

from sqlalchemy import func, select
from starlette.testclient import TestClient

from crowdlearn.store.tables import events
from tests.crowdlearn.service.api.conftest import BIRDS, Place

PATH = f"/v1/projects/{BIRDS}/votes"
VOTE = {"item": "birds-0", "worker": "w0", "label": "no", "key": "k1"}


def test_a_key_sent_twice_is_one_vote(admin: TestClient, place: Place) -> None:
    before = n_votes(place)
    first = admin.post(PATH, json={"votes": [VOTE, VOTE | {"key": "k2"}]})
    again = admin.post(PATH, json={"votes": [VOTE, VOTE | {"key": "k2"}]})
    assert first.json() == {
        "n_new": 2, "n_duplicates": 0, "n_new_items": 0, "n_new_workers": 0,
    }  # fmt: skip
    assert (again.json()["n_new"], again.json()["n_duplicates"]) == (0, 2)
    assert n_votes(place) == before + 2


def test_a_key_for_another_vote_is_refused_and_nothing_kept(
    admin: TestClient, place: Place
) -> None:
    admin.post(PATH, json={"votes": [VOTE]})
    before = n_votes(place)
    new = {"item": "birds-9", "worker": "w0", "label": "yes"}
    found = admin.post(PATH, json={"votes": [new, VOTE | {"label": "yes"}]})
    assert found.status_code == 409 and "k1" in found.json()["detail"]
    assert n_votes(place) == before
    assert admin.get(f"/v1/projects/{BIRDS}/item", params={"name": "birds-9"}).status_code == 404


def test_a_request_under_its_idempotency_key_is_done_once(admin: TestClient, place: Place) -> None:
    before, headers = n_votes(place), {"Idempotency-Key": "batch-1"}
    body = {"votes": [{"item": "birds-7", "worker": "w7", "label": "no"}]}
    replies = [admin.post(PATH, json=body, headers=headers) for _ in range(3)]
    assert {reply.content for reply in replies} == {replies[0].content}
    assert replies[0].json()["n_new_items"] == 1
    assert n_votes(place) == before + 1
    other = {"votes": [body["votes"][0] | {"label": "yes"}]}
    assert admin.post(PATH, json=other, headers=headers).status_code == 409
    assert n_votes(place) == before + 1


def test_a_refused_request_does_not_use_up_its_idempotency_key(admin: TestClient) -> None:
    headers = {"Idempotency-Key": "batch-2"}
    bad = {"votes": [VOTE | {"label": "perhaps"}]}
    assert admin.post(PATH, json=bad, headers=headers).status_code == 422
    assert admin.post(PATH, json={"votes": [VOTE]}, headers=headers).status_code == 200


def test_what_is_no_vote_is_refused_by_place_and_not_repeated(admin: TestClient) -> None:
    for wrong in (False, 1, None, "no\x00", "x" * 201, ["no"]):
        found = admin.post(PATH, json={"votes": [VOTE, VOTE | {"label": wrong}]})
        assert found.status_code == 422
        assert found.json()["errors"][0]["where"] == "body.votes.1.label"
    found = admin.post(PATH, json={"votes": [VOTE | {"Jane Doe": "secret words"}]})
    assert "Jane" not in found.text and "secret" not in found.text
    assert found.json()["errors"][0]["where"] == "body.votes.0.(other)"
    for content in (b'{"votes": [NaN]}', b"{", b'"\xff"', b"[" * 100_000, b"1" * 5000):
        found = admin.post(PATH, content=content, headers={"Content-Type": "application/json"})
        assert found.status_code in (400, 422)
        assert found.headers["content-type"] == "application/problem+json"


def test_a_vote_for_a_lent_item_ends_the_loan(admin: TestClient) -> None:
    wish = {"purpose": "vote", "worker": "w8"}
    loan = admin.post(f"/v1/projects/{BIRDS}/next", json=wish).json()
    vote = {"item": loan["item"]["name"], "worker": "w8", "label": "yes"}
    found = admin.post(PATH, json={"votes": [vote], "token": loan["token"]})
    assert found.status_code == 200
    renewed = admin.post(f"/v1/projects/{BIRDS}/loans/renew", json={"token": loan["token"]})
    assert renewed.json() == {"until": None}


def n_votes(place: Place) -> int:
    """Votes in the log."""
    query = select(func.count()).where(
        events.c.project == place.ids[BIRDS], events.c.kind == "vote"
    )
    with place.store.read() as db:
        return int(db.execute(query).scalar_one())
