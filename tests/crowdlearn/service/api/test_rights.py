"""Every route, asked by everybody, in their project, another one, and one that does not exist.

What is expected follows from `access.RIGHTS` alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from crowdlearn.service.access import RIGHTS
from crowdlearn.service.api.routes import ROUTERS
from crowdlearn.store import Store
from crowdlearn.store.tables import metadata
from tests.crowdlearn.service.api.conftest import BIRDS, FISH, PNG, Place, basic

NOWHERE = "nowhere"
ROLE_OF = {
    "annotator": "annotator", "user annotator": "annotator", "tool": "tool", "user tool": "tool",
    "reviewer": "reviewer", "user reviewer": "reviewer", "admin": "admin", "user admin": "admin",
    "owner": "admin",
}  # fmt: skip
OUTSIDERS = ("stranger", "fish admin")
UNKNOWN = ("anonymous", "disabled", "revoked", "expired")
VOTE = {"votes": [{"item": "birds-0", "worker": "w9", "label": "no"}]}


@dataclass(frozen=True)
class Ask:
    """A request that is fine, the operation it needs, and what it is answered if allowed."""

    operation: str
    method: str
    path: str
    query: dict[str, Any] = field(default_factory=dict)
    json: Any = None
    content: bytes | None = None
    answered: tuple[int, ...] = (200, 201, 204)
    project: str = "/v1/projects/{project}"

    @property
    def route(self) -> str:
        return f"{self.method} {self.project}{self.path}"

    def send(self, client: TestClient, project: str) -> Any:
        """The response, with the project's name put in."""
        path = (self.project + self.path).format(
            project=project, sha256=hashlib.sha256(PNG).hexdigest(), key=999
        )
        return client.request(
            self.method, path, params=self.query, json=self.json, content=self.content
        )


REASON = {"item": "birds-4"}
ASKS = [
    Ask("read guideline", "GET", ""),
    Ask("change project", "PATCH", "", json={"settings": {"redundancy": 4}}),
    Ask("verify", "POST", "/verify"),
    Ask("read items", "GET", "/items"),
    Ask("add items", "POST", "/items", json={"items": [{"name": "one more"}]}),
    Ask("read item", "GET", "/item", {"name": "birds-1"}),
    Ask("read item", "GET", "/item/view", {"name": "birds-1"}),
    Ask("read items", "GET", "/posteriors"),
    Ask("read guideline", "GET", "/media/{sha256}"),
    Ask("vote for others", "POST", "/votes", json=VOTE),
    Ask("vote", "POST", "/votes/stream", content=b""),
    Ask("answer", "POST", "/answers", json={"item": "birds-0", "label": "no"}),
    Ask("take item to vote", "POST", "/skip", json=REASON, answered=(200, 404)),  # 404: not held
    Ask("comment", "POST", "/flag", json=REASON),
    Ask("comment", "POST", "/unflag", json=REASON),
    Ask("comment", "POST", "/note", json=REASON | {"text": "odd"}),
    Ask("answer", "POST", "/undo", json={}),
    Ask("accept", "GET", "/accept", {"at_least": 0.5}),
    Ask("accept", "POST", "/accept", json={"at_least": 0.5}),
    Ask("take item to vote", "POST", "/next", json={"purpose": "vote"}),
    Ask("take item to answer", "POST", "/next", json={"purpose": "answer"}),
    Ask("vote for others", "POST", "/next", json={"purpose": "vote", "worker": "w9"}),
    Ask("take item to vote", "POST", "/loans/release", json={"token": "none"}),
    Ask("take item to vote", "POST", "/loans/renew", json={"token": "none"}),
    Ask("read workers", "GET", "/workers"),
    Ask("read workers", "GET", "/worker", {"name": "w0"}),
    Ask("judge workers", "POST", "/worker/flag", json={"name": "w0", "flag": "retrain"}),
    Ask("read progress", "GET", "/progress"),
    Ask("read progress", "GET", "/progress/curve"),
    Ask("read progress", "GET", "/agreement"),
    Ask("read fits", "GET", "/fits"),
    Ask("compare methods", "POST", "/comparisons", json={"methods": ["majority"]}),
    Ask("export", "GET", "/export"),
    Ask("import", "POST", "/imports", {"kind": "votes"}, content=b"task,worker,label\na,b,no\n"),
    Ask("watch", "GET", "/events"),
    Ask("manage members", "GET", "/members"),
    Ask("manage members", "PUT", "/members", json={"name": "stranger", "role": "tool"}),
    Ask("manage members", "DELETE", "/members", {"name": "stranger"}),
    Ask("manage keys", "GET", "/keys"),
    Ask("manage keys", "POST", "/keys", json={"name": "new", "role": "tool"}),
    Ask("manage keys", "DELETE", "/keys/{key}", answered=(404,)),
    Ask("read audit", "GET", "/audit"),
]
MAKE = Ask("", "POST", "", json={"name": "new", "classes": ["a", "b"]}, project="/v1/projects")
LIST = Ask("", "GET", "", project="/v1/projects")


@pytest.fixture
def speak(place: Place) -> Callable[[str], TestClient]:
    """Clients of one app by who speaks; event streams end at once."""
    app = place.app()
    app.state.service.closing.set()
    return lambda who: TestClient(app, headers=place.headers[who])


