"""Members, API keys, and the trail of what was changed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from crowdlearn.service.accounts import (
    list_keys,
    list_members,
    make_key,
    revoke_key,
    set_member,
)
from crowdlearn.service.api.context import Here, Writing
from crowdlearn.service.api.routes.projects import ProjectPath
from crowdlearn.service.api.schemas import (
    LARGEST_INT,
    KeyOut,
    MemberIn,
    MemberOut,
    NewKeyIn,
    NewKeyOut,
    Short,
    TrailOut,
)
from crowdlearn.service.trail import read_trail

router = APIRouter(prefix="/v1")


@router.get("/projects/{project}/members")
def members(here: Here, project: ProjectPath) -> list[MemberOut]:
    """The users of the project and their roles."""
    with here.read() as db:
        return [MemberOut.model_validate(found) for found in list_members(db, here.actor, project)]


@router.put("/projects/{project}/members")
def member(here: Writing, project: ProjectPath, who: MemberIn) -> MemberOut:
    """Give a user a role in the project."""
    with here.write() as db:
        set_member(db, here.actor, project, who.name, who.role)
    return MemberOut(name=who.name, role=who.role)


@router.delete("/projects/{project}/members", status_code=204)
def member_removal(here: Writing, project: ProjectPath, name: Annotated[Short, Query()]) -> None:
    """Take a user's role away."""
    with here.write() as db:
        set_member(db, here.actor, project, name, None)


@router.get("/projects/{project}/keys")
def keys(here: Here, project: ProjectPath) -> list[KeyOut]:
    """The API keys of the project, revoked ones too."""
    with here.read() as db:
        return [KeyOut.model_validate(key) for key in list_keys(db, here.actor, project)]


@router.post("/projects/{project}/keys", status_code=201)
def new_key(here: Writing, project: ProjectPath, new: NewKeyIn) -> NewKeyOut:
    """Make an API key; it is shown this once."""
    with here.write() as db:
        key, secret = make_key(db, here.actor, project, new.name, new.role, days=new.days)
    return NewKeyOut(secret=secret, **KeyOut.model_validate(key).model_dump())


@router.delete("/projects/{project}/keys/{key}", status_code=204)
def key_revocation(
    here: Writing, project: ProjectPath, key: Annotated[int, Path(ge=1, le=LARGEST_INT)]
) -> None:
    """End an API key at once."""
    with here.write() as db:
        revoke_key(db, here.actor, project, key)
    here.service.gate.doorman.forget_keys()


@router.get("/projects/{project}/audit")
def audit(
    here: Here,
    project: ProjectPath,
    before: Annotated[int, Query(ge=0, le=LARGEST_INT)] | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[TrailOut]:
    """What was done to the project, the newest first; `before` an id goes on from there."""
    with here.read() as db:
        found = read_trail(db, here.actor, project, before=before, limit=limit)
    return [TrailOut.model_validate(row) for row in found]
