"""Server-sent events: heads of the log and of folds, looked up in the database twice a second."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select
from starlette.concurrency import run_in_threadpool

from crowdlearn.errors import ServiceError
from crowdlearn.service.access import project_id
from crowdlearn.service.api.context import Context
from crowdlearn.service.api.identity import still_good
from crowdlearn.store.tables import events, folding, projects

EVERY = 0.5  # seconds between two looks
HEARTBEAT = 15.0  # seconds of silence at most
AT_ONCE = 500  # events in one look
MOST_OF_ONE, MOST_WATCHERS = 8, 64  # open streams of one caller, and of all


@dataclass(frozen=True)
class Look:
    """What one look found; `more` says that there may be more at once."""

    lines: tuple[bytes, ...]
    more: bool


class Watch:
    """One client's stream of a project's events."""

    def __init__(self, here: Context, project: str, after: int | None) -> None:
        self.here, self.project = here, project
        self.after = after
        self.fold = -1

    def begin(self) -> None:
        """Find where to start. Raises what a caller without rights is told."""
        with self.here.read() as db:
            id = project_id(db, self.here.actor, self.project, "watch")
            if self.after is None:
                here = projects.c.id == id
                self.after = int(db.execute(select(projects.c.n_events).where(here)).scalar_one())

    async def stream(self) -> AsyncIterator[bytes]:
        """Events until the client leaves, the process ends, or the right to watch does."""
        service, who = self.here.service, self.here.caller.who
        service.watchers[who] = service.watchers.get(who, 0) + 1
        spoke = time.monotonic()
        try:
            yield b": welcome\n\n"
            while not service.closing.is_set():
                look = await run_in_threadpool(self.look)
                if look is None:
                    return
                for line in look.lines:
                    yield line
                if look.lines:
                    spoke = time.monotonic()
                elif time.monotonic() - spoke >= HEARTBEAT:
                    yield b": still here\n\n"
                    spoke = time.monotonic()
                if not look.more:
                    await asyncio.sleep(EVERY)
        finally:
            service.watchers[who] -= 1
            if not service.watchers[who]:
                del service.watchers[who]

    def look(self) -> Look | None:
        """What is new; None where the caller may look no more."""
        with self.here.read() as db:
            try:
                if not still_good(db, self.here.caller):
                    return None
                id = project_id(db, self.here.actor, self.project, "watch")
            except ServiceError:
                return None
            heads = self._heads(db, id)
            fold = self._fold(db, id)
        lines = [_event("log", head, id=head["seq"]) for head in heads]
        if fold is not None:
            lines.append(_event("fold", fold))
        return Look(tuple(lines), len(heads) == AT_ONCE)

    def _heads(self, db: Connection, id: int) -> list[dict[str, Any]]:
        query = (
            select(events.c.seq, events.c.kind)
            .where(events.c.project == id, events.c.seq > self.after)
            .order_by(events.c.seq)
            .limit(AT_ONCE)
        )
        found = [{"seq": row.seq, "kind": row.kind} for row in db.execute(query)]
        if found:
            self.after = found[-1]["seq"]
        return found

    def _fold(self, db: Connection, id: int) -> dict[str, Any] | None:
        """The last fold, where it is another one than was told before."""
        columns = (folding.c.number, folding.c.upto, folding.c.expected_error)
        row = db.execute(select(*columns).where(folding.c.project == id)).one()
        if row.number == self.fold or row.number == 0:
            return None
        self.fold = row.number
        return dict(row._mapping)


def _event(kind: str, content: dict[str, Any], id: int | None = None) -> bytes:
    numbered = "" if id is None else f"id: {id}\n"
    return f"{numbered}event: {kind}\ndata: {json.dumps(content)}\n\n".encode()
