"""Rows as tables that a page shows, never more of them than a page has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa


def table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Rows with the same columns as a table."""
    return pa.Table.from_pylist(list(rows))
