"""What a section of the report is made of: plain frozen bags that the template lays out."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.figure import Figure

from crowdlearn.plots import to_svg

PIXELS_AN_INCH = 96


@dataclass(frozen=True)
class Picture:
    """A drawing inside the page; `alt` says in words what it shows."""

    source: str  # a data: address
    alt: str
    width: int  # pixels
    height: int
    kind: Literal["picture"] = "picture"


@dataclass(frozen=True)
class Table:
    """Rows of text under a head; the first `n_names` columns are names, the others numbers."""

    caption: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    n_names: int = 1
    kind: Literal["table"] = "table"


@dataclass(frozen=True)
class ItemCard:
    """One item: its label, how the probability is spread, and the lines that explain it."""

    name: str
    label: str
    probability: str
    others: str
    n_votes: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Items:
    """Items one below the other, each to be unfolded."""

    items: tuple[ItemCard, ...]
    kind: Literal["items"] = "items"


@dataclass(frozen=True)
class Note:
    """A paragraph."""

    text: str
    kind: Literal["note"] = "note"


@dataclass(frozen=True)
class Section:
    """A part of the report under its own heading."""

    anchor: str
    title: str
    intro: str
    blocks: tuple[Picture | Table | Items | Note, ...]


@dataclass(frozen=True)
class KeyFigure:
    """A number that a reader wants first, and what it is."""

    value: str
    meaning: str


def picture(drawn: Figure, alt: str) -> Picture:
    """The figure as a picture that is part of the page."""
    width, height = drawn.get_size_inches()
    code = base64.b64encode(to_svg(drawn).encode()).decode()
    return Picture(
        source=f"data:image/svg+xml;base64,{code}",
        alt=alt,
        width=round(width * PIXELS_AN_INCH),
        height=round(height * PIXELS_AN_INCH),
    )


def number(value: float, digits: int = 3) -> str:
    """A number for a table cell; a dash where there is none."""
    return "–" if value != value else f"{value:.{digits}f}"
