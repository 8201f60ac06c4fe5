"""Users with hashed passwords, their roles, and API keys."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from crowdlearn.errors import ConflictError, NotFoundError, SettingsError
from crowdlearn.service.access import Actor, project_id, require_owner
from crowdlearn.service.trail import record
from crowdlearn.store.database import new_id, now
from crowdlearn.store.tables import ROLES, api_keys, members, users

SHORTEST = 10  # characters of a password
USED_EVERY = 60_000_000  # microseconds between two notes of a key's use


@dataclass(frozen=True)
class Member:
    """A user's place in a project."""

    name: str
    role: str


@dataclass(frozen=True)
class ApiKey:
    """A key as it may be shown: never the key itself."""

    id: int
    name: str
    role: str
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None


def add_user(
    db: Connection, actor: Actor, name: str, password: str | None, *, owner: bool = False
) -> int:
    """Make a user; without a password, one who signs in through OpenID Connect by this e-mail.

    Raises NotAllowedError for all but owners, SettingsError for a short password or an empty name,
    and ConflictError where there is a user of that name.
    """
    require_owner(actor, "add users")
    name = name.strip()
    if not name or len(name) > 200 or not name.isprintable():
        raise SettingsError("a user's name is 1 to 200 printable characters")
    if db.execute(select(users.c.id).where(users.c.name == name)).scalar() is not None:
        raise ConflictError(f"there is a user {name!r} already")
    made = db.execute(
        insert(users).values(
            name=name, password=None if password is None else hashed(password), owner=owner,
            created_at=now(),
        )
    )  # fmt: skip
    record(db, actor, None, "add user", user=name, owner=owner)
    return new_id(made)


def change_password(db: Connection, actor: Actor, name: str, password: str) -> None:
    """Set a user's password: one's own, or anybody's for an owner."""
    if f"user:{name}" != actor.name:
        require_owner(actor, "change another's password")
    done = db.execute(update(users).where(users.c.name == name).values(password=hashed(password)))
    if done.rowcount == 0:
        raise NotFoundError(f"there is no user {name!r}")
    record(db, actor, None, "change password", user=name)


def disable_user(db: Connection, actor: Actor, name: str, *, disabled: bool = True) -> None:
    """Shut a user out, or let them in again. What they said stays."""
    require_owner(actor, "disable users")
    done = db.execute(update(users).where(users.c.name == name).values(disabled=disabled))
    if done.rowcount == 0:
        raise NotFoundError(f"there is no user {name!r}")
    record(db, actor, None, "disable user" if disabled else "enable user", user=name)


def list_users(db: Connection, actor: Actor) -> list[dict[str, Any]]:
    """All users of the store. Owners only."""
    require_owner(actor, "list users")
    columns = (users.c.name, users.c.owner, users.c.disabled, users.c.created_at)
    return [dict(row._mapping) for row in db.execute(select(*columns).order_by(users.c.name))]


def signed_in(db: Connection, name: str, password: str) -> Actor | None:
    """The user of this name and password; None for a wrong one, an unknown or disabled user.

    An unknown name takes as long as a wrong password.
    """
    found = db.execute(select(users).where(users.c.name == name)).first()
    stored = _NOBODY if found is None or found.password is None else found.password
    if not _fits(stored, password) or found is None or found.disabled or found.password is None:
        return None
    return Actor(f"user:{found.name}", user=found.id, owner=found.owner)


def known_user(db: Connection, name: str) -> Actor | None:
    """The user whom somebody else has identified (OpenID Connect, or an earlier sign-in)."""
    found = db.execute(select(users).where(users.c.name == name)).first()
    if found is None or found.disabled:
        return None
    return Actor(f"user:{found.name}", user=found.id, owner=found.owner)


def set_member(db: Connection, actor: Actor, project: str, name: str, role: str | None) -> None:
    """Give a user a role in a project, or None to take it away.

    Raises SettingsError for an unknown role, and NotFoundError for an unknown user.
    """
    id = project_id(db, actor, project, "manage members")
    if role is not None and role not in ROLES:
        raise SettingsError(f"role {role!r} is not one of {', '.join(ROLES)}")
    user = db.execute(select(users.c.id).where(users.c.name == name)).scalar()
    if user is None:
        raise NotFoundError(f"there is no user {name!r}: an owner of the store can add one")
    db.execute(delete(members).where(members.c.project == id, members.c.user == user))
    if role is not None:
        db.execute(insert(members).values(project=id, user=user, role=role))
    record(db, actor, id, "set member", user=name, role=role)


