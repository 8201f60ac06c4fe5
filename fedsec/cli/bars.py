"""Progress of attacks and audits, as a bar on stderr where somebody watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event

from fedsec.inversion.attack import Watch


@contextmanager
def attack_bar(wanted: bool, asked: Event, seconds: float) -> Iterator[Watch]:
    """A watch that draws a bar, and ends where Ctrl-C asked for it."""
    with moving_bar(wanted, "iterations") as show:
        yield Watch(
            progress=lambda done, of, loss: show(done, of, f"loss {loss:.4g}"),
            stop=asked.is_set, seconds=seconds, every=10,
        )  # fmt: skip


@contextmanager
def moving_bar(wanted: bool, unit: str) -> Iterator[Callable[[float, float, str], None]]:
    """A function (done, of how many, what) that draws a bar on stderr, or does nothing."""
    if not wanted:
        yield lambda done, of, what: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeElapsedColumn(),
        TimeRemainingColumn(), TextColumn("{task.description}", markup=False),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    task = bar.add_task("", total=None)
    with bar:
        yield lambda done, of, what: bar.update(task, completed=done, total=of, description=what)
