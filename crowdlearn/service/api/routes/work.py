"""Items lent for work, to one at a time."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from crowdlearn.service.api.context import Writing
from crowdlearn.service.api.routes.projects import ProjectPath
from crowdlearn.service.api.schemas import (
    LoanOut,
    NextIn,
    ReleasedOut,
    RenewedOut,
    TokenIn,
)
from crowdlearn.service.assignments import next_item, release, renew

router = APIRouter(prefix="/v1")


@router.post(
    "/projects/{project}/next",
    response_model=LoanOut,
    responses={204: {"description": "Nothing is left to do."}},
)
def next_loan(here: Writing, project: ProjectPath, wish: NextIn) -> LoanOut | Response:
    """Lend the most urgent item that nobody holds; 204 where nothing is left to do."""
    with here.write(together=True, urgent=True) as db:
        found = next_item(
            db, here.actor, project, wish.purpose, session=wish.session, worker=wish.worker
        )
    return Response(status_code=204) if found is None else LoanOut.model_validate(found)


@router.post("/projects/{project}/loans/release")
def loan_release(here: Writing, project: ProjectPath, loan: TokenIn) -> ReleasedOut:
    """Give an item back without a vote or answer."""
    with here.write(together=True, urgent=True) as db:
        return ReleasedOut(released=release(db, here.actor, project, loan.token))


@router.post("/projects/{project}/loans/renew")
def loan_renewal(here: Writing, project: ProjectPath, loan: TokenIn) -> RenewedOut:
    """Hold an item for longer."""
    with here.write(together=True, urgent=True) as db:
        return RenewedOut(until=renew(db, here.actor, project, loan.token))
