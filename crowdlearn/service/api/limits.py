"""How much one may ask for: token buckets, and the largest body."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crowdlearn.service.api.problems import problem

MOST_BUCKETS = 10_000


@dataclass
class Bucket:
    """Tokens that are left, and when they were counted."""

    tokens: float
    at: float


class Buckets:
    """A bucket of `burst` tokens for everybody, refilled at `rate` a second.

    For one process; behind several, each has its own. Used from the event loop alone.
    """

    def __init__(
        self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate, self.burst, self.clock = rate, float(burst), clock
        self._of: dict[str, Bucket] = {}

    def take(self, who: str) -> float:
        """Take a token: 0 if there was one, else the seconds until there is."""
        bucket = self._filled(who)
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            return 0.0
        return (1 - bucket.tokens) / self.rate

    def give_back(self, who: str) -> None:
        """Put a token back that was not used."""
        bucket = self._filled(who)
        bucket.tokens = min(bucket.tokens + 1, self.burst)

    def _filled(self, who: str) -> Bucket:
        time_now = self.clock()
        bucket = self._of.get(who)
        if bucket is None:
            if len(self._of) >= MOST_BUCKETS:
                self._forget(time_now)
            bucket = self._of[who] = Bucket(self.burst, time_now)
        gained = (time_now - bucket.at) * self.rate
        bucket.tokens, bucket.at = min(bucket.tokens + gained, self.burst), time_now
        return bucket

    def _forget(self, time_now: float) -> None:
        """Drop buckets that are full again; if that is not half of them, the oldest."""
        full_after = self.burst / self.rate
        self._of = {w: b for w, b in self._of.items() if time_now - b.at < full_after}
        if len(self._of) > MOST_BUCKETS // 2:
            latest = sorted(self._of.items(), key=lambda pair: pair[1].at)[-MOST_BUCKETS // 2 :]
            self._of = dict(latest)


class LargestBody:
    """Middleware: bodies above a size are refused, by what they say or, in chunks, as they come."""

    def __init__(self, app: ASGIApp, largest: int) -> None:
        self.app, self.largest = app, largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        said = Headers(scope=scope).get("content-length", "")
        if said.isdecimal() and (len(said) > 18 or int(said) > self.largest):
            await problem(413, self._detail())(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.largest:
                raise HTTPException(413, self._detail())
            return message

        await self.app(scope, counted, send)

    def _detail(self) -> str:
        return f"a body has at most {self.largest:,} bytes: send it in parts"
