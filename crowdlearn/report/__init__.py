"""The report: one HTML file that says what came out, how sure it is, and whom to trust.

Nothing is fetched: style and pictures are in the file. Whatever came from the votes (names of
items, workers, classes, files) is escaped. The size does not grow with the number of items: tables
show those that stand out. Sections are made in `crowdlearn.report.sections`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Int
from jinja2 import Environment, PackageLoader, StrictUndefined

from crowdlearn import __version__
from crowdlearn.aggregation import Aggregation
from crowdlearn.highlights import in_words, plain
from crowdlearn.report.sections import key_figures, sections

MAX_LETTERS = 1000  # of a warning, which may quote names


def write_report(
    fit: Aggregation,
    path: str | Path,
    *,
    truth: Int[np.ndarray, " item"] | None = None,
    title: str = "From votes to truth",
) -> None:
    """Write the report of a fit to an HTML file; whole or not at all.

    `truth` holds class codes, -1 where unknown, and adds a section on errors and calibration.
    Raises OutputError where the file cannot be written.
    """
    from crowdlearn.io import new_file

    text = render(fit, truth=truth, title=title)
    with new_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def render(
    fit: Aggregation,
    *,
    truth: Int[np.ndarray, " item"] | None = None,
    title: str = "From votes to truth",
) -> str:
    """The report of a fit as HTML text; see `write_report`."""
    pages = Environment(
        loader=PackageLoader("crowdlearn"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return pages.get_template("report.html").render(
        title=title,
        method=fit.method,
        version=__version__,
        sentences=in_words(fit),
        warnings=[plain(text, MAX_LETTERS) for text in fit.warnings],
        figures=key_figures(fit),
        sections=sections(fit, truth),
    )
