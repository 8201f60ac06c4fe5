"""A store with two projects, somebody in every role, and the service in front of it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from sqlalchemy import update
from starlette.testclient import TestClient

from crowdlearn.service.access import LOCAL, project_id
from crowdlearn.service.accounts import (
    add_user,
    disable_user,
    make_key,
    revoke_key,
    set_member,
)
from crowdlearn.service.api import create_app
from crowdlearn.service.folder import Folder
from crowdlearn.service.new_items import NewItem, add_items
from crowdlearn.service.projects import create_project
from crowdlearn.service.votes import NewVote, append_votes
from crowdlearn.store import Store, open_store
from crowdlearn.store.tables import api_keys, users

PASSWORD = "correct horse battery"
ROLES = ("annotator", "tool", "reviewer", "admin")
PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
BIRDS, FISH = "birds", "fish"


@dataclass(eq=False)
class Place:
    """A store that is set up, its folder, and headers by who sends them."""

    store: Store
    folder: Folder
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)

    def catch_up(self, project: str = BIRDS) -> None:
        """Fold all that is in the log of a project."""
        self.folder.catch_up(self.ids[project], settle=True)

    def app(self, **settings: Any) -> Any:
        """The service, with room for the many requests of a test."""
        wide = {"requests_per_second": 1e6, "burst": 10**6, "failed_sign_ins": 10**6}
        return create_app(self.store, folder=self.folder, **(wide | settings))

    def client(self, who: str | None = "admin", **settings: Any) -> TestClient:
        """A client that speaks as somebody."""
        headers = self.headers[who] if who else {}
        return TestClient(self.app(**settings), headers=headers, raise_server_exceptions=True)


def bearer(secret: str) -> dict[str, str]:
    """The headers that give a key."""
    return {"Authorization": f"Bearer {secret}"}


def basic(name: str, password: str) -> dict[str, str]:
    """The headers that give a name and password."""
    import base64

    content = base64.b64encode(f"{name}:{password}".encode()).decode()
    return {"Authorization": f"Basic {content}"}


@dataclass(eq=False)
class Sent:
    """What an app sent, and after how many pieces of the request's body each part of it."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    n_read: int = 0
    answered: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return b"".join(part for _, part in self.answered)


def exchange(
    app: Any,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    pieces: Iterable[bytes] = (),
    *,
    leaves: bool = False,
    until: Callable[[Sent], bool] | None = None,
) -> Sent:
    """One request whose body comes in pieces, as ASGI has it: the test client joins them.

    The client `leaves` instead of ending the body, or when the answer is `until` then.
    """
    sent, coming = Sent(), iter(pieces)
    path, _, query = path.partition("?")

    async def whole() -> None:
        done = asyncio.Event()
        ended = False

        async def receive() -> dict[str, Any]:
            nonlocal ended
            piece = None if ended else next(coming, None)
            if piece is not None:
                sent.n_read += 1
                return {"type": "http.request", "body": piece, "more_body": True}
            if not ended and not leaves:
                ended = True
                return {"type": "http.request", "body": b"", "more_body": False}
            if not leaves:
                await done.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                sent.status = message["status"]
                sent.headers = {k.decode(): v.decode() for k, v in message["headers"]}
                return
            sent.answered.append((sent.n_read, message.get("body", b"")))
            if not message.get("more_body") or (until is not None and until(sent)):
                done.set()

        named = [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()]
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1", "method": method, "scheme": "http", "path": path,
            "raw_path": path.encode(), "query_string": query.encode(), "headers": named,
            "client": ("10.0.0.1", 1), "server": ("testserver", 80), "root_path": "",
        }  # fmt: skip
        await app(scope, receive, send)

    asyncio.run(whole())
    return sent


@pytest.fixture(scope="session")
def stored_hash() -> str:
    """A hash of the one password of all users here that is quick to check."""
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)


@dataclass(frozen=True, eq=False)
class Template:
    """A store that was set up and closed, to be copied."""

    path: Path
    headers: dict[str, dict[str, str]]
    ids: dict[str, int]

    @contextmanager
    def copied(self, path: Path) -> Iterator[Place]:
        """A store like it, at a path."""
        shutil.copyfile(self.path, path)
        with open_store(path) as store:
            place = Place(store, Folder(store), dict(self.headers), dict(self.ids))
            for project in (BIRDS, FISH):
                place.catch_up(project)
            yield place
            place.folder.close()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, stored_hash: str) -> Template:
    """The store that every test here begins with."""
    path = tmp_path_factory.mktemp("template") / "store.db"
    with open_store(path, create=True) as store:
        place = Place(store, Folder(store))
        _fill(place, stored_hash)
        place.folder.close()
    return Template(path, place.headers, place.ids)


@pytest.fixture
def place(tmp_path: Path, template: Template) -> Iterator[Place]:
    """A store that is set up."""
    with template.copied(tmp_path / "store.db") as place:
        yield place


@pytest.fixture
def admin(place: Place) -> TestClient:
    """A client with an admin's key of the project of birds."""
    return place.client()


def _fill(place: Place, stored_hash: str) -> None:
    with place.store.write() as db:
        for project in (BIRDS, FISH):
            create_project(db, LOCAL, project, ["no", "yes"], guideline="Is it one?")
            place.ids[project] = project_id(db, LOCAL, project, "read guideline")
            named = [NewItem(name=f"{project}-{k}", kind="text", payload="seen") for k in range(6)]
            add_items(
                db, LOCAL, project, [*named, NewItem(name="photo", kind="image", content=PNG)]
            )
            votes = [
                NewVote(item=f"{project}-{k}", worker=f"w{w}", label="yes" if k % 2 else "no")
                for k in range(5)
                for w in range(3)
            ]
            append_votes(db, LOCAL, project, votes)
        for role in ROLES:
            _user(db, role, stored_hash)
            set_member(db, LOCAL, BIRDS, role, role)
            place.headers[f"user {role}"] = basic(role, PASSWORD)
            place.headers[role] = bearer(make_key(db, LOCAL, BIRDS, f"{role} key", role)[1])
        _user(db, "owner", stored_hash, owner=True)
        _user(db, "stranger", stored_hash)
        _user(db, "disabled", stored_hash)
        set_member(db, LOCAL, FISH, "stranger", "admin")
        set_member(db, LOCAL, BIRDS, "disabled", "admin")
        disable_user(db, LOCAL, "disabled")
        place.headers["owner"] = basic("owner", PASSWORD)
        place.headers["stranger"] = basic("stranger", PASSWORD)
        place.headers["disabled"] = basic("disabled", PASSWORD)
        place.headers["fish admin"] = bearer(make_key(db, LOCAL, FISH, "fish key", "admin")[1])
        key, secret = make_key(db, LOCAL, BIRDS, "revoked", "admin")
        revoke_key(db, LOCAL, BIRDS, key.id)
        place.headers["revoked"] = bearer(secret)
        key, secret = make_key(db, LOCAL, BIRDS, "expired", "admin", days=1.0)
        db.execute(update(api_keys).where(api_keys.c.id == key.id).values(expires_at=1))
        place.headers["expired"] = bearer(secret)
        place.headers["anonymous"] = {}
    for project in (BIRDS, FISH):
        place.catch_up(project)


def _user(db: Any, name: str, stored_hash: str, *, owner: bool = False) -> None:
    number = add_user(db, LOCAL, name, None, owner=owner)
    db.execute(update(users).where(users.c.id == number).values(password=stored_hash))
