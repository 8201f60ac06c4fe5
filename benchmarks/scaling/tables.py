"""The text of `scale.md`: a heading a part, read from the result."""

from __future__ import annotations

from typing import Any

Lines = list[str]
Found = dict[str, Any]
CODERS = {"cpu": "one process", "ray": "Ray, two cores"}
HOMES = {"none": "undisturbed", "actor": "an actor, mid-sweep", "driver": "the driver, mid-fit"}


def markdown(result: Found) -> str:
    """All parts that were measured."""
    lines = [f"# {result['question']}\n"]
    for name, (title, write) in WRITERS.items():
        part = result["parts"].get(name)
        if part is not None:
            lines += [f"\n## {title}\n", where(part), "", *write(part["found"])]
        if name == "disk":
            lines += beside_memory(result["parts"])
    return "\n".join(lines) + "\n"


def beside_memory(parts: Found) -> Lines:
    """What a vote costs from disk, beside the largest fit in memory of as many workers."""
    if not {"disk", "sweeps"} <= set(parts):
        return []
    [row] = parts["disk"]["found"]["table"]
    same = [one for one in parts["sweeps"]["found"]["table"] if one["workers"] == row["workers"]]
    most = max(same, key=lambda one: int(one["votes"]))
    ratio = row["a sweep"] / row["votes"] / (most["memory"] / most["votes"])
    return ["", f"A vote takes {ratio:.2f} times as long as in memory ({most['votes']:,} votes)."]


def where(part: Found) -> str:
    """Date, machine and versions, in one line."""
    machine, versions = part["machine"], part["versions"]
    return (
        f"*{part['date']}; {machine['cores']} cores of {machine['cpu']},"
        f" {machine['memory_gib']} GiB, load {part['load_at_start']} at the start; Ray"
        f" {versions['ray']}, NumPy {versions['numpy']}, numba {versions['numba']}.*"
    )


def equal_lines(found: Found) -> Lines:
    """Differences by the number of actors."""
    first = found["table"][0]
    counts = list(max((row["difference"] for row in found["table"]), key=len))
    lines = [
        f"{first['votes']:,} votes, {first['classes']} classes ({found['set']}),"
        f" {found['sweeps']} sweeps; samplers, every draw that is kept.",
        "",
        f"| method | against | {' | '.join(f'actors: {n}' for n in counts)} |",
        "|---" * (len(counts) + 2) + "|",
    ]
    for row in found["table"]:
        of = row["difference"]
        cells = " | ".join(f"{of[n]:.1e}" if n in of else "-" for n in counts)
        lines.append(f"| `{row['method']}` | {row['against']} | {cells} |")
    return [*lines, "", f"The largest difference is {found['largest']:.1e}; the bar is 1e-6."]


def coding_lines(found: Found) -> Lines:
    """Rows a second."""
    lines = [
        "| votes | where | seconds | rows a second | peak of the caller, MiB | bytes a vote |",
        "|---" * 6 + "|",
    ]
    for row in found["table"]:
        lines.append(
            f"| {row['votes']:,} | {CODERS[row['device']]} | {row['seconds']:.1f} |"
            f" {row['rows a second']:,.0f} |"
            f" {row['peak']:,.0f} | {row['bytes a vote']:.1f} |"
        )
    return [*lines, "", "Parquet parts of up to five million votes, integer names."]


def sweep_lines(found: Found) -> Lines:
    """Two homes by size, then memory."""
    lines = [
        "| votes | workers | in memory, s a sweep | 2 actors, s a sweep | ratio |"
        " actors, s for 10^6 votes | beside the largest | beside the line |",
        "|---" * 8 + "|",
    ]
    for row in found["table"]:
        lines.append(
            f"| {row['votes']:,} | {row['workers']:,} | {row['memory']:.4f} | {row['ray']:.4f} |"
            f" {row['ratio']:.2f} | {row['a million']:.4f} | {row['beside linear']:.2f} |"
            f" {row['beside the line']:.2f} |"
        )
    line = found["line"]
    lines += [
        "",
        f"Medians of {found['table'][0]['sweeps']} sweeps. *The line* goes through the smallest and"
        f" the largest of the first crowd: {1000 * line['seconds']:.1f} ms a sweep and"
        f" {line['seconds a million votes']:.4f} s for 10^6 votes. Bars: ratio 1.3, growth 20 %.",
        "",
        "| votes | workers | an actor holds: votes | posterior | tables, MiB | private at most |"
        " resident at most | driver, private |",
        "|---" * 8 + "|",
    ]
    for row in found["table"]:
        held = row["holds"]
        lines.append(
            f"| {row['votes']:,} | {row['workers']:,} | {held['votes']:,.0f} |"
            f" {held['posterior']:,.0f} | {held['tables']:,.0f} | {mib(row['private'])} |"
            f" {mib(row['peak'])} | {mib(row['driver'])} |"
        )
    return [*lines, "", "At most: at any time of the fit, its start included; MiB."]


