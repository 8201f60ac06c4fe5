"""The audit trail: who changed what about projects, people and keys. Appended to, never changed."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert, select

from crowdlearn.service.access import Actor, project_id
from crowdlearn.store.database import now
from crowdlearn.store.tables import audit


def record(db: Connection, actor: Actor, project: int | None, action: str, **detail: Any) -> None:
    """Keep that the actor did this; `detail` are JSON values, never payloads or secrets."""
    db.execute(
        insert(audit).values(
            at=now(), actor=actor.name, project=project, action=action, detail=detail
        )
    )


def read_trail(
    db: Connection, actor: Actor, project: str, *, before: int | None = None, limit: int = 100
) -> list[dict[str, Any]]:
    """What was done in a project, the newest first; `before` an id goes on from there."""
    id = project_id(db, actor, project, "read audit")
    query = select(audit).where(audit.c.project == id).order_by(audit.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(audit.c.id < before)
    columns = ("id", "at", "actor", "action", "detail")
    return [{name: row._mapping[name] for name in columns} for row in db.execute(query)]
