"""Jobs are told of, have their share of the time, and can be ended."""

from __future__ import annotations

import pytest

from fedsec.inversion.attack import Watch
from fedsec.inversion.audit import clock
from fedsec.inversion.audit.clock import Clock, Follow, Job


def job(name: str, ran: list[tuple[str, float]]) -> Job[str]:
    def run(watch: Watch) -> str:
        ran.append((name, watch.seconds))
        if watch.progress is not None:
            watch.progress(1, 2, 0.5)
        return name

    return Job(name, run)


def test_all_jobs_run_and_are_told_of() -> None:
    told: list[tuple[int, int, str, float]] = []
    ran: list[tuple[str, float]] = []
    found = Clock(Follow(progress=lambda *what: told.append(what)), 2)
    assert list(found.play([job("a", ran), job("b", ran)])) == ["a", "b"]
    assert told == [
        (0, 2, "a", 0.0), (0, 2, "a", 0.5), (1, 2, "b", 0.0), (1, 2, "b", 0.5), (2, 2, "", 0.0)
    ]  # fmt: skip
    assert found.left_out == [] and not found.over()


def test_what_is_left_is_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])
    ran: list[tuple[str, float]] = []
    found = Clock(Follow(seconds=12), 4)
    jobs = iter(found.play([job(name, ran) for name in "abcd"]))
    next(jobs)
    now[0] = 9.0  # the first took three times its share
    next(jobs)
    now[0] = 12.0
    assert list(jobs) == []
    assert ran == [("a", 3.0), ("b", 1.0)] and found.left_out == ["c", "d"]


def test_stop_leaves_the_rest_out() -> None:
    ran: list[tuple[str, float]] = []
    found = Clock(Follow(stop=lambda: len(ran) == 1), 3)
    assert list(found.play([job(name, ran) for name in "abc"])) == ["a"]
    assert found.left_out == ["b", "c"] and found.over()
