"""How far a project is, and methods side by side."""

from __future__ import annotations

from fastapi import APIRouter

from crowdlearn.service.api.context import Here
from crowdlearn.service.api.routes.projects import ProjectPath
from crowdlearn.service.api.schemas import (
    AgreementOut,
    ComparedOut,
    ComparisonIn,
    ComparisonOut,
    FitOut,
    PointOut,
    ProgressOut,
    finite,
)
from crowdlearn.service.api.turns import one_at_a_time
from crowdlearn.service.comparing import compare_methods, gather, keep_comparison, list_fits
from crowdlearn.service.progress import agreement, curve, read_progress
from crowdlearn.service.projects import read_project

router = APIRouter(prefix="/v1")


@router.get("/projects/{project}/progress")
def progress(here: Here, project: ProjectPath) -> ProgressOut:
    """Where the project stands."""
    with here.read() as db:
        return ProgressOut.model_validate(read_progress(db, here.actor, project))


@router.get("/projects/{project}/progress/curve")
def progress_curve(here: Here, project: ProjectPath) -> list[PointOut]:
    """Expected error and cost over time."""
    with here.read() as db:
        return [PointOut.model_validate(point) for point in curve(db, here.actor, project)]


@router.get("/projects/{project}/agreement")
def worker_agreement(here: Here, project: ProjectPath) -> AgreementOut | None:
    """How alike workers vote; null where no item has two votes."""
    with here.read() as db:
        found = agreement(db, here.actor, project)
    if found is None:
        return None
    return AgreementOut(
        percent=finite(found.percent), alpha=finite(found.alpha), low=finite(found.low),
        high=finite(found.high), n_items=found.n_items,
    )  # fmt: skip


@router.get("/projects/{project}/fits")
def fits(here: Here, project: ProjectPath) -> list[FitOut]:
    """The last hundred fits: snapshots of the stream, and compared methods."""
    with here.read() as db:
        return [FitOut.model_validate(fit) for fit in list_fits(db, here.actor, project)]


@router.post("/projects/{project}/comparisons")
def comparison(here: Here, project: ProjectPath, which: ComparisonIn) -> ComparisonOut:
    """Fit methods on the votes, judge them by the experts' answers, and keep how they did."""
    with here.read() as db:
        read_project(db, here.actor, project, "compare methods")
    with one_at_a_time(here.service.heavy):
        with here.read() as db:
            material = gather(db, here.actor, project)
        if material is None:
            return ComparisonOut(methods=[], torn=[])
        rows, torn = compare_methods(material, list(dict.fromkeys(which.methods)))
    with here.write() as db:
        keep_comparison(db, here.actor, project, material, rows)
    return ComparisonOut(methods=[ComparedOut.model_validate(row) for row in rows], torn=torn)
