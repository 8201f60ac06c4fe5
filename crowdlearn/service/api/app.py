"""The application: routes, and around them what every request goes through."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware

from crowdlearn.service.api.context import Service
from crowdlearn.service.api.documents import document
from crowdlearn.service.api.headers import SafeHeaders
from crowdlearn.service.api.identity import Doorman, Gate
from crowdlearn.service.api.limits import Buckets, LargestBody
from crowdlearn.service.api.logs import RequestLog
from crowdlearn.service.api.metrics import Metrics
from crowdlearn.service.api.problems import LastResort, add_handlers
from crowdlearn.service.api.routes import ROUTERS, health
from crowdlearn.service.folder import Folder
from crowdlearn.store.database import Store

LARGEST_BODY = 64 << 20
SIGN_INS_EVERY = 6.0  # seconds until one more sign-in of an address may fail


def create_app(
    store: Store,
    *,
    folder: Folder | None = None,
    requests_per_second: float = 100.0,
    burst: int = 200,
    largest_body: int = LARGEST_BODY,
    failed_sign_ins: int = 20,
) -> FastAPI:
    """The service of a store.

    It folds the logs itself unless it is given a `folder`, which its maker starts and closes.
    Every caller may ask `requests_per_second`, and `burst` at once; of one address,
    `failed_sign_ins` may fail at once. `largest_body` is in bytes.
    """
    ours = folder is None
    folder = folder or Folder(store)
    metrics = Metrics(store, folder)
    doorman = Doorman(store)
    requests = Buckets(requests_per_second, burst)
    failures = Buckets(1 / SIGN_INS_EVERY, failed_sign_ins)
    service = Service(store, folder, Gate(_nowhere, doorman, requests, failures), metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.openapi()  # routes are built when first asked for: better now than with requests
        if ours:
            folder.start()
        app.state.folds = folder.alive
        try:
            yield
        finally:
            service.closing.set()
            if ours:
                await run_in_threadpool(folder.close)

    app = FastAPI(
        title="crowdlearn",
        version=version("crowdlearn"),
        description="True labels from imperfect sources: projects, votes, answers, estimates.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation,
        middleware=[
            Middleware(RequestLog, observe=metrics.observe),
            Middleware(SafeHeaders),
            Middleware(LastResort),
            Middleware(LargestBody, largest=largest_body),
            Middleware(Gate, doorman=doorman, requests=requests, failures=failures),
        ],
    )
    app.state.service, app.state.folds = service, False
    add_handlers(app)
    app.include_router(health.router, tags=["health"])
    for tag, router in ROUTERS.items():
        app.include_router(router, tags=[tag])
    document(app)
    return app


def _operation(route: Any) -> str:
    return str(route.name)


async def _nowhere(*_: object) -> None:
    """What is behind the gate that only /metrics asks."""
