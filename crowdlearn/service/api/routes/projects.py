"""Projects."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from crowdlearn.service.api.context import Here, Writing
from crowdlearn.service.api.schemas import (
    NewProjectIn,
    ProjectChangeIn,
    ProjectName,
    ProjectOut,
    VerifiedOut,
)
from crowdlearn.service.api.turns import one_at_a_time
from crowdlearn.service.projects import (
    change_project,
    create_project,
    list_projects,
    read_project,
)
from crowdlearn.service.verifying import verify

router = APIRouter(prefix="/v1")
ProjectPath = Annotated[ProjectName, Path(description="The project's name.")]


@router.get("/projects")
def projects(here: Here) -> list[ProjectOut]:
    """The projects that the caller has a role in."""
    with here.read() as db:
        return [ProjectOut.model_validate(found) for found in list_projects(db, here.actor)]


@router.post("/projects", status_code=201)
def new_project(here: Writing, new: NewProjectIn) -> ProjectOut:
    """Make a project. For owners of the store."""
    with here.write() as db:
        made = create_project(
            db, here.actor, new.name, new.classes, guideline=new.guideline,
            settings=new.settings.model_dump(exclude_none=True), simulated=new.simulated,
        )  # fmt: skip
    return ProjectOut.model_validate(made)


@router.get("/projects/{project}")
def project(here: Here, project: ProjectPath) -> ProjectOut:
    """A project as it stands."""
    with here.read() as db:
        return ProjectOut.model_validate(read_project(db, here.actor, project))


@router.patch("/projects/{project}")
def project_change(here: Writing, project: ProjectPath, change: ProjectChangeIn) -> ProjectOut:
    """Change the guideline or settings, or add classes after those there are."""
    settings = None if change.settings is None else change.settings.model_dump(exclude_none=True)
    with here.write() as db:
        changed = change_project(
            db, here.actor, project, guideline=change.guideline, settings=settings,
            add_classes=change.add_classes,
        )  # fmt: skip
    return ProjectOut.model_validate(changed)


@router.post("/projects/{project}/verify")
def project_verification(here: Here, project: ProjectPath) -> VerifiedOut:
    """Rebuild the project from its log, and compare all that is kept with it."""
    with here.read() as db:
        read_project(db, here.actor, project, "verify")
    with one_at_a_time(here.service.heavy), here.read() as db:
        return VerifiedOut.model_validate(verify(db, here.actor, project))
