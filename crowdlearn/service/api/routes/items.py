"""Items: listed in pages, shown in full, with their images and sounds."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query
from sqlalchemy import Connection
from starlette.responses import Response

from crowdlearn.service.api.context import Context, Here, Writing
from crowdlearn.service.api.pages import from_cursor, to_cursor
from crowdlearn.service.api.routes.projects import ProjectPath
from crowdlearn.service.api.schemas import (
    AddedOut,
    ClassName,
    ExplanationOut,
    ItemOut,
    ItemsOut,
    ItemViewOut,
    Name,
    NewItemsIn,
    NoNul,
    PosteriorOut,
    PosteriorsOut,
    SeenVoteOut,
    Share,
    State,
)
from crowdlearn.service.items import Item, list_guarded, read_guarded, read_media
from crowdlearn.service.new_items import NewItem, add_items
from crowdlearn.service.projects import Project, read_project
from crowdlearn.service.views import view_guarded
from crowdlearn.service.workers import read_worker

router = APIRouter(prefix="/v1")
Order = Literal["urgency", "confidence", "number"]
Cursor = Annotated[str, Query(max_length=1000, description="From the page before.")]
Limit = Annotated[int, Query(ge=1, le=500)]
NameQuery = Annotated[Name, Query(description="The name.")]


@router.get("/projects/{project}/items")
def items(
    here: Here,
    project: ProjectPath,
    order: Order = "number",
    descending: bool = False,
    cursor: Cursor | None = None,
    limit: Limit = 50,
    state: State | None = None,
    label: Annotated[ClassName, Query()] | None = None,
    decided: bool | None = None,
    voted: bool | None = None,
    at_least: Annotated[Share, Query()] | None = None,
    at_most: Annotated[Share, Query()] | None = None,
    search: Annotated[str, Query(max_length=500), NoNul] | None = None,
    worker: Annotated[Name, Query()] | None = None,
) -> ItemsOut:
    """A page of items that meet all conditions; long payloads are cut."""
    conditions = {
        "state": state, "label": label, "decided": decided, "voted": voted, "at_least": at_least,
        "at_most": at_most, "search": search,
    }  # fmt: skip
    with here.read() as db:
        if worker is not None:
            conditions["worker"] = read_worker(db, here.actor, project, worker).number
        about, found, more = _page(
            db, here, project, order, descending, cursor, limit, **conditions
        )
    page = ItemsOut.model_validate({"items": found, "cursor": more})
    _hide(about, found, page.items)
    return page


@router.post("/projects/{project}/items")
def new_items(here: Writing, project: ProjectPath, new: NewItemsIn) -> AddedOut:
    """Add up to 1000 items, all or none; those that are there with this payload stay."""
    made = [
        NewItem(
            name=item.name, kind=item.kind, payload=item.payload,
            content=None if item.content is None else base64.b64decode(item.content),
        )
        for item in new.items
    ]  # fmt: skip
    with here.write() as db:
        n_new = add_items(db, here.actor, project, made)
    return AddedOut(n_new=n_new, n_known=len(made) - n_new)


@router.get("/projects/{project}/item")
def item(here: Here, project: ProjectPath, name: NameQuery) -> ItemOut:
    """An item in full."""
    with here.read() as db:
        about = read_project(db, here.actor, project, "read item")
        found = read_guarded(db, about, name)
    return shown(about, found)


@router.get("/projects/{project}/item/view")
def item_view(here: Here, project: ProjectPath, name: NameQuery) -> ItemViewOut:
    """An item with its votes, why it got its label, what would flip it, and its history."""
    with here.read() as db:
        about = read_project(db, here.actor, project, "read item")
        view = view_guarded(db, about, name)
    blind = is_hidden(about, view.item)
    found = None if blind else view.explanation
    return ItemViewOut(
        item=shown(about, view.item),
        votes=[] if blind else [SeenVoteOut.model_validate(vote) for vote in view.votes],
        n_votes=view.n_votes,
        explanation=None if found is None else ExplanationOut.model_validate(found),
        history=view.history,
        seen=view.seen,
        decided_by=view.decided_by,
    )


@router.get("/projects/{project}/posteriors")
def posteriors(
    here: Here,
    project: ProjectPath,
    order: Order = "number",
    descending: bool = False,
    cursor: Cursor | None = None,
    limit: Limit = 500,
    voted: bool | None = None,
) -> PosteriorsOut:
    """A page of posteriors as of the last fold."""
    with here.read() as db:
        about, found, more = _page(db, here, project, order, descending, cursor, limit, voted=voted)
    page = PosteriorsOut.model_validate(
        {"posteriors": [_known(item) for item in found], "cursor": more}
    )
    _hide(about, found, page.posteriors)
    return page


@router.get(
    "/projects/{project}/media/{sha256}",
    response_class=Response,
    responses={
        200: {"content": {"image/*": {}, "audio/*": {}}},
        304: {"description": "As the ETag that was sent."},
    },
)
def media(
    here: Here,
    project: ProjectPath,
    sha256: Annotated[str, Path(pattern="^[0-9a-f]{64}$")],
    if_none_match: Annotated[str | None, Header(max_length=1000)] = None,
) -> Response:
    """An image or sound, by its SHA-256; it never changes."""
    with here.read() as db:
        mime, content = read_media(db, here.actor, project, sha256)
    headers = {
        "ETag": f'"{sha256}"',
        "Cache-Control": "private, max-age=31536000, immutable",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
    if if_none_match is not None and f'"{sha256}"' in if_none_match:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=mime, headers=headers)


def is_hidden(about: Project, item: Item) -> bool:
    """Whether a reviewer is to decide on the item without seeing what others say."""
    return about.settings.blind and about.role == "reviewer" and not item.decided


def shown(about: Project, item: Item) -> ItemOut:
    """An item as this caller may see it."""
    found = ItemOut.model_validate(item)
    _hide(about, [item], [found])
    return found


def _hide(about: Project, found: Sequence[Item], out: Sequence[ItemOut | PosteriorOut]) -> None:
    """Leave out what a reviewer is to decide on unseen."""
    for item, one in zip(found, out, strict=True):
        if is_hidden(about, item):
            one.label = one.confidence = one.posterior = None


def _page(
    db: Connection,
    here: Context,
    project: str,
    order: str,
    descending: bool,
    cursor: str | None,
    limit: int,
    **conditions: Any,
) -> tuple[Project, list[Item], str | None]:
    """The project, items of it (to be hidden where that is due), and the next page's cursor."""
    about = read_project(db, here.actor, project, "read items")
    after = from_cursor(order, descending, cursor)
    found, more = list_guarded(
        db, about, order=order, descending=descending, after=after, limit=limit, **conditions
    )
    return about, found, to_cursor(order, descending, more)


def _known(item: Item) -> dict[str, Any]:
    """What `PosteriorOut` has of an item."""
    return {
        "item": item.name, "n_votes": item.n_votes, "label": item.label, "decided": item.decided,
        "confidence": item.confidence, "posterior": item.posterior,
    }  # fmt: skip
