"""Amounts of memory as people write them."""

from __future__ import annotations

import re

from crowdlearn.errors import SettingsError

UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
BINARY = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def bytes_of(amount: int | str | None) -> int | None:
    """Bytes that "4GB", "500MB" or "2GiB" means; a number is itself. Raises SettingsError."""
    if amount is None:
        return None
    units = UNITS | BINARY
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?i?)b?\s*", str(amount).lower())
    if found is None or found[2] not in units or float(found[1]) == 0:
        raise SettingsError(f"memory {amount!r}: give an amount as 4GB or 500MiB")
    return int(float(found[1]) * units[found[2]])
