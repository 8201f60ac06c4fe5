"""Votes come in: up to ten thousand in a request, or a stream of lines."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Header, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from crowdlearn.service.api.context import Here, Writing
from crowdlearn.service.api.routes.projects import ProjectPath
from crowdlearn.service.api.schemas import AppendedOut, VotesIn
from crowdlearn.service.api.streams import TwoWay, VoteStream
from crowdlearn.service.batches import keep_reply, reply_to
from crowdlearn.service.votes import NewVote, append_votes

router = APIRouter(prefix="/v1")
LINES = "application/x-ndjson"


@router.post("/projects/{project}/votes")
def new_votes(
    here: Writing,
    project: ProjectPath,
    new: VotesIn,
    idempotency_key: Annotated[str | None, Header(pattern="^[!-~]{1,200}$")] = None,
) -> AppendedOut:
    """Append votes, all or none. A request sent again under its Idempotency-Key gets the first
    one's reply."""
    votes = [NewVote(**vars(vote)) for vote in new.votes]
    content = b"" if idempotency_key is None else _content(new)
    with here.write(together=True) as db:
        if idempotency_key is not None:
            before = reply_to(db, here.actor, project, idempotency_key, content)
            if before is not None:
                return AppendedOut(**before)
        done = append_votes(db, here.actor, project, votes, token=new.token)
        reply = AppendedOut.model_validate(done)
        if idempotency_key is not None:
            keep_reply(db, here.actor, project, idempotency_key, content, reply.model_dump())
    return reply


@router.post(
    "/projects/{project}/votes/stream",
    response_class=Response,
    responses={200: {"content": {LINES: {"schema": {"type": "string"}}}}},
    openapi_extra={
        "requestBody": {"required": True, "content": {LINES: {"schema": {"type": "string"}}}}
    },
)
async def vote_stream(here: Here, project: ProjectPath, request: Request) -> Response:
    """Append votes as lines of JSON, a thousand at a time. After each commit a line
    {"lines", "new", "duplicates"} counts what is kept for good; {"error", "status", "line"} ends
    the reply where a line is refused, and of the lines after the last count none is kept."""
    stream = VoteStream(here, project)
    await run_in_threadpool(stream.begin)
    return TwoWay(stream.replies(request.stream()), media_type=LINES)


def _content(new: VotesIn) -> bytes:
    """What a request says, the same for all ways to write it."""
    return json.dumps(new.model_dump(), sort_keys=True).encode()
