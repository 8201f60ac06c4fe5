"""Tables of measured figures, from benchmarks/results; without a file, how to make it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from page_service import crash_table, service_tables

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results"
PEER = "crowdkit."


def accuracy() -> dict[str, Any] | None:
    """What `benchmarks/accuracy.py` wrote, or None."""
    path = RESULTS / "accuracy.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def not_yet(script: str) -> str:
    return f"*Not measured yet. `python -m benchmarks.{script}` makes this table.*"


def means(scores: tuple[str, ...], heads: tuple[str, ...], peers: bool) -> str:
    """Mean of each score over the independent sets, one row a method."""
    found = accuracy()
    if found is None:
        return not_yet("accuracy")
    n_sets = max(of["error"]["sets"] for of in found["summary"].values() if of["error"])
    rows = [f"| method | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for method, of in found["summary"].items():
        if peers or not method.startswith(PEER):
            cells = [mean_cell(of[score], score, n_sets) for score in scores]
            rows.append(f"| `{method}` | {' | '.join(cells)} |")
    return "\n".join(rows) + f"\n\n{where_from(found, n_sets)}"


def mean_cell(of: dict[str, Any] | None, score: str, n_sets: int) -> str:
    """A mean with its spread over seeds; in brackets where some sets are missing."""
    if of is None:
        return "-"
    scale, digits = {"error": (100, 2), "seconds": (1, 2)}.get(score, (1, 3))
    text = f"{scale * of['mean']:.{digits}f}"
    if of["sd"] is not None:
        text += f" ± {scale * of['sd']:.{digits}f}"
    return text if of["sets"] == n_sets else f"({text}; {of['sets']} sets)"


def where_from(found: dict[str, Any], n_sets: int) -> str:
    """Date, machine, versions and seeds of a result, in one paragraph."""
    machine = found["machine"]
    ours = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    peers = ", ".join(f"{name} {version}" for name, version in found["peer_versions"].items())
    beside = f" `{PEER}*` ran with {peers}." if peers else ""
    return (
        f"*Means over {n_sets} independent public sets, {found['date']}; {machine['cores']} cores "
        f"of {machine['cpu']}, {machine['memory_gib']} GiB; {ours}.{beside} Seeds "
        f"{found['seeds']}; ± is the standard deviation over seeds. Every method at its own "
        "defaults; none sees the truth. "
        "In brackets: a mean over fewer sets, not comparable.*"
    )


def calibration_table() -> str:
    """How honest posteriors are: our methods only."""
    heads = ("error %", "log loss", "Brier", "ECE")
    return means(("error", "log_loss", "brier", "ece"), heads, peers=False)


def means_table() -> str:
    """Error, honesty and cost of all methods, the peers' too."""
    heads = ("error %", "log loss", "ECE", "CPU s a set")
    return means(("error", "log_loss", "ece", "seconds"), heads, peers=True)


def best_table() -> str:
    """For every set: the lowest error among our methods, and which have it."""
    found = accuracy()
    if found is None:
        return not_yet("accuracy")
    errors: dict[str, dict[str, list[float]]] = {}
    for row in found["rows"]:
        if row.get("error") is not None and not row["method"].startswith(PEER):
            errors.setdefault(row["set"], {}).setdefault(row["method"], []).append(row["error"])
    rows = ["| set | lowest error % | reached by | majority % |", "|---|---|---|---|"]
    for name, of in errors.items():
        mean = {method: 100 * sum(values) / len(values) for method, values in of.items()}
        low = min(mean.values())
        names = ", ".join(f"`{m}`" for m, value in mean.items() if value <= low + 0.005)
        majority = f"{mean['majority']:.2f}" if "majority" in mean else "-"
        rows.append(f"| {name} | {low:.2f} | {names} | {majority} |")
    return "\n".join(rows)


def included(script: str) -> str:
    """The Markdown that a benchmark wrote, its headings made bold lines."""
    path = RESULTS / f"{script}.md"
    if not path.exists():
        return not_yet(script)
    text = path.read_text(encoding="utf-8").strip()
    text = re.sub(r"\A# .*\n+", "", text)
    return re.sub(r"^#+ (.*)$", r"**\1**", text, flags=re.MULTILINE)


def section(script: str, heading: str) -> str:
    """One `##` section of the Markdown that a benchmark wrote, without its heading."""
    path = RESULTS / f"{script}.md"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    found = re.findall(rf"^## ({re.escape(heading)}.*)\n((?:(?!## ).*\n)*)", text, re.MULTILINE)
    if not found:
        return not_yet(script)
    parts = [
        body.strip() if title == heading else f"**{title}**\n\n{body.strip()}"
        for title, body in found
    ]
    return "\n\n".join(parts)


