"""Where the next page begins, as a word that clients hand back and need not understand."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence

from crowdlearn.errors import SettingsError

MOST_PARTS = 4


def to_cursor(order: str, descending: bool, after: Sequence[float] | None) -> str | None:
    """The cursor of a place in a list; None where the list ends."""
    if after is None:
        return None
    content = json.dumps([order, descending, *after], separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def from_cursor(order: str, descending: bool, cursor: str | None) -> tuple[float, ...] | None:
    """The place that a cursor means. Raises SettingsError for one of another list."""
    if cursor is None:
        return None
    try:
        content = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        had_order, had_descending, *place = json.loads(content)
        after = tuple(float(value) for value in place)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise SettingsError("the cursor is none that was given here") from error
    if not 0 < len(after) <= MOST_PARTS or not all(map(math.isfinite, after)):
        raise SettingsError("the cursor is none that was given here")
    if (had_order, had_descending) != (order, descending):
        raise SettingsError("the cursor belongs to a list in another order")
    return after
