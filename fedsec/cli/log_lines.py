"""Progress in lines, where stderr is a file and not a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from fedsec.cli.exits import say

EVERY = 30.0
"""Seconds from one line to the next, at least."""


def in_place_of_a_bar(json: bool) -> Callable[[str], None] | None:
    """What is told after every step how far something is; None on a terminal, which has a bar.

    In a log it writes a line now and then, beside JSON none.
    """
    if json:
        return lambda line: None
    return None if sys.stderr.isatty() else now_and_then()


def now_and_then() -> Callable[[str], None]:
    """A function that writes a line where the last one, or the start, was long enough ago."""
    last = time.monotonic()

    def tell(line: str) -> None:
        nonlocal last
        if time.monotonic() - last >= EVERY:
            last = time.monotonic()
            say(line)

    return tell
