"""Workers: how reliable they are, and what is done about them."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from crowdlearn.service.api.context import Here, Writing
from crowdlearn.service.api.routes.projects import ProjectPath
from crowdlearn.service.api.schemas import (
    FlagIn,
    Name,
    NoNul,
    WindowOut,
    WorkerOut,
    WorkersOut,
    WorkerViewOut,
)
from crowdlearn.service.projects import read_project
from crowdlearn.service.workers import (
    Drift,
    confusion,
    drift,
    judge_worker,
    list_workers,
    read_worker,
)

router = APIRouter(prefix="/v1")


@router.get("/projects/{project}/workers")
def workers(
    here: Here,
    project: ProjectPath,
    order: Literal["name", "n_votes", "accuracy"] = "n_votes",
    descending: bool = True,
    search: Annotated[str, Query(max_length=500), NoNul] | None = None,
    skip: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> WorkersOut:
    """A page of workers."""
    with here.read() as db:
        found = list_workers(
            db, here.actor, project, order=order, descending=descending, search=search,
            skip=skip, limit=limit,
        )  # fmt: skip
    return WorkersOut(workers=[WorkerOut.model_validate(worker) for worker in found])


@router.get("/projects/{project}/worker")
def worker(here: Here, project: ProjectPath, name: Annotated[Name, Query()]) -> WorkerViewOut:
    """A worker, their confusion matrix, and how right they were over time."""
    with here.read() as db:
        about = read_project(db, here.actor, project, "read workers")
        found = read_worker(db, here.actor, project, name)
        table = confusion(db, here.actor, project, name)
        over_time = drift(db, here.actor, project, name)
    return WorkerViewOut(
        worker=WorkerOut.model_validate(found),
        classes=list(about.classes),
        confusion=None if table is None else table.tolist(),
        drift=_windows(over_time),
    )


@router.post("/projects/{project}/worker/flag")
def worker_flag(here: Writing, project: ProjectPath, what: FlagIn) -> WorkerOut:
    """Block a worker, ask for retraining, or (null) let them work again."""
    with here.write(together=True) as db:
        judged = judge_worker(db, here.actor, project, what.name, what.flag, reason=what.reason)
    return WorkerOut.model_validate(judged)


def _windows(found: Drift) -> list[WindowOut]:
    columns = (found.at, found.n_votes, found.right, found.low, found.high)
    return [
        WindowOut(at=at, n_votes=n, right=right, low=low, high=high)
        for at, n, right, low, high in zip(*(c.tolist() for c in columns), strict=True)
    ]
