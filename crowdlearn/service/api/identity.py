"""Who asks: an API key, or a user by name and password. All under /v1 is for known callers only.

Bodies of unknown callers are not read. An unknown name, a wrong password and a revoked key are
told the same. Right passwords are remembered for some minutes, as a keyed hash beside the stored
one, so that argon2 need not run for every request; a changed password or disabled user ends that.
Good keys are remembered for a second, so that a busy client is not looked up for every request; a
key that is revoked through this process ends at once, through another one within that second.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import math
import secrets
import threading
import time
from dataclasses import dataclass, field

from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from crowdlearn.service.access import Actor
from crowdlearn.service.accounts import key_holder, known_user, note_use, signed_in
from crowdlearn.service.api.limits import Buckets
from crowdlearn.service.api.problems import problem
from crowdlearn.store.database import Store, now
from crowdlearn.store.tables import api_keys, users

REMEMBERED = 300.0  # seconds that a right password is
KEY_REMEMBERED = 1.0  # seconds that a good key is
MOST_REMEMBERED = 1000
AT_ONCE = 2  # passwords that are checked side by side: each takes 64 MiB
GUARDED = "/v1"
CHALLENGE = 'Bearer realm="crowdlearn", Basic realm="crowdlearn", charset="UTF-8"'

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeyGiven:
    """An API key as it was sent."""

    secret: str = field(repr=False)


@dataclass(frozen=True)
class PasswordGiven:
    """A user's name and password as they were sent."""

    name: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Caller:
    """Who asks; `key` is the number of their API key, None for a user."""

    actor: Actor
    key: int | None = None
    due: bool = False  # the use of the key should be noted

    @property
    def who(self) -> str:
        """A name for them alone: two projects may have keys of one name."""
        return f"user {self.actor.user}" if self.key is None else f"key {self.key}"


def credentials(headers: Headers) -> KeyGiven | PasswordGiven | None:
    """What the headers give; None for nothing that could be used."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer" and value:
        return KeyGiven(value)
    if scheme.lower() == "basic" and value:
        try:
            name, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return None
        return PasswordGiven(name, password) if colon and "\x00" not in name else None
    secret = headers.get("x-api-key", "")
    return KeyGiven(secret) if secret and not scheme else None


class Doorman:
    """Knows callers by what they give."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._key = secrets.token_bytes(32)
        self._remembered: dict[bytes, tuple[str, float]] = {}
        self._keys: dict[bytes, tuple[Caller, float]] = {}
        self._noting = threading.Lock()
        self._checking = threading.Semaphore(AT_ONCE)

    def caller(self, given: KeyGiven | PasswordGiven) -> Caller | None:
        """Who gave this; None where it is wrong, or no longer good."""
        if isinstance(given, KeyGiven):
            return self._checked_key(given)
        actor = self._remembered_user(given) or self._checked_user(given)
        return None if actor is None else Caller(actor)

    def recalled(self, given: KeyGiven | PasswordGiven) -> Caller | None:
        """Who gave this key within the last second; None where the store has to be asked."""
        if not isinstance(given, KeyGiven):
            return None
        caller, until = self._keys.get(self._mark(given.secret.encode()), (None, 0.0))
        return caller if time.monotonic() < until else None

    def forget_keys(self) -> None:
        """Ask the store about every key again: one was revoked."""
        self._keys = {}

    def remembers(self, given: KeyGiven | PasswordGiven) -> bool:
        """Whether this password was right a moment ago."""
        return isinstance(given, PasswordGiven) and self._hash(given) in self._remembered

    def note(self, caller: Caller) -> None:
        """Keep that a key was used, if it is time to; one at a time, others another time."""
        if caller.key is None or not caller.due or not self._noting.acquire(blocking=False):
            return
        try:
            with self.store.write(together=True) as db:
                note_use(db, caller.key)
        except SQLAlchemyError as error:
            logger.warning("the use of a key was not noted: %s", type(error).__name__)
        finally:
            self._noting.release()

    def _checked_key(self, given: KeyGiven) -> Caller | None:
        keys = self._keys
        with self.store.read() as db:
            found = key_holder(db, given.secret)
        if found is None:
            return None
        if len(keys) >= MOST_REMEMBERED:
            keys.clear()
        actor, number, due = found
        known = Caller(actor, number), time.monotonic() + KEY_REMEMBERED
        keys[self._mark(given.secret.encode())] = known  # not there if forgotten meanwhile
        return Caller(actor, number, due)

    def _remembered_user(self, given: PasswordGiven) -> Actor | None:
        mark = self._hash(given)
        known = self._remembered.get(mark)
        if known is None or time.monotonic() > known[1]:
            return None
        with self.store.read() as db:
            here = users.c.name == given.name
            if db.execute(select(users.c.password).where(here)).scalar() == known[0]:
                return known_user(db, given.name)
        self._remembered.pop(mark, None)
        return None

    def _checked_user(self, given: PasswordGiven) -> Actor | None:
        with self._checking, self.store.read() as db:
            actor = signed_in(db, given.name, given.password)
            if actor is None:
                return None
            stored = db.execute(select(users.c.password).where(users.c.id == actor.user)).scalar()
        if len(self._remembered) >= MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[self._hash(given)] = str(stored), time.monotonic() + REMEMBERED
        return actor

    def _hash(self, given: PasswordGiven) -> bytes:
        return self._mark(given.name.encode() + b"\x00" + given.password.encode())

    def _mark(self, secret: bytes) -> bytes:
        return hmac.digest(self._key, secret, "sha256")


