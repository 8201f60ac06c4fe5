"""The charts, as functions of plain values. Names go in as data, never as part of a definition.

What is drawn of a single item is no chart but HTML (`figures`): the Queue page is there sooner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import altair as alt
import numpy as np
from jaxtyping import Float

from crowdlearn.service.comparing import Compared
from crowdlearn.service.workers import Drift, Worker

BAR, AXIS = 21, 60  # pixels of a bar, of an axis with its title
MOST_CLASSES, LONGEST = 30, 160
Chart = alt.Chart | alt.LayerChart | alt.FacetChart
INK = "#748094"  # readable on light and dark ground
WHOLE = alt.Scale(domain=[0, 1])


def accuracies(shown: Sequence[Worker]) -> Chart:
    """Accuracy of workers with its 90 % interval."""
    rows: list[dict[str, Any]] = [
        {
            "worker": worker.name, "accuracy": worker.accuracy, "low": worker.low,
            "high": worker.high, "votes": worker.n_votes, "state": worker.flag or "at work",
        }
        for worker in shown
        if worker.accuracy is not None
    ]  # fmt: skip
    base = alt.Chart(alt.Data(values=rows)).encode(
        y=alt.Y("worker:N", sort=[row["worker"] for row in rows], title=None, axis=_names()),
        tooltip=[
            "worker:N", _share("accuracy"), _share("low"), _share("high"), "votes:Q", "state:N",
        ],
    )  # fmt: skip
    axis = alt.Axis(format="%")
    bars = base.mark_rule(strokeWidth=2, opacity=0.55).encode(
        x=alt.X("low:Q", title="accuracy, 90 % interval", scale=WHOLE, axis=axis),
        x2="high:Q",
        color=alt.value(INK),
    )
    points = base.mark_point(filled=True, size=70).encode(
        x="accuracy:Q", color=alt.Color("state:N", title=None, legend=None)
    )
    return alt.layer(bars, points, height=(BAR - 2) * len(rows) + AXIS)


def heat_map(matrix: Float[np.ndarray, "class class"], classes: Sequence[str]) -> Chart:
    """A worker's confusion matrix: rows are what is so, columns what they say."""
    shown = list(classes[:MOST_CLASSES])
    rows: list[dict[str, Any]] = [
        {"truth": truth, "label": label, "p": float(matrix[k, j])}
        for k, truth in enumerate(shown)
        for j, label in enumerate(shown)
    ]
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X(
            "label:N", sort=shown, title="they say", axis=alt.Axis(labelAngle=0, labelLimit=90)
        ),
        y=alt.Y("truth:N", sort=shown, title="it is", axis=_names()),
        tooltip=["truth:N", "label:N", _share("p", "how often")],
    )
    cells = base.mark_rect().encode(color=alt.Color("p:Q", title=None, scale=WHOLE, legend=None))
    size = min(max(32 * len(shown), 120), 420)
    if len(shown) > 12:
        return alt.layer(cells, height=size)
    numbers = base.mark_text().encode(
        text=alt.Text("p:Q", format=".2f"),
        color=alt.condition("datum.p > 0.45", alt.value("#ffffff"), alt.value(INK)),
    )
    return alt.layer(cells, numbers, height=size)


def drift(found: Drift) -> Chart:
    """How right a worker's votes were, from the oldest to the newest, with the interval."""
    last = np.cumsum(found.n_votes)
    rows: list[dict[str, Any]] = [
        {
            "votes": int(last[k]), "right": float(found.right[k]), "low": float(found.low[k]),
            "high": float(found.high[k]), "n": int(found.n_votes[k]),
        }
        for k in range(len(last))
    ]  # fmt: skip
    base = alt.Chart(alt.Data(values=rows), height=260).encode(
        x=alt.X("votes:Q", title="the worker's votes, oldest first"),
        tooltip=["votes:Q", _share("right"), _share("low"), _share("high"), "n:Q"],
    )
    axis = alt.Axis(format="%")
    band = base.mark_area(opacity=0.25).encode(
        y=alt.Y("low:Q", title="right, by today's labels", scale=WHOLE, axis=axis),
        y2="high:Q",
    )
    return alt.layer(band, base.mark_line(point=True).encode(y="right:Q"))


