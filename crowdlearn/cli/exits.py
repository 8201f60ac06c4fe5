"""How commands end: errors and warnings as one line each, Ctrl-C, and the exit codes."""

from __future__ import annotations

import math
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TextIO

import typer
from typer.core import TyperGroup

from crowdlearn.errors import ConvergenceWarning, CrowdlearnError, VotesWarning

BAD_INPUT, INTERRUPTED = 2, 130


class Commands(TyperGroup):
    """Commands that turn this package's errors into one line on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            with plain_warnings():
                return super().invoke(ctx)
        except CrowdlearnError as error:
            say(str(error), "red")
            raise typer.Exit(BAD_INPUT) from None
        except ImportError as error:
            if "pip install 'crowdlearn[" not in str(error):
                raise
            say(str(error), "red")
            raise typer.Exit(BAD_INPUT) from None
        except KeyboardInterrupt:
            say("interrupted: nothing was written", "red")
            raise typer.Exit(INTERRUPTED) from None


def say(text: str, colour: str | None = None) -> None:
    """One line on stderr, coloured where stderr is a terminal; control characters become spaces."""
    line = "".join(c if c.isprintable() else " " for c in text)
    typer.secho(line, err=True, fg=colour)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Show the warnings of this package as one yellow line each, others as Python does."""
    with warnings.catch_warnings():
        as_python_does = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, VotesWarning | ConvergenceWarning):
                say(f"warning: {message}", "yellow")
            else:
                as_python_does(message, category, filename, lineno, file, line)

        warnings.simplefilter("always", VotesWarning)
        warnings.simplefilter("always", ConvergenceWarning)
        warnings.showwarning = show
        yield


@contextmanager
def first_interrupt() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second one raises KeyboardInterrupt."""
    asked = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        os.write(2, b"\nstopping after this sweep; Ctrl-C again leaves at once\n")

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def as_json(value: Any) -> Any:
    """The value with nan and infinities, which JSON does not have, as None."""
    if isinstance(value, dict):
        return {key: as_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def print_json(value: dict[str, Any]) -> None:
    """One JSON object as one line on stdout."""
    import json

    typer.echo(json.dumps(as_json(value), ensure_ascii=False, allow_nan=False))