def disk_lines(found: Found) -> Lines:
    """What it took."""
    lines = [
        "| votes | memory given | peak, MiB | bar | coded, MiB on disk | s a sweep |"
        " s for 10^6 votes | until the first sweep, s |",
        "|---" * 8 + "|",
    ]
    for row in found["table"]:
        lines.append(
            f"| {row['votes']:,} | {row['memory'] / 1e9:g} GB | {row['peak']:,.0f} |"
            f" {found['bar']:,.0f} | {row['disk']:,.0f} | {row['a sweep']:.1f} |"
            f" {row['a sweep'] / row['votes'] * 1e6:.4f} | {row['until first sweep']:.1f} |"
        )
    return [*lines, "", f"Median after the first of {found['table'][0]['sweeps']} sweeps."]


def kill_lines(found: Found) -> Lines:
    """Seconds lost."""
    lines = []
    for row in found["table"]:
        lines += [
            f"{row['votes']:,} votes, {row['sweeps']} sweeps of {row['a sweep']:.2f} s, a note"
            f" every {row['note_seconds']:g} s.",
            "",
            "| killed | after sweep | seconds in all | lost | largest difference |"
            " left behind for 20 s |",
            "|---" * 6 + "|",
        ]
        for name, run in row["runs"].items():
            left = ", ".join(run.get("processes left", []))
            lines.append(
                f"| {HOMES[name]} | {run.get('killed after sweep', '')} | {run['seconds']:.1f} |"
                f" {run['lost']:.1f} | {run['difference']:.1e} | {left} |"
            )
    return lines


def worker_lines(found: Found) -> Lines:
    """What each process took."""
    lines = [
        "| method | workers | s a sweep | process | resident at most, MiB | private at most, MiB |",
        "|---" * 6 + "|",
    ]
    for row in found["table"]:
        for name in ("driver", "actors", "idle"):
            for one in row[name]:
                what = {"idle": "another worker of Ray", "actors": "actor"}.get(name, name)
                lines.append(
                    f"| `{row['method']}` | {row['workers']:,} | {row['a sweep']:.2f} | {what} |"
                    f" {one['peak']:,.0f} | {one['private']:,.0f} |"
                )
    return [*lines, "", f"The bar is {found['bar']:,.0f} MiB for each."]


def network_lines(found: Found) -> Lines:
    """Measured beside predicted, then the terms."""
    rows = [row for row in found["table"] if "skipped" not in row]
    lines = [f"Skipped: {row['skipped']}." for row in found["table"] if "skipped" in row]
    if not rows:
        return lines
    terms = list(rows[0]["predicted"])[:-1]
    lines += [
        "| workers | table, MB | counts, MB | measured, s a sweep | predicted | ratio |"
        f" {' | '.join(terms)} | on the wire, MB a sweep |",
        "|---" * (len(terms) + 7) + "|",
    ]
    for row in rows:
        cells = " | ".join(f"{row['predicted'][name]:.2f}" for name in terms)
        lines.append(
            f"| {row['workers']:,} | {row['down'] / 1e6:.1f} | {row['up'] / 1e6:.1f} |"
            f" {row['measured']:.2f} | {row['predicted']['sum']:.2f} | {row['ratio']:.2f} |"
            f" {cells} | {row['megabytes a sweep']:.1f} |"
        )
    probe = rows[-1]["probe"]
    return [
        *lines, "",
        f"Delay {1000 * rows[0]['delay']:.0f} ms each way, {rows[0]['rate'] / 1e6:.0f} Mbit/s."
        f" Plain TCP on this wire: {1000 * probe['round trip']:.0f} ms a round trip,"
        f" {probe['bits a second'] / 1e6:.0f} Mbit/s. The bar is a ratio of 0.7 to 1.3.",
    ]  # fmt: skip


def mib(value: float | None) -> str:
    """A number of MiB, or nothing."""
    return "-" if value is None else f"{value:,.0f}"


WRITERS: dict[str, tuple[str, Any]] = {
    "equal": ("The same answer", equal_lines),
    "coding": ("Coding", coding_lines),
    "sweeps": ("Sweeps and growth", sweep_lines),
    "disk": ("Out of core", disk_lines),
    "kills": ("Kills", kill_lines),
    "workers": ("Many workers", worker_lines),
    "network": ("A slow network", network_lines),
}
