"""The folder that `aggregate --out` and `demo` write: whole, or not at all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from crowdlearn.cli.exits import as_json

if TYPE_CHECKING:
    from crowdlearn.aggregation import Aggregation

FILES = ("labels.csv", "workers.csv", "posterior.parquet", "summary.json", "report.html")


def summary_of(fit: Aggregation, truth: Any) -> dict[str, Any]:
    """The fit's summary, with its scores under `evaluation` where the truth is known."""
    from crowdlearn.highlights import scores

    summary = fit.summary()
    if truth is not None:
        summary["evaluation"] = scores(fit, truth)
    return dict(as_json(summary))


def write_result(
    fit: Aggregation, folder: str, summary: dict[str, Any], truth: Any, title: str
) -> None:
    """Labels, workers, posterior, summary and report, and what `Aggregation.load` reads.

    Raises OutputError where the folder holds something else, or cannot be written.
    """
    from pyarrow.csv import write_csv

    from crowdlearn.io import new_folder
    from crowdlearn.report import render

    with new_folder(folder) as path:
        fit.write_into(path)
        labels = fit.to_table().select(["task", "label", "confidence", "n_votes", "gold"])
        write_csv(labels, path / "labels.csv")
        write_csv(fit.workers_table(), path / "workers.csv")
        text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
        (path / "summary.json").write_text(text + "\n", encoding="utf-8")
        page = render(fit, truth=truth, title=title)
        (path / "report.html").write_text(page, encoding="utf-8")
