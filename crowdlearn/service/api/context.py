"""What a handler works with: the store, who asks, and the worker to wake after a write."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import Connection

from crowdlearn.service.access import Actor
from crowdlearn.service.api.identity import Caller, Gate
from crowdlearn.service.api.metrics import Metrics
from crowdlearn.service.folder import Folder
from crowdlearn.store.database import Store

MOST_WRITERS = 8
"""Requests that wait for their turn to write, so that threads and connections are left to read."""


@dataclass(frozen=True, eq=False)
class Service:
    """What all requests share. `closing` is set when the process is about to end."""

    store: Store
    folder: Folder
    gate: Gate
    metrics: Metrics
    closing: threading.Event = field(default_factory=threading.Event)
    heavy: threading.Lock = field(default_factory=threading.Lock)  # one long computation at a time
    writers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_WRITERS))
    watchers: dict[str, int] = field(default_factory=dict)  # open event streams by caller


@dataclass(frozen=True, eq=False)
class Context:
    """One request."""

    service: Service
    caller: Caller

    @property
    def actor(self) -> Actor:
        return self.caller.actor

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the store throughout."""
        with self.service.store.read() as db:
            yield db

    @contextmanager
    def write(self, *, together: bool = False, urgent: bool = False) -> Iterator[Connection]:
        """A transaction that is committed when the block ends; the folder is woken then.

        `together` and `urgent` are those of `Store.write`.
        """
        with self.service.store.write(together=together, urgent=urgent) as db:
            yield db
        self.service.folder.wake()


def service_of(request: Request) -> Service:
    """What all requests share."""
    found: Service = request.app.state.service
    return found


async def _context(request: Request) -> Context:
    return Context(service_of(request), request.state.caller)


async def _writer(request: Request) -> AsyncIterator[Context]:
    async with service_of(request).writers:
        yield await _context(request)


Here = Annotated[Context, Depends(_context)]
"""For handlers that read."""
Writing = Annotated[Context, Depends(_writer, scope="function")]
"""For handlers that write."""
