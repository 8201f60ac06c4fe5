"""The review app as a server: Streamlit, with its scripts and fonts out of memory.

    CROWDLEARN_STORE=store.db python -m apps.review run apps/review/server.py

A browser that is here for the first time asks for some ninety files before the Queue page can be
worked on. Streamlit opens, reads and sends each in other threads, in pieces, and while it does, the
page itself waits for its turn. What is asked for once is kept here and sent whole. All else, and
whatever asks for more than a file (a part of it, whether it has changed), is Streamlit's to answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit import file_util
from streamlit.starlette import App

from apps.review import state
from apps.review.run import APP
from crowdlearn.errors import CrowdlearnError

YEAR = 365 * 24 * 3600  # seconds; the files' names change with their content
TYPES = {".js": "text/javascript", ".css": "text/css", ".woff2": "font/woff2"}


class FromMemory:
    """Answers for the files of `folder` that lie in its folder `static`, each read once."""

    def __init__(self, app: ASGIApp, folder: Path) -> None:
        self.app = app
        self.files = {
            f"/{file.relative_to(folder).as_posix()}": file
            for file in (folder / "static").rglob("*")
            if file.suffix in TYPES
        }
        self.kept: dict[str, Response] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._who_answers(scope)(scope, receive, send)

    def _who_answers(self, scope: Scope) -> ASGIApp:
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] not in self.files:
            return self.app
        if any(name in (b"range", b"if-none-match") for name, _ in scope["headers"]):
            return self.app
        return self.kept.get(scope["path"]) or self._keep(scope["path"])

    def _keep(self, path: str) -> Response:
        file = self.files[path]
        headers = {"Cache-Control": f"public, immutable, max-age={YEAR}"}
        self.kept[path] = Response(
            file.read_bytes(), headers=headers, media_type=TYPES[file.suffix]
        )
        return self.kept[path]


@asynccontextmanager
async def opening(_: App) -> AsyncIterator[None]:
    """Open the store before the first page asks for it; what is wrong with it, that page says."""
    with suppress(CrowdlearnError):
        await run_in_threadpool(state.held)
    yield


app = App(
    APP,
    lifespan=opening,
    middleware=[Middleware(FromMemory, folder=Path(file_util.get_static_dir()))],
)
