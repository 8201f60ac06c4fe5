"""Progress on stderr: a bar on a terminal, lines in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event

from fedsec.cli.log_lines import in_place_of_a_bar
from fedsec.inversion.attack import Watch


@contextmanager
def attack_bar(json: bool, asked: Event, seconds: float) -> Iterator[Watch]:
    """A watch that shows how far an attack is, and ends where Ctrl-C asked for it."""
    with moving_bar(json, "iterations") as show:
        yield Watch(
            progress=lambda done, of, loss: show(done, of, f"loss {loss:.4g}"),
            stop=asked.is_set, seconds=seconds, every=10,
        )  # fmt: skip


@contextmanager
def moving_bar(json: bool, unit: str) -> Iterator[Callable[[float, float, str], None]]:
    """A function (done, of how many, what) that shows on stderr how far something is.

    A bar on a terminal, a line now and then in a log, nothing beside JSON.
    """
    tell = in_place_of_a_bar(json)
    if tell is not None:
        yield lambda done, of, what: tell(
            f"{int(done)} of {of:.0f} {unit} done; {what}".rstrip("; ")
        )
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