def still_good(db: Connection, caller: Caller) -> bool:
    """Whether a caller whose request goes on for long would be let in again now."""
    if caller.key is None:
        here = (users.c.id == caller.actor.user) & users.c.disabled.is_(False)
        return db.execute(select(users.c.id).where(here)).first() is not None
    row = db.execute(select(api_keys).where(api_keys.c.id == caller.key)).first()
    if row is None or row.revoked_at is not None:
        return False
    return row.expires_at is None or row.expires_at > now()


class Gate:
    """Middleware: finds out who calls, and lets them pass at their rate."""

    def __init__(
        self, app: ASGIApp, doorman: Doorman, requests: Buckets, failures: Buckets
    ) -> None:
        self.app, self.doorman = app, doorman
        self.requests, self.failures = requests, failures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or not (path == GUARDED or path.startswith(GUARDED + "/")):
            await self.app(scope, receive, send)
            return
        found = await self.admitted(scope)
        if isinstance(found, Response):
            await found(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = found
        try:
            await self.app(scope, receive, send)
        finally:
            if found.due:
                await run_in_threadpool(self.doorman.note, found)

    async def admitted(self, scope: Scope) -> Caller | Response:
        """The caller, or the response that turns them away."""
        given = credentials(Headers(scope=scope))
        if given is None:
            return _unknown()
        address = scope["client"][0] if scope.get("client") else ""
        guess = isinstance(given, PasswordGiven) and not self.doorman.remembers(given)
        if guess and (wait := self.failures.take(address)):
            return _too_many(wait, "sign-ins that failed")
        caller = self.doorman.recalled(given) or await run_in_threadpool(self.doorman.caller, given)
        if caller is None:
            wait = 0.0 if guess else self.failures.take(address)
            return _too_many(wait, "sign-ins that failed") if wait else _unknown()
        if guess:
            self.failures.give_back(address)
        if wait := self.requests.take(caller.who):
            return _too_many(wait, "requests")
        return caller


def _unknown() -> Response:
    detail = "give a good API key (Authorization: Bearer, or X-API-Key), or a name and password"
    return problem(401, detail, headers={"WWW-Authenticate": CHALLENGE})


def _too_many(wait: float, what: str) -> Response:
    headers = {"Retry-After": str(max(math.ceil(wait), 1))}
    return problem(429, f"too many {what}: wait a little", headers=headers)
