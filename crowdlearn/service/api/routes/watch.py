"""What happens in a project, as it happens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from crowdlearn.service.api.context import Here
from crowdlearn.service.api.routes.projects import ProjectPath
from crowdlearn.service.api.schemas import LARGEST_INT
from crowdlearn.service.api.sse import MOST_OF_ONE, MOST_WATCHERS, Watch

router = APIRouter(prefix="/v1")
STREAM = "text/event-stream"


@router.get(
    "/projects/{project}/events",
    response_class=Response,
    responses={200: {"content": {STREAM: {"schema": {"type": "string"}}}}},
)
async def events(
    here: Here,
    project: ProjectPath,
    after: Annotated[int, Query(ge=0, le=LARGEST_INT)] | None = None,
    last_event_id: Annotated[str | None, Header(pattern="^[0-9]{1,15}$")] = None,
) -> Response:
    """Server-sent events: `log` with {seq, kind} for what is appended after event `after` (or
    Last-Event-ID, or now), and `fold` with {number, upto, expected_error}."""
    start = after if last_event_id is None else int(last_event_id)
    watch = Watch(here, project, start)
    await run_in_threadpool(watch.begin)
    watchers = here.service.watchers
    if watchers.get(here.caller.who, 0) >= MOST_OF_ONE or sum(watchers.values()) >= MOST_WATCHERS:
        raise HTTPException(429, "too many event streams are open", {"Retry-After": "10"})
    return StreamingResponse(watch.stream(), media_type=STREAM, headers={"X-Accel-Buffering": "no"})