def list_members(db: Connection, actor: Actor, project: str) -> list[Member]:
    """The users of a project and their roles."""
    id = project_id(db, actor, project, "manage members")
    rows = db.execute(
        select(users.c.name, members.c.role)
        .join(users, users.c.id == members.c.user)
        .where(members.c.project == id)
        .order_by(users.c.name)
    )
    return [Member(row.name, row.role) for row in rows]


def make_key(
    db: Connection, actor: Actor, project: str, name: str, role: str, *, days: float | None = None
) -> tuple[ApiKey, str]:
    """Make an API key of a project with one role; the key itself is shown this once.

    Raises SettingsError for an unknown role, an empty name, or days that are not above 0.
    """
    id = project_id(db, actor, project, "manage keys")
    if role not in ROLES:
        raise SettingsError(f"role {role!r} is not one of {', '.join(ROLES)}")
    if not name.strip() or len(name) > 200 or not name.isprintable():
        raise SettingsError("a key's name is 1 to 200 printable characters")
    if days is not None and not 0 < days <= 36500:
        raise SettingsError(f"a key lives for more than 0 and at most 36500 days, not {days!r}")
    secret = "clk_" + secrets.token_urlsafe(32)
    expires = None if days is None else now() + int(days * 86400e6)
    made = db.execute(
        insert(api_keys).values(
            project=id, name=name.strip(), role=role, hash=_digest(secret), created_at=now(),
            expires_at=expires,
        )
    )  # fmt: skip
    record(db, actor, id, "make key", key=name.strip(), role=role)
    number = new_id(made)
    return next(key for key in list_keys(db, actor, project) if key.id == number), secret


def list_keys(db: Connection, actor: Actor, project: str) -> list[ApiKey]:
    """The keys of a project, revoked ones too."""
    id = project_id(db, actor, project, "manage keys")
    names = ApiKey.__dataclass_fields__
    rows = db.execute(select(api_keys).where(api_keys.c.project == id).order_by(api_keys.c.id))
    return [ApiKey(**{name: row._mapping[name] for name in names}) for row in rows]


def revoke_key(db: Connection, actor: Actor, project: str, key: int) -> None:
    """End a key at once. Raises NotFoundError where the project has none of this number."""
    id = project_id(db, actor, project, "manage keys")
    here = (api_keys.c.project == id) & (api_keys.c.id == key)
    done = db.execute(
        update(api_keys).where(here, api_keys.c.revoked_at.is_(None)).values(revoked_at=now())
    )
    if done.rowcount == 0:
        raise NotFoundError(f"{project!r} has no live key {key}")
    record(db, actor, id, "revoke key", key=key)


_KEY = select(api_keys).where(api_keys.c.hash == bindparam("wanted"))


def key_holder(db: Connection, secret: str) -> tuple[Actor, int, bool] | None:
    """Actor, number of the key, and whether its use should be noted; None for a key not (or no
    longer) good."""
    found = db.execute(_KEY, {"wanted": _digest(secret)}).first()
    time = now()
    if found is None or found.revoked_at is not None:
        return None
    if found.expires_at is not None and found.expires_at <= time:
        return None
    actor = Actor(f"key:{found.name}", key_project=found.project, key_role=found.role)
    return actor, int(found.id), time - (found.last_used_at or 0) > USED_EVERY


def note_use(db: Connection, key: int) -> None:
    """Keep when a key was last used."""
    db.execute(update(api_keys).where(api_keys.c.id == key).values(last_used_at=now()))


def hashed(password: str) -> str:
    """The argon2 hash of a password. Raises SettingsError for a short one."""
    if len(password) < SHORTEST:
        raise SettingsError(f"a password has at least {SHORTEST} characters")
    if len(password) > 1000:
        raise SettingsError("a password has at most 1000 characters")
    return str(_hasher().hash(password))


def _fits(stored: str, password: str) -> bool:
    from argon2.exceptions import InvalidHashError, VerificationError

    if len(password) > 1000:
        return False
    try:
        return bool(_hasher().verify(stored, password))
    except (VerificationError, InvalidHashError):
        return False


def _hasher() -> Any:
    try:
        from argon2 import PasswordHasher
    except ImportError as error:
        raise ImportError("passwords need argon2: pip install 'crowdlearn[store]'") from error
    return PasswordHasher()


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


_NOBODY = (
    "$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)
"""A hash that no password fits, to compare with where there is no user."""
