"""The results of `neural_aggregators` as Markdown: one table a part."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.neural_stream import PUBLISHED
from benchmarks.truth_sets import spread

Row = dict[str, Any]


def markdown(result: dict[str, Any]) -> str:
    """All parts that there are."""
    makers = {
        "sets": _sets,
        "stopping": _stopping,
        "encodings": _encodings,
        "stream": _stream,
        "epoch": _epoch,
    }
    head = "# Neural aggregators\n\nMade by `python -m benchmarks.neural_aggregators`, which says "
    head += "what each part is. ± is the standard deviation over seeds.\n"
    found = [head]
    for name, maker in makers.items():
        if name in result:
            part = result[name]
            versions = ", ".join(f"{k} {v}" for k, v in part["versions"].items())
            where = f"*{part['date']}; {part['machine']['cores']} cores of "
            where += f"{part['machine']['cpu']}; {versions}; seeds {part['seeds']}.*\n"
            found += [maker(part["rows"]), where]
    return "\n".join(found)


def _sets(rows: list[Row]) -> str:
    sets, methods = _names(rows, "set"), _names(rows, "method")
    parts = []
    for score, title, scale, digits in (
        ("error", "Error, %", 100, 2),
        ("log_loss", "Log loss, nats", 1, 3),
        ("seconds", "CPU seconds of a fit", 1, 1),
    ):
        cells = [
            [_cell(_of(rows, score, method=m, set=s), scale, digits) for s in sets] for m in methods
        ]
        parts.append(f"## {title}\n\n{_table(['method', *sets], methods, cells)}")
    return "\n".join(parts)


def _stopping(rows: list[Row]) -> str:
    sets, rules = _names(rows, "set"), _names(rows, "rule")
    cells = [
        [
            _cell(_of(rows, score, rule=rule, set=name), scale, digits)
            for name in sets
            for score, scale, digits in (("error", 100, 2), ("log_loss", 1, 3), ("epochs", 1, 0))
        ]
        for rule in rules
    ]
    heads = [f"{s}: {what}" for s in sets for what in ("error %", "log loss", "epochs run")]
    text = "\n\nEpochs run are those of the training that early stopping ends.\n"
    return f"## Early stopping of `consensus`\n\n{_table(['rule', *heads], rules, cells)}{text}"


def _encodings(rows: list[Row]) -> str:
    sets, encodings = _names(rows, "set"), _names(rows, "encoding")
    cells = [
        [_cell(_of(rows, "error", encoding=e, set=s), 100, 2) for s in sets] for e in encodings
    ]
    return f"## First layer, error %\n\n{_table(['encoding', *sets], encodings, cells)}"


def _stream(rows: list[Row]) -> str:
    names = ("majority", "bila", "bila_at_half", "dawid-skene", "bcc")
    cells = [[_cell([r[name] for r in rows], 1, 2), _shown(PUBLISHED.get(name))] for name in names]
    titles = [
        "majority",
        "BiLA on the way",
        "BiLA, after the first half",
        "Dawid-Skene, all votes at once",
        "BCC, all votes at once",
    ]
    seconds = _cell([r["seconds"] for r in rows], 1, 0)
    return (
        "## BiLA's stream, regenerated, error %\n\n"
        + _table(["answers of", "here", "published (other labels)"], titles, cells)
        + f"\n\nA stream of 50,000 items takes {seconds} s on one thread.\n"
    )


def _epoch(rows: list[Row]) -> str:
    titles = [f"{r['device']}, {r['batch_items']} items a step" for r in rows]
    cells = [
        [_cell(r["seconds_an_epoch"], 1, 2), f"{r['peak_mib']:.0f}", f"{r['before_mib']:.0f}"]
        for r in rows
    ]
    heads = ["where", "seconds an epoch", "memory at the peak, MiB", "before the fit, MiB"]
    title = "## An epoch at 10^6 votes, 2,000 workers, 10 classes\n\n"
    return title + _table(heads, titles, cells) + "\n"


def _names(rows: list[Row], key: str) -> list[str]:
    return list(dict.fromkeys(row[key] for row in rows))


def _of(rows: list[Row], score: str, **where: str) -> list[float]:
    chosen = [r for r in rows if all(r[key] == value for key, value in where.items())]
    return [row[score] for row in chosen if row[score] is not None]


def _cell(values: list[float], scale: float, digits: int) -> str:
    if not values:
        return "-"
    of = spread(values)
    text = f"{scale * of['mean']:.{digits}f}"
    return text if of["sd"] is None else f"{text} ± {scale * of['sd']:.{digits}f}"


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _table(heads: list[str], titles: Iterable[str], cells: list[list[str]]) -> str:
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    lines += [f"| {title} | {' | '.join(row)} |" for title, row in zip(titles, cells, strict=True)]
    return "\n".join(lines) + "\n"