def over_time(points: Sequence[dict[str, Any]], field: str, title: str) -> Chart:
    """A figure of the project over time: `expected_error` or `cost`."""
    rows: list[dict[str, Any]] = [
        {"at": _time(point["at"]), "value": point[field], "votes": point["n_votes"],
         "answers": point["n_answers"]}
        for point in points
    ]  # fmt: skip
    share = field == "expected_error"
    axis = alt.Axis(format="%" if share else ",.0f")
    base = alt.Chart(alt.Data(values=rows), height=230).encode(
        x=alt.X("at:T", title=None),
        y=alt.Y("value:Q", title=title, axis=axis, scale=alt.Scale(zero=not share)),
        tooltip=[
            alt.Tooltip("at:T", format="%Y-%m-%d %H:%M:%S"),
            alt.Tooltip("value:Q", title=title, format=".2%" if share else ",.0f"),
            "votes:Q", "answers:Q",
        ],
    )  # fmt: skip
    return alt.layer(
        base.mark_line(interpolate="step-after"), base.mark_point(filled=True, size=25)
    )


def by_class(counts: Mapping[str, int]) -> Chart:
    """How many items have each class as their label."""
    largest = sorted(counts, key=lambda name: -counts[name])[:MOST_CLASSES]
    rows: list[dict[str, Any]] = [
        {"class": name, "items": n} for name, n in counts.items() if name in largest
    ]
    room = 1.12 * max(max(counts.values()), 1)  # for the numbers beside the bars
    base = alt.Chart(alt.Data(values=rows)).encode(
        y=alt.Y("class:N", sort=[row["class"] for row in rows], title=None, axis=_names()),
        x=alt.X(
            "items:Q",
            title="items",
            scale=alt.Scale(domainMax=room),
            axis=alt.Axis(format=",.0f", tickMinStep=1),
        ),
        tooltip=["class:N", "items:Q"],
    )
    words = base.mark_text(align="left", dx=4, color=INK).encode(
        text=alt.Text("items:Q", format=",")
    )
    bars = base.mark_bar(cornerRadiusEnd=3)
    return alt.layer(bars, words, height=(BAR + 2) * len(rows) + AXIS)


def errors(rows: Sequence[Compared]) -> Chart:
    """Error of methods against experts' answers with its interval, the best first."""
    values: list[dict[str, Any]] = [
        {"method": row.method, "error": row.error, "low": row.low, "high": row.high}
        for row in sorted(rows, key=lambda row: row.error or 0)
        if row.error is not None
    ]
    base = alt.Chart(alt.Data(values=values)).encode(
        y=alt.Y("method:N", sort=[value["method"] for value in values], title=None, axis=_names()),
        tooltip=["method:N", _share("error"), _share("low"), _share("high")],
    )
    axis = alt.Axis(format="%")
    bars = base.mark_rule(strokeWidth=2, color=INK).encode(
        x=alt.X("low:Q", title="error on answered items, 95 % interval", axis=axis), x2="high:Q"
    )
    points = base.mark_point(filled=True, size=80, opacity=1).encode(x="error:Q")
    return alt.layer(bars, points, height=(BAR + 5) * len(values) + AXIS)


def _names() -> alt.Axis:
    return alt.Axis(
        labelLimit=LONGEST, labelOverlap=False, labelBound=False, labelFlush=False, ticks=False,
        domain=False,
    )  # fmt: skip


def _share(field: str, title: str | None = None) -> alt.Tooltip:
    return alt.Tooltip(f"{field}:Q", format=".1%", title=title or field)


def _time(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, tz=UTC).isoformat()