def test_the_table_has_every_route(place: Place) -> None:
    routes = [route for router in ROUTERS.values() for route in router.routes]
    wanted = {f"{method} {route.path}" for route in routes for method in route.methods}
    described = place.app().openapi()["paths"]
    assert wanted == {ask.route for ask in [*ASKS, MAKE, LIST]}
    assert wanted == {
        f"{method.upper()} {path}"
        for path, methods in described.items()
        for method in methods
        if path.startswith("/v1")
    }


def test_every_right_is_asked_for() -> None:
    assert {ask.operation for ask in ASKS} == set(RIGHTS)


@pytest.mark.parametrize("who", ROLE_OF)
def test_roles_may_what_the_table_of_rights_says(
    place: Place, speak: Callable[[str], TestClient], who: str
) -> None:
    client = speak(who)
    may = [ask for ask in ASKS if ROLE_OF[who] in RIGHTS[ask.operation]]
    before = digest(place.store)
    for ask in ASKS:
        if ask not in may:
            found = ask.send(client, BIRDS)
            assert found.status_code == 403, (who, ask.route, found.text)
            assert is_problem(found)
    if who != "owner":
        assert_nothing_there(client, FISH)
        assert MAKE.send(client, BIRDS).status_code == 403
    assert digest(place.store) == before
    for ask in may:
        found = ask.send(client, BIRDS)
        assert found.status_code in ask.answered, (who, ask.route, found.text)
    names = [found["name"] for found in LIST.send(client, BIRDS).json()]
    assert names == ([BIRDS, FISH] if who == "owner" else [BIRDS])


def test_an_owner_has_every_project_and_makes_more(speak: Callable[[str], TestClient]) -> None:
    client = speak("owner")
    assert MAKE.send(client, BIRDS).status_code == 201
    for ask in ASKS:
        if ask.method == "GET" and not ask.query and "media" not in ask.path:
            assert ask.send(client, FISH).status_code == 200
        assert ask.send(client, NOWHERE).status_code == 404


@pytest.mark.parametrize("who", OUTSIDERS)
def test_outsiders_learn_nothing_and_change_nothing(
    place: Place, speak: Callable[[str], TestClient], who: str
) -> None:
    client = speak(who)
    before = digest(place.store)
    assert_nothing_there(client, BIRDS)
    assert digest(place.store) == before
    assert [found["name"] for found in LIST.send(client, BIRDS).json()] == [FISH]


@pytest.mark.parametrize("who", UNKNOWN)
def test_unknown_callers_are_all_told_the_same(
    place: Place, speak: Callable[[str], TestClient], who: str
) -> None:
    client = speak(who)
    before, seen = digest(place.store), set()
    for ask in [*ASKS, MAKE, LIST]:
        for project in (BIRDS, FISH, NOWHERE):
            found = ask.send(client, project)
            assert is_problem(found)
            seen.add((found.status_code, found.content, found.headers["www-authenticate"]))
    wrong = TestClient(client.app, headers=basic("admin", "a wrong password")).get("/v1/projects")
    seen.add((wrong.status_code, wrong.content, wrong.headers["www-authenticate"]))
    assert client.get("/v1/no/such/route").status_code == 401
    assert len(seen) == 1 and seen.pop()[0] == 401
    assert digest(place.store) == before


def test_annotators_vote_in_their_own_name(speak: Callable[[str], TestClient]) -> None:
    client = speak("user annotator")
    vote = {"item": "birds-0", "worker": "annotator", "label": "no"}
    path = f"/v1/projects/{BIRDS}/votes"
    assert client.post(path, json={"votes": [vote]}).json()["n_new"] == 1
    assert client.post(path, json={"votes": [vote, vote | {"worker": "w0"}]}).status_code == 403
    lines = '{"item": "birds-1", "worker": "w0", "label": "no"}\n'
    said = client.post(f"{path}/stream", content=lines).json()
    assert said["status"] == 403 and said["line"] == 1


def test_what_is_lent_for_a_vote_shows_no_estimates(speak: Callable[[str], TestClient]) -> None:
    found = speak("user annotator").post(f"/v1/projects/{BIRDS}/next", json={"purpose": "vote"})
    assert set(found.json()["item"]) == {"name", "payload_kind", "payload"}


def assert_nothing_there(client: TestClient, project: str) -> None:
    """A project of others is, to the byte, one that does not exist."""
    for ask in ASKS:
        theirs, none = ask.send(client, project), ask.send(client, NOWHERE)
        assert theirs.status_code == none.status_code == 404, (ask.route, theirs.text)
        assert theirs.content == none.content.replace(NOWHERE.encode(), project.encode())
        assert {k: v for k, v in theirs.headers.items() if k != "content-length"} == {
            k: v for k, v in none.headers.items() if k != "content-length"
        }


def is_problem(response: Any) -> bool:
    """Whether a response is a problem of its status."""
    said = response.json()
    return (
        response.headers["content-type"] == "application/problem+json"
        and said["status"] == response.status_code
        and bool(said["detail"])
    )


def digest(store: Store) -> str:
    """All that is in the store, but when keys were used."""
    found = hashlib.sha256()
    with store.read() as db:
        for table in metadata.sorted_tables:
            columns = [column for column in table.c if column.name != "last_used_at"]
            rows = db.execute(select(*columns).order_by(*table.primary_key)).all()
            found.update(repr((table.name, [tuple(row) for row in rows])).encode())
    return found.hexdigest()
