"""What a person sees of long work: how fast it goes, and how long it may still take."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress

    from crowdlearn.aggregation import Sweep
    from crowdlearn.shards.coding import Step

PATIENCE = 1.0  # seconds of a fit before a progress bar appears
WINDOW = 12  # sweeps from which speed and time left are told
FEWEST = 4  # sweeps before anything is told


class Pace:
    """Votes per second, and the seconds left, of a fit of `n_votes` votes."""

    def __init__(
        self, n_votes: int, tolerance: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.n_votes, self.tolerance, self.clock = n_votes, tolerance, clock
        self.seen: deque[tuple[float, int, float]] = deque(maxlen=WINDOW)

    def after(self, sweep: Sweep) -> str:
        """The pace after a sweep, in words; nothing while it is too early to tell.

        A sampler makes all its sweeps. Other fits may end before the last: the time left is then
        that to the tolerance, at the rate at which the change falls, where it does; else what is
        left at most.
        """
        self.seen.append((self.clock(), sweep.number, sweep.change))
        seconds = self.seen[-1][0] - self.seen[0][0]
        n_sweeps = self.seen[-1][1] - self.seen[0][1]
        if len(self.seen) < FEWEST or seconds <= 0 or n_sweeps <= 0:
            return ""
        rate, most = n_sweeps / seconds, max(sweep.of - sweep.number, 0)
        needed = self._sweeps_to_tolerance()
        if math.isnan(sweep.change):
            left = f"{clock_time(most / rate)} left"
        elif needed is None or needed >= most:
            left = f"at most {clock_time(most / rate)} left"
        else:
            left = f"about {clock_time(needed / rate)} left"
        return f"{amount(self.n_votes * rate)} votes/s  {left}"

    def _sweeps_to_tolerance(self) -> float | None:
        """Sweeps until the change, which falls by a factor a sweep, is below the tolerance."""
        pairs = [(number, math.log(change)) for _, number, change in self.seen if change > 0]
        if not self.tolerance or len(pairs) < FEWEST:
            return None
        x, y = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
        spread = sum((a - x) ** 2 for a, _ in pairs)
        slope = sum((a - x) * (b - y) for a, b in pairs) / spread if spread else 0.0
        return max((math.log(self.tolerance) - pairs[-1][1]) / slope, 0.0) if slope < 0 else None


def pace_of_step(step: Step, seconds: float | int) -> str:
    """Files (or buckets) done, votes per second, and the time left of a pass, in words."""
    unit = "buckets" if step.name == "gather" else "files"
    said = f"{step.done:,}/{step.of:,} {unit}"
    if step.done == 0 or seconds <= 0:
        return said
    said += f"  {amount(step.n_votes / seconds)} rows/s"
    if 0 < step.share < 1:
        said += f"  about {clock_time(seconds * (1 - step.share) / step.share)} left"
    return said


def amount(number: float | int) -> str:
    """A number in three digits: 12.3 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * size:
            return f"{number / size:.3g} {unit}" if number < 999.5 * size else f"{number:,.0f}"
    return f"{number:.3g}"


def clock_time(seconds: float | int) -> str:
    """Seconds as 0:07, 12:30 or 3:02:10."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def fit_bar(wanted: bool, n_votes: int, tolerance: float | None = None) -> Iterator[Any]:
    """A function to be called with every sweep, which draws a bar once a fit takes long."""
    if not wanted:
        yield lambda sweep: None
        return
    progress, started = _progress(), time.monotonic()
    task = progress.add_task("fitting", total=None, said="")
    pace = Pace(n_votes, tolerance)

    def show(sweep: Sweep) -> None:
        said = [f"sweep {sweep.number:,} of at most {sweep.of:,}"]
        said += [] if math.isnan(sweep.change) else [f"change {sweep.change:.1e}"]
        said += [pace.after(sweep)]
        if time.monotonic() - started < PATIENCE:
            return
        if not progress.live.is_started:
            progress.start()
        progress.update(task, completed=sweep.number, total=sweep.of, said="  ".join(said))

    try:
        yield show
    finally:
        progress.stop()


@contextmanager
def coding_bar(wanted: bool) -> Iterator[Any]:
    """A function to be called with every step of a coding, which draws a bar for each pass."""
    if not wanted:
        yield None
        return
    with _progress() as progress:
        tasks: dict[str, tuple[Any, float]] = {}

        def tell(step: Step) -> None:
            if step.name not in tasks:
                new = progress.add_task(step.name, total=1.0, said="")
                tasks[step.name] = new, time.monotonic()
            task, started = tasks[step.name]
            said = pace_of_step(step, time.monotonic() - started)
            progress.update(task, completed=step.share, said=said)

        yield tell


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
