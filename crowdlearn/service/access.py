"""Who may do what: one table of rights, asked by every operation before it does anything.

A project that an actor has no part in does not exist for them, whatever they ask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, select

from crowdlearn.errors import NotAllowedError, NotFoundError
from crowdlearn.store.tables import members, projects

_EVERYBODY = frozenset({"annotator", "tool", "reviewer", "admin"})
_READERS = frozenset({"tool", "reviewer", "admin"})
_EXPERTS = frozenset({"reviewer", "admin"})
_FEEDERS = frozenset({"tool", "admin"})
_ADMINS = frozenset({"admin"})

RIGHTS: dict[str, frozenset[str]] = {
    "read guideline": _EVERYBODY,
    "vote": _EVERYBODY,  # annotators in their own name only
    "take item to vote": _EVERYBODY,
    "vote for others": _FEEDERS,
    "add items": _FEEDERS,
    "read item": _READERS,
    "read items": _READERS,
    "read workers": _READERS,
    "read progress": _READERS,
    "read fits": _READERS,
    "watch": _READERS,
    "export": _READERS,
    "take item to answer": _EXPERTS,
    "answer": _EXPERTS,
    "comment": _EXPERTS,
    "accept": _EXPERTS,
    "compare methods": _EXPERTS,
    "import": _ADMINS,
    "change project": _ADMINS,
    "judge workers": _ADMINS,
    "manage members": _ADMINS,
    "manage keys": _ADMINS,
    "read audit": _ADMINS,
    "verify": _ADMINS,
}


@dataclass(frozen=True)
class Actor:
    """Somebody who asks: a user, or an API key of one project with one role.

    `name` is what the log keeps. `owner` has every right in every project, and creates projects.
    """

    name: str
    user: int | None = None
    owner: bool = False
    key_project: int | None = None
    key_role: str | None = None


_BY_NAME = select(projects).where(projects.c.name == bindparam("wanted"))

LOCAL = Actor("local", owner=True)
"""Whoever holds the file: the command line, and the app where it runs for one person."""


def project_id(db: Connection, actor: Actor, project: str, operation: str) -> int:
    """The id of the project, if the actor may do this there. Raises as `project_row` does."""
    return int(project_row(db, actor, project, operation)[0].id)


def project_row(db: Connection, actor: Actor, project: str, operation: str) -> tuple[Any, str]:
    """The row of the project and the actor's role, if they may do this there.

    Raises NotFoundError where the actor has no part in a project of this name, and NotAllowedError
    where their role there does not include the operation.
    """
    found = db.execute(_BY_NAME, {"wanted": project}).first()
    role = None if found is None else role_in(db, actor, found.id)
    if found is None or role is None:
        raise NotFoundError(f"there is no project {project!r}")
    require(role, project, operation)
    return found, role


def require(role: str, project: str, operation: str) -> None:
    """Raises NotAllowedError where a role does not include the operation."""
    if role not in RIGHTS[operation]:
        raise NotAllowedError(f"the role {role} in {project!r} does not include: {operation}")


def role_in(db: Connection, actor: Actor, project: int) -> str | None:
    """The actor's role in this project; None without any."""
    if actor.owner:
        return "admin"
    if actor.key_role is not None:
        return actor.key_role if actor.key_project == project else None
    if actor.user is None:
        return None
    mine = (members.c.project == project) & (members.c.user == actor.user)
    found: str | None = db.execute(select(members.c.role).where(mine)).scalar()
    return found


def require_owner(actor: Actor, operation: str) -> None:
    """Raises NotAllowedError for anybody but the owner of the store."""
    if not actor.owner:
        raise NotAllowedError(f"only an owner of the store may: {operation}")
