"""What experts decide and say."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from crowdlearn.service.answers import (
    accept,
    acceptable,
    answer,
    flag,
    note,
    skip,
    undo,
    unflag,
)
from crowdlearn.service.api.context import Here, Writing
from crowdlearn.service.api.routes.projects import ProjectPath
from crowdlearn.service.api.schemas import (
    AcceptableOut,
    AcceptedOut,
    AcceptIn,
    AnswerIn,
    ClassName,
    CommentIn,
    ItemIn,
    NoteIn,
    SaidOut,
    Share,
    UndoIn,
    UndoneOut,
    finite,
)

router = APIRouter(prefix="/v1")


@router.post("/projects/{project}/answers")
def new_answer(here: Writing, project: ProjectPath, new: AnswerIn) -> SaidOut:
    """Decide on an item. Refused (409) where another decision stands than the one `seen`."""
    with here.write(together=True, urgent=True) as db:
        said = answer(
            db, here.actor, project, new.item, new.label, seen=new.seen, token=new.token,
            key=new.key, note=new.note, shown=new.shown,
        )  # fmt: skip
    return SaidOut.model_validate(said)


@router.post("/projects/{project}/skip")
def item_skip(here: Writing, project: ProjectPath, what: CommentIn) -> SaidOut:
    """Leave an item to others."""
    with here.write(together=True, urgent=True) as db:
        said = skip(db, here.actor, project, what.item, reason=what.reason)
    return SaidOut.model_validate(said)


@router.post("/projects/{project}/flag")
def item_flag(here: Writing, project: ProjectPath, what: CommentIn) -> SaidOut:
    """Take an item out of the queues: something is wrong with it."""
    with here.write(together=True, urgent=True) as db:
        said = flag(db, here.actor, project, what.item, reason=what.reason)
    return SaidOut.model_validate(said)


@router.post("/projects/{project}/unflag")
def item_unflag(here: Writing, project: ProjectPath, what: ItemIn) -> SaidOut:
    """Put a flagged item back."""
    with here.write(together=True, urgent=True) as db:
        said = unflag(db, here.actor, project, what.item)
    return SaidOut.model_validate(said)


@router.post("/projects/{project}/note")
def item_note(here: Writing, project: ProjectPath, what: NoteIn) -> SaidOut:
    """Keep a remark on an item."""
    with here.write(together=True, urgent=True) as db:
        said = note(db, here.actor, project, what.item, what.text)
    return SaidOut.model_validate(said)


@router.post("/projects/{project}/undo")
def last_undo(here: Writing, project: ProjectPath, what: UndoIn) -> UndoneOut:
    """Take a decision back; a bulk acceptance as one."""
    with here.write(together=True, urgent=True) as db:
        said, item = undo(db, here.actor, project, what.seq)
    return UndoneOut(seq=said.seq, item=item)


@router.get("/projects/{project}/accept")
def accept_preview(
    here: Here,
    project: ProjectPath,
    at_least: Annotated[Share, Query()],
    label: Annotated[ClassName, Query()] | None = None,
) -> AcceptableOut:
    """What accepting the labels of at least this confidence would do."""
    with here.read() as db:
        found = acceptable(db, here.actor, project, at_least, label=label)
    return AcceptableOut(n_items=found.n_items, expected_error=finite(found.expected_error))


@router.post("/projects/{project}/accept")
def bulk_accept(here: Writing, project: ProjectPath, which: AcceptIn) -> AcceptedOut:
    """Accept the labels of all open items of at least this confidence as they are."""
    with here.write() as db:
        n_items = accept(db, here.actor, project, which.at_least, label=which.label)
    return AcceptedOut(n_items=n_items)
