"""Votes as lines of JSON that are committed, and acknowledged, while more of them arrive."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import HTTPException
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from crowdlearn.errors import CrowdlearnError, SettingsError
from crowdlearn.service.api.context import Context
from crowdlearn.service.api.identity import still_good
from crowdlearn.service.api.problems import status_of
from crowdlearn.service.api.schemas import VoteIn
from crowdlearn.service.new_items import check_name
from crowdlearn.service.projects import Project, read_project
from crowdlearn.service.votes import Appended, NewVote, append_votes

AT_ONCE = 1000  # lines in one commit
LONGEST_LINE = 1 << 16  # bytes


class TwoWay(StreamingResponse):
    """A response that is sent while the request's body is still read; so it does not listen for
    the client's going away itself, which would take the body's pieces."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.stream_response(send)


class BadLine(Exception):
    """A line that is no vote of this project."""

    def __init__(self, line: int, detail: str) -> None:
        super().__init__(detail)
        self.line = line


class VoteStream:
    """A request's votes, from its lines to the log."""

    def __init__(self, here: Context, project: str) -> None:
        self.here, self.project = here, project
        self.about: Project | None = None
        self.first = 1  # line that has not been committed
        self.n_new = self.n_duplicates = 0

    def begin(self) -> None:
        """Find the project. Raises what a caller without rights is told."""
        with self.here.read() as db:
            self.about = read_project(db, self.here.actor, self.project, "vote")

    async def replies(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """A line for every commit, and one for what ended the stream before its end."""
        votes: list[NewVote] = []
        number = 0
        try:
            async for number, line in numbered_lines(body):
                if line.strip():
                    votes.append(self.vote(number, line))
                if len(votes) >= AT_ONCE:
                    yield await self._committed(votes, number)
                    votes = []
            if votes or number == 0 or self.first <= number:
                yield await self._committed(votes, number)
        except ClientDisconnect:
            return
        except BadLine as error:
            yield _line(error=str(error), status=422, line=error.line)
        except CrowdlearnError as error:
            yield _line(error=str(error), status=status_of(error) or 500, line=self.first)
        except HTTPException as error:
            yield _line(error=str(error.detail), status=error.status_code, line=self.first)

    def vote(self, number: int, line: bytes) -> NewVote:
        """The vote on a line. Raises BadLine."""
        assert self.about is not None, "begun"
        try:
            given = VoteIn.model_validate_json(line)
            check_name("item", given.item)
            check_name("worker", given.worker)
            self.about.code(given.label)
        except ValidationError as error:
            raise BadLine(number, f"line {number}: {_first(error)}") from None
        except SettingsError as error:
            raise BadLine(number, f"line {number}: {error}") from None
        return NewVote(**given.model_dump())

    async def _committed(self, votes: list[NewVote], number: int) -> bytes:
        async with self.here.service.writers:
            done = await run_in_threadpool(self._commit, votes)
        self.n_new += done.n_new
        self.n_duplicates += done.n_duplicates
        self.first = number + 1
        return _line(lines=number, new=self.n_new, duplicates=self.n_duplicates)

    def _commit(self, votes: list[NewVote]) -> Appended:
        with self.here.write() as db:
            if not still_good(db, self.here.caller):
                raise HTTPException(401, "this caller is not let in any more")
            done = append_votes(db, self.here.actor, self.project, votes)
            self.about = read_project(db, self.here.actor, self.project, "vote")
        return done


async def numbered_lines(body: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    """Lines of a body that comes in pieces, numbered from 1. Raises BadLine for a long one."""
    rest, number = b"", 0
    async for piece in body:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            number += 1
            yield number, _short(number, line)
        _short(number + 1, rest)
    if rest.strip():
        yield number + 1, rest


def _short(number: int, line: bytes) -> bytes:
    if len(line) > LONGEST_LINE:
        raise BadLine(number, f"line {number}: is longer than {LONGEST_LINE:,} bytes")
    return line


def _first(error: ValidationError) -> str:
    found = error.errors(include_input=False, include_url=False)[0]
    place = found["loc"][0] if found["loc"] and found["loc"][0] in VoteIn.model_fields else None
    return found["msg"] if place is None else f"{place}: {found['msg']}"


def _line(**content: Any) -> bytes:
    return json.dumps(content).encode() + b"\n"
