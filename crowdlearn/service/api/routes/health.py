"""Whether the process is well and ready, and its figures; not under /v1."""

from __future__ import annotations

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from crowdlearn.errors import StoreError
from crowdlearn.service.api.context import service_of
from crowdlearn.service.api.schemas import HealthOut, ReadyOut
from crowdlearn.store.migrate import head, version

router = APIRouter()
LOOPBACK = ("127.0.0.1", "::1")


@router.get("/healthz", responses={503: {"model": HealthOut}})
async def health(request: Request) -> Response:
    """Whether the process answers, and folds if it is to."""
    folder = service_of(request).folder
    ill = request.app.state.folds and not folder.alive
    found = HealthOut(status="ill" if ill else "ok", folding=folder.alive)
    return JSONResponse(found.model_dump(), 503 if ill else 200)


@router.get("/readyz", responses={503: {"model": ReadyOut}})
def ready(request: Request) -> Response:
    """Whether the database can be reached, and has the schema that this version reads."""
    try:
        found = version(service_of(request).store)
    except (SQLAlchemyError, StoreError):
        said = ReadyOut(status="not ready", detail="the database cannot be read")
    else:
        fits = found == head()
        said = ReadyOut(
            status="ready" if fits else "not ready",
            detail="" if fits else "the schema of the store is of another version",
        )
    return JSONResponse(said.model_dump(), 200 if said.status == "ready" else 503)


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Figures for Prometheus: for clients on this machine, and for known callers."""
    service = service_of(request)
    if not _is_local(request):
        found = await service.gate.admitted(request.scope)
        if isinstance(found, Response):
            return found
    content = await run_in_threadpool(service.metrics.exposed)
    return Response(content, media_type=CONTENT_TYPE_LATEST)


def _is_local(request: Request) -> bool:
    """Whether the client is on this machine; one that a proxy speaks for is not."""
    forwarded = {"x-forwarded-for", "forwarded", "x-real-ip", "via"} & set(request.headers)
    return request.client is not None and request.client.host in LOOPBACK and not forwarded
