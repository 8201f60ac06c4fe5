"""One line of JSON a request: what was asked for and by whom, never what was sent."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

NO_ROUTE = "(none)"

logger = logging.getLogger("crowdlearn.requests")


class RequestLog:
    """Middleware: logs every request, and tells `observe` its route, method, status, seconds."""

    def __init__(self, app: ASGIApp, observe: Callable[[str, str, int, float], None]) -> None:
        self.app, self.observe = app, observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            seconds = time.perf_counter() - started
            route = route_of(scope)
            self.observe(route, scope["method"], status, seconds)
            caller = scope.get("state", {}).get("caller")
            line = {
                "method": scope["method"],
                "route": route,
                "status": status,
                "milliseconds": round(seconds * 1000, 1),
                "actor": None if caller is None else caller.actor.name,
            }
            logger.info(json.dumps(line))


def route_of(scope: Scope) -> str:
    """The template of the route that was taken, without its values."""
    return str(getattr(scope.get("route"), "path", NO_ROUTE))
