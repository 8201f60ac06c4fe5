"""Projects and items over HTTP."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from starlette.testclient import TestClient

from crowdlearn.service.api.pages import from_cursor, to_cursor
from tests.crowdlearn.service.api.conftest import BIRDS, PNG, Place

PATH = f"/v1/projects/{BIRDS}"


@pytest.mark.parametrize("order", ["number", "confidence", "urgency"])
@pytest.mark.parametrize("descending", [False, True])
def test_pages_hold_every_item_once(admin: TestClient, order: str, descending: bool) -> None:
    asked: dict[str, Any] = {"order": order, "descending": descending, "limit": 2}
    names: list[str] = []
    for _ in range(5):
        page = admin.get(f"{PATH}/items", params=asked).json()
        names += [item["name"] for item in page["items"]]
        asked["cursor"] = page["cursor"]
        if page["cursor"] is None:
            break
    assert sorted(names) == [*(f"birds-{k}" for k in range(6)), "photo"]
    whole = admin.get(f"{PATH}/items", params={"order": order, "descending": descending}).json()
    assert names == [item["name"] for item in whole["items"]]


def test_cursors_are_of_one_order_and_not_made_up(admin: TestClient) -> None:
    cursor = to_cursor("number", False, (3.0,))
    assert from_cursor("number", False, cursor) == (3.0,)
    nonsense = base64.urlsafe_b64encode(b'["number", false, NaN]').decode()
    for order, given in (
        ("urgency", cursor),
        ("number", "x"),
        ("number", nonsense),
        ("number", "é"),
    ):
        found = admin.get(f"{PATH}/items", params={"order": order, "cursor": given})
        assert found.status_code == 422 and "cursor" in found.json()["detail"]


def test_conditions_are_met(admin: TestClient) -> None:
    def names(**conditions: Any) -> list[str]:
        found = admin.get(f"{PATH}/items", params=conditions)
        assert found.status_code == 200, found.text
        return [item["name"] for item in found.json()["items"]]

    assert names(label="yes") == ["birds-1", "birds-3"]
    assert names(voted=False) == ["birds-5", "photo"]
    assert names(search="PHOT") == ["photo"]
    assert names(worker="w1", at_least=0.9, label="no") == ["birds-0", "birds-2", "birds-4"]
    assert admin.get(f"{PATH}/items", params={"worker": "nobody"}).status_code == 404
    for wrong in ({"label": "perhaps"}, {"at_least": "nan"}, {"limit": 0}, {"state": "odd"}):
        assert admin.get(f"{PATH}/items", params=wrong).status_code == 422


def test_items_are_added_all_or_none(admin: TestClient) -> None:
    picture = base64.b64encode(PNG + b"x").decode()
    new = [
        {"name": "a picture", "kind": "image", "content": picture},
        {"name": "birds-1", "kind": "text", "payload": "seen"},
    ]
    found = admin.post(f"{PATH}/items", json={"items": new})
    assert found.json() == {"n_new": 1, "n_known": 1}
    taken = [{"name": "fresh"}, {"name": "birds-1", "kind": "text", "payload": "other"}]
    assert admin.post(f"{PATH}/items", json={"items": taken}).status_code == 409
    svg = base64.b64encode(b"<svg onload='x'/>").decode()
    for item in (
        {"name": "drawn", "kind": "image", "content": svg},
        {"name": "coded", "kind": "image", "content": "?"},
        {"name": "link", "kind": "url", "payload": "javascript:alert(1)"},
    ):
        found = admin.post(f"{PATH}/items", json={"items": [{"name": "fresh"}, item]})
        assert found.status_code == 422
    assert admin.get(f"{PATH}/item", params={"name": "fresh"}).status_code == 404


def test_media_cannot_act_in_a_browser(admin: TestClient, place: Place) -> None:
    digest = hashlib.sha256(PNG).hexdigest()
    found = admin.get(f"{PATH}/media/{digest}")
    assert found.content == PNG and found.headers["content-type"] == "image/png"
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["content-security-policy"].startswith("sandbox")
    assert "immutable" in found.headers["cache-control"]
    assert "private" in found.headers["cache-control"]
    etag = {"If-None-Match": found.headers["etag"]}
    assert admin.get(f"{PATH}/media/{digest}", headers=etag).status_code == 304
    other = place.client("fish admin").get(f"{PATH}/media/{digest}", headers=etag)
    assert other.status_code == 404
    assert admin.get(f"{PATH}/media/{'0' * 64}").status_code == 404
    assert admin.get(f"{PATH}/media/etc-passwd").status_code == 422


def test_a_project_is_made_and_changed(place: Place) -> None:
    owner = place.client("owner")
    made = owner.post("/v1/projects", json={"name": "Bäume", "classes": ["a", "b"]})
    assert made.status_code == 201 and made.json()["role"] == "admin"
    again = owner.post("/v1/projects", json={"name": "Bäume", "classes": ["a", "b"]})
    assert again.status_code == 409
    change = {
        "guideline": "Look.",
        "settings": {"target": 1, "redundancy": 5.0},
        "add_classes": ["c"],
    }
    changed = owner.patch("/v1/projects/Bäume", json=change).json()
    assert changed["classes"] == ["a", "b", "c"] and changed["guideline_version"] == 1
    assert (changed["settings"]["target"], changed["settings"]["redundancy"]) == (1.0, 5)
    for wrong in (
        {"settings": {"redundancy": True}}, {"settings": {"redundancy": 2.5}},
        {"settings": {"target": "0.1"}}, {"settings": {"secret": 1}}, {"settings": {"blind": 1}},
        {"add_classes": ["a"]}, {"classes": ["x", "y"]},
    ):  # fmt: skip
        assert owner.patch("/v1/projects/Bäume", json=wrong).status_code == 422
    assert owner.get("/v1/projects/Bäume").json() == changed
    trail = owner.get("/v1/projects/Bäume/audit").json()
    assert [row["action"] for row in trail] == ["change project", "create project"]
    older = owner.get("/v1/projects/Bäume/audit", params={"before": trail[0]["id"], "limit": 1})
    assert older.json() == trail[1:]


def test_members_and_keys_come_and_go(admin: TestClient, place: Place) -> None:
    admin.put(f"{PATH}/members", json={"name": "stranger", "role": "reviewer"})
    assert {"name": "stranger", "role": "reviewer"} in admin.get(f"{PATH}/members").json()
    stranger = place.client("stranger")
    assert stranger.get(PATH).json()["role"] == "reviewer"
    admin.delete(f"{PATH}/members", params={"name": "stranger"})
    assert stranger.get(PATH).status_code == 404
    made = admin.post(f"{PATH}/keys", json={"name": "bot", "role": "tool", "days": 1}).json()
    key = {"X-API-Key": made["secret"]}
    client = TestClient(admin.app, headers=key)
    assert client.get(PATH).json()["role"] == "tool"
    listed = admin.get(f"{PATH}/keys")
    assert made["secret"] not in listed.text
    assert next(k for k in listed.json() if k["id"] == made["id"])["last_used_at"] is not None
    assert admin.delete(f"{PATH}/keys/{made['id']}").status_code == 204
    assert client.get(PATH).status_code == 401
    assert admin.delete(f"{PATH}/keys/{made['id']}").status_code == 404
