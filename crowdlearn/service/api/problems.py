"""Errors as problem+json (RFC 9457), whatever raised them; what was sent is not repeated."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crowdlearn.errors import (
    ConflictError,
    CrowdlearnError,
    NotAllowedError,
    NotFoundError,
    SettingsError,
    VotesError,
)
from crowdlearn.service.api.schemas import field_names

PROBLEM = "application/problem+json"
STATUS: dict[type[CrowdlearnError], int] = {
    NotFoundError: 404,
    NotAllowedError: 403,
    ConflictError: 409,
    SettingsError: 422,
    VotesError: 422,
}

logger = logging.getLogger(__name__)


class Wrong(BaseModel):
    """A place in a request, and what is wrong there."""

    where: str
    problem: str


class Problem(BaseModel):
    """An error."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""
    errors: list[Wrong] | None = None


def problem(
    status: int,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    errors: list[Wrong] | None = None,
) -> Response:
    """The response that tells of an error."""
    said = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=errors)
    content = json.dumps(said.model_dump(exclude_none=True)).encode()
    return Response(content, status, dict(headers or {}), PROBLEM)


def status_of(error: CrowdlearnError) -> int | None:
    """The status of an error that the service raised on purpose; None for one of its own making."""
    return next((code for kind, code in STATUS.items() if isinstance(error, kind)), None)


def add_handlers(app: FastAPI) -> None:
    """Let the app answer every error with a problem."""
    for kind in STATUS:
        app.add_exception_handler(kind, _refused)
    app.add_exception_handler(HTTPException, _by_status)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(OperationalError, _busy)
    app.add_exception_handler(NoConnection, _busy)


class LastResort:
    """Middleware: an unforeseen exception is logged without its message, which may hold what was
    sent, and answered 500."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noting(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, noting)
        except ClientDisconnect:
            return
        except Exception as error:
            if scope["type"] != "http":
                raise
            where = "".join(traceback.format_tb(error.__traceback__))
            logger.error("%s, not foreseen:\n%s", type(error).__name__, where)
            if started:
                raise ConnectionAbortedError("the response broke off") from None
            await problem(500, "something went wrong here; it has been noted")(scope, receive, send)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, CrowdlearnError), "registered for these alone"
    return problem(status_of(error) or 500, str(error))


async def _by_status(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for these alone"
    return problem(error.status_code, str(error.detail), headers=error.headers)


async def _malformed(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError), "registered for these alone"
    errors = [Wrong(where=_place(found), problem=found["msg"]) for found in error.errors()[:20]]
    return problem(422, "the request is not as it should be", errors=errors)


async def _busy(_: Request, error: Exception) -> Response:
    logger.error("the store does not answer: %s", type(error).__name__)
    return problem(503, "the store does not answer now: try again", headers={"Retry-After": "5"})


def _place(found: Mapping[str, Any]) -> str:
    """Where in the request; names that are not ours are left out."""
    first, *rest = found["loc"]
    known = field_names()
    ours = [
        str(part) if isinstance(part, int) or first != "body" or part in known else "(other)"
        for part in rest
    ]
    return ".".join([str(first), *ours])
