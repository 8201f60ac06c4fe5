"""The report as one HTML file: nothing is fetched, and whatever came from outside is escaped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from fedsec.inversion.audit.figures import drawing
from fedsec.inversion.audit.pictures import MOST, rows_of
from fedsec.inversion.audit.record import About, to_record
from fedsec.inversion.audit.run import Audit
from fedsec.inversion.audit.threats import IN_WORDS
from fedsec.inversion.audit.verdict import EXPOSED, PARTLY

HTML, JSON = "audit.html", "audit.json"
WAYS = {"done": "", "time": "by time", "interrupted": "interrupted", "diverged": "diverged"}
VARIED = ("steps", "batches")  # curves that are no defence


def write_audit(audit: Audit, folder: Path, about: About) -> None:
    """audit.html and audit.json in a folder that exists."""
    record = to_record(audit, about)
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / JSON).write_text(f"{text}\n", encoding="utf-8")
    (folder / HTML).write_text(render(audit, record), encoding="utf-8")


def render(audit: Audit, record: Mapping[str, Any]) -> str:
    """The page of an audit, given its record; pictures come from the audit itself."""
    pages = Environment(
        loader=PackageLoader("fedsec"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {
        "db": db,
        "share": share,
        "number": number,
        "significant": significant,
        "spread": spread,
    }
    curves = [
        {**one, "drawing": drawing(one) if one["points"] else None} for one in record["curves"]
    ]
    return pages.get_template("audit.html").render(
        record=record,
        headline=headline(record),
        figures=key_figures(record),
        pictures={one["name"]: rows_of(audit, one["name"]) for one in record["threats"]},
        most=MOST,
        ways=WAYS,
        defences=[one for one in curves if one["name"] not in VARIED],
        varied=[one for one in curves if one["name"] in VARIED],
    )


def headline(record: Mapping[str, Any]) -> str:
    """The worst of the verdicts, in one sentence."""
    levels = {one["title"]: one["verdict"]["level"] for one in record["threats"]}
    worst = next(
        (level for level in (EXPOSED, PARTLY) if level in levels.values()), None
    )  # fmt: skip
    if worst is None:
        return (
            "The client's images are not known, so the pictures below are not scored."
            if not record["client"]["truth"]
            else "None of the attacks that were run rebuilt an image. That is no proof of safety."
        )
    where = next(one for one in record["threats"] if one["verdict"]["level"] == worst)
    n_hit, n = where["verdict"]["exposed"], where["verdict"]["n"]
    who = "An honest but curious server can rebuild" if not where["knows"] else (
        f"A server that knows {_listed(_in_words(where['knows']))} can rebuild"
    )  # fmt: skip
    return f"{who} {n_hit} of {n} images from what this client sent."


def key_figures(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(value, meaning) of what a reader wants first."""
    ran = [one for one in record["findings"] if one.get("measures")]
    client = record["client"]
    found = [
        (f"{client['images']:,}", "images of the client"),
        (f"{record['model']['parameters']:,}", "parameters"),
    ]
    if ran:
        medians = [one["measures"]["psnr_median"] or 0.0 for one in ran]
        hits = [one["measures"]["share_reidentified"] or 0.0 for one in ran]
        guess = max(one["psnr_median"] for one in record["guesses"].values())
        found += [
            (share(max(hits)), "re-identified, at most"),
            (f"{max(medians):.1f} dB", "best median PSNR"),
            (f"{guess:.1f} dB", "without an update"),
        ]
    n_used = len([one for one in record["findings"] if one["why_not"] is None])
    return [*found, (f"{n_used}", "attacks run")]


def db(value: float | int | None) -> str:
    """Decibels."""
    return "–" if value is None else f"{value:.1f}"


def share(value: float | int | None) -> str:
    """A share in per cent."""
    return "–" if value is None else f"{value:.0%}"


def number(value: float | int | None, digits: int = 3) -> str:
    """A number for a cell."""
    return "–" if value is None else f"{value + 0.0:,.{digits}f}".replace("-0.00", "0.00")


def significant(value: float | int | None) -> str:
    """Three digits of a number of any size."""
    return "–" if value is None else f"{value:.3g}"


def spread(values: list[float] | None) -> str:
    """Mean of accuracies over trainings, and their range where they differ."""
    if not values:
        return "–"
    mean = sum(values) / len(values)
    if max(values) - min(values) < 5e-4:
        return f"{mean:.1%}"
    return f"{mean:.1%} ({min(values):.1%} to {max(values):.1%})"


def _in_words(names: list[str]) -> list[str]:
    return [name if name == "labels" else IN_WORDS.get(name, name) for name in names]


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
