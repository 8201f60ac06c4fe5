"""Tables on the screen. Names are shown as plain text, never as markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH = 120  # columns of a table that goes to a file or a pipe


def show(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table to stdout; the first column is a name, the others are numbers."""
    table = Table()
    for place, name in enumerate(head):
        table.add_column(name, justify="left" if place == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_plain(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    console.print(Text(_plain(title), style="bold"), soft_wrap=True)
    console.print(table)


def number(value: Any, digits: int = 3) -> str:
    """A number for a cell; a dash where there is none."""
    return "–" if value is None or value != value else f"{value:,.{digits}f}"


def spread(values: Sequence[float | int | None], digits: int = 1, scale: float = 1.0) -> str:
    """Mean and standard deviation over seeds; the value where there is one, a dash for none."""
    known = [scale * value for value in values if value is not None and value == value]
    if not known:
        return "–"
    mean = sum(known) / len(known)
    if len(known) == 1:
        return number(mean, digits)
    deviation = (sum((value - mean) ** 2 for value in known) / (len(known) - 1)) ** 0.5
    return f"{number(mean, digits)} ± {number(deviation, digits)}"


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
