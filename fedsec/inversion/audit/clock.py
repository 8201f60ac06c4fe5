"""Jobs one after another: told of, stopped on demand, and each with its share of the time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Generic, TypeVar

from fedsec.inversion.attack import Watch

T = TypeVar("T")


@dataclass(frozen=True)
class Job(Generic[T]):
    """Something to do, and what to call it."""

    what: str
    run: Callable[[Watch], T]


@dataclass(frozen=True, kw_only=True)
class Follow:
    """How an audit is followed, and ended early.

    progress  is told (jobs that are done, of how many, what is done now, share of that)
    stop      is asked whether to end
    seconds   of wall time for all; every job has an equal share of what is left when it begins, so
              that a short time makes attacks weaker and leaves none out
    """

    progress: Callable[[int, int, str, float], None] | None = None
    stop: Callable[[], bool] | None = None
    seconds: float | int = inf


@dataclass
class Clock:
    """Counts the jobs of an audit, of which there are `n` in all, against the time."""

    follow: Follow
    n: int
    n_begun: int = 0
    left_out: list[str] = field(default_factory=list)
    _began: float = field(default_factory=lambda: time.perf_counter())

    def play(self, jobs: Sequence[Job[T]]) -> Iterator[T]:
        """What the jobs give; those that there is no time for are noted as left out."""
        for job in jobs:
            self.n_begun += 1
            if self.over():
                self.left_out.append(job.what)
            else:
                yield job.run(self._watch(job.what))
        self._tell(self.n_begun, "", 0.0)

    def over(self) -> bool:
        """Whether the audit is to end."""
        asked = self.follow.stop is not None and self.follow.stop()
        return asked or self._left() <= 0

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.perf_counter() - self._began

    def _left(self) -> float | int:
        return self.follow.seconds - self.seconds

    def _watch(self, what: str) -> Watch:
        place = self.n_begun - 1
        self._tell(place, what, 0.0)
        return Watch(
            progress=lambda done, of, loss: self._tell(place, what, done / of),
            stop=self.follow.stop,
            seconds=self._left() / max(self.n - place, 1),
            every=20,
        )

    def _tell(self, done: int, what: str, share: float) -> None:
        if self.follow.progress is not None:
            self.follow.progress(done, self.n, what, share)
