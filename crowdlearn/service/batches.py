"""Requests that may be sent twice: the second time they get the first one's reply."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, func, insert, select

from crowdlearn.errors import ConflictError, SettingsError
from crowdlearn.service.access import Actor, project_id
from crowdlearn.store.database import lock_project, now
from crowdlearn.store.tables import batches


def reply_to(
    db: Connection, actor: Actor, project: str, key: str, content: bytes
) -> dict[str, Any] | None:
    """What this request was answered when it came first; None if it is new.

    Takes the project's lock, so that two of them cannot both be first. Raises ConflictError where
    the key came with another content.
    """
    id = project_id(db, actor, project, "vote")
    if not 0 < len(key) <= 200:
        raise SettingsError("an idempotency key is 1 to 200 characters")
    lock_project(db, id)
    here = (batches.c.project == id) & (batches.c.key == key)
    found = db.execute(select(batches.c.digest, batches.c.reply).where(here)).first()
    if found is None:
        return None
    if found.digest != sha256(content).hexdigest():
        raise ConflictError(f"the key {key!r} was used before, for another request")
    return dict(found.reply)


def keep_reply(
    db: Connection, actor: Actor, project: str, key: str, content: bytes, reply: dict[str, Any]
) -> None:
    """Keep the reply, in the transaction that did what was asked."""
    id = project_id(db, actor, project, "vote")
    n = db.execute(select(func.count()).where(batches.c.project == id)).scalar_one()
    db.execute(
        insert(batches).values(
            project=id, number=n, key=key, digest=sha256(content).hexdigest(), reply=reply, at=now()
        )
    )
