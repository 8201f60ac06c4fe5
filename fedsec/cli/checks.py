"""What every option is checked for: a name in its table, a number from its least, an effect."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fedsec.errors import SettingsError


def one_of(option: str, given: str, known: Iterable[str]) -> None:
    """Raises SettingsError, which says what there is, for another name."""
    if given not in known:
        raise SettingsError(f"{option} {given!r} is not one of {', '.join(known)}")


def at_least(option: str, given: int | float | None, least: int) -> None:
    """Raises SettingsError for a smaller number."""
    if given is not None and given < least:
        raise SettingsError(f"{option} is {given}: give at least {least}")


def goes_with(option: str, given: Any, allowed: bool, other: str) -> None:
    """Raises SettingsError for an option that was given and would change nothing."""
    if given is not None and not allowed:
        raise SettingsError(f"{option} has no effect here: it goes with {other}")


def first(given: Any, default: Any) -> Any:
    """What was given, or else the default."""
    return default if given is None else given