def pictured(heading: str, curves: str) -> str:
    """A section on model stealing, below its curves where those were drawn."""
    name = f"images/stealing_{curves}.svg"
    if not (Path(__file__).resolve().parent / name).exists():
        return section("stealing", heading)
    what = "Accuracy of copies and agreement with the victim against queries, on a log axis"
    return f"![{what}]({name})\n\n{section('stealing', heading)}"


def bayes_tables() -> str:
    """The texts of the results on honesty and inference, one after the other."""
    names = ("calibration", "bayes", "bayes_sbc", "bayes_coverage")
    return "\n\n".join(included(name) for name in names)


HEAD = ("question", "date", "machine", "load_at_start", "versions", "peer_versions", "seeds")
NAMED_BY = ("votes", "classes", "name", "method")  # what tells entries of a list apart


def benchmarks_table() -> str:
    """Every script that asks a question and writes its answer, with its command."""
    rows = ["| question | command |", "|---|---|"]
    for path in sorted((RESULTS.parent).glob("*.py")):
        source = path.read_text(encoding="utf-8")
        asked, is_question, _ = source.split("\n", 1)[0].removeprefix('"""').partition("?")
        if is_question and f"{path.stem}.json" in source:
            rows.append(f"| {asked}? | `python -m benchmarks.{path.stem}` |")
    return "\n".join(rows)


def speed_tables() -> str:
    """Every result without a text of its own as a table of its numbers, under its question."""
    parts = []
    for path in sorted(RESULTS.glob("*.json")):
        if not path.with_suffix(".md").exists():
            parts.append(measured(json.loads(path.read_text(encoding="utf-8"))))
    return "\n\n".join(parts) or not_yet("speed_sweeps")


def measured(found: dict[str, Any]) -> str:
    """Question, date and machine of a result, and its numbers one a row."""
    machine = found["machine"]
    where = f"{found.get('date', '')}; {machine['cores']} cores of {machine['cpu']}".lstrip("; ")
    rows = [f"**{found['question']}** {where}.", "", "| what | value |", "|---|---|"]
    body = {key: value for key, value in found.items() if key not in HEAD}
    rows += [f"| {' · '.join(path)} | {number(value)} |" for path, value in leaves(body)]
    return "\n".join(rows)


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every number and truth value in a result with its path; raw series are left out."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from leaves(below, (*path, key.replace("_", " ")))
    elif isinstance(value, list):
        for place, below in enumerate(value):
            if isinstance(below, dict):
                names = [f"{key} {number(below[key])}" for key in NAMED_BY if key in below]
                rest = {key: value for key, value in below.items() if key not in NAMED_BY}
                yield from leaves(rest, (*path[:-1], names[0] if names else str(place + 1)))
    elif isinstance(value, int | float):
        yield path, value


def number(value: Any) -> str:
    """A number with three digits that count, or a word."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or (isinstance(value, float) and abs(value) >= 1000):
        return f"{value:,.0f}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


RESULT_BLOCKS: dict[str, Callable[[], str]] = {
    "calibration": calibration_table,
    "means": means_table,
    "best": best_table,
    "benchmarks": benchmarks_table,
    "idbla": lambda: included("idbla"),
    "bayes": bayes_tables,
    "online": lambda: included("online"),
    "acquisition": lambda: included("acquisition"),
    "stopping": lambda: included("stopping"),
    "labelme": lambda: included("learning_labelme"),
    "pipeline": lambda: included("pipeline"),
    "neural": lambda: included("neural_aggregators"),
    "service": service_tables,
    "crash": crash_table,
    "speed": speed_tables,
    "scale": lambda: included("scale"),
    "mavericks": lambda: included("mavericks"),
    "fl speed": lambda: included("fl_speed"),
    "inversion peer": lambda: section("inversion_quality", "Beside breaching"),
    "inversion local steps": lambda: section("inversion_quality", "Local steps"),
    "inversion gap": lambda: section("inversion_quality", "The approximation gap"),
    "inversion defences": lambda: section("inversion_quality", "Defences"),
    "inversion labels": lambda: section("inversion_quality", "Labels"),
    "inversion speed": lambda: included("inversion_speed"),
    "sfddm": lambda: included("sfddm"),
    "gidm known": lambda: section("gidm", "Steps and noise known"),
    "gidm private": lambda: section("gidm", "Steps and noise private"),
    "gidm times": lambda: section("gidm", "Time steps"),
    "gidm defences": lambda: section("gidm", "Defences"),
    "gidm bars": lambda: section("gidm", "Bars"),
    "stealing digits": lambda: pictured("Digits, labels", "digits"),
    "stealing probabilities": lambda: pictured("Digits, probabilities", "digits_probabilities"),
    "stealing fashion": lambda: pictured("Fashion-MNIST, labels", "fashion"),
    "stealing defences": lambda: section("stealing", "Defences of answers"),
    "stealing speed": lambda: section("stealing", "Speed"),
}
