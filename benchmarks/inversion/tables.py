"""The text of `inversion_quality.md`: a heading a part, read from the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.inversion import defences, fedavg, gap, labels, peer

Lines = list[str]


def markdown(result: dict[str, Any]) -> str:
    """All parts that were measured."""
    lines = [f"# {result['question']}\n"]
    for name, (title, write) in PARTS.items():
        for key, part in result["parts"].items():
            kind, _, more = key.partition(": ")
            if kind == name:
                head = f"{title}, {more}" if more else title
                lines += [f"\n## {head}\n", where(part), ""]
                lines += write(part["found"], part["options"])
    return "\n".join(lines) + "\n"


def where(part: dict[str, Any]) -> str:
    """Date, machine and seeds, in one line."""
    machine, options = part["machine"], part["options"]
    device = "" if options["device"] == "cpu" else f", on {part['device']}"
    return (
        f"*{part['date']}; {machine['cores']} cores of {machine['cpu']}{device}; torch"
        f" {part['versions']['torch']}; client i has seed i.*"
    )


def peer_table(found: dict[str, Any], options: dict[str, Any]) -> Lines:
    """Median and quartiles of PSNR by whom."""
    whose = [peer.THEIRS, peer.OURS, peer.NO_TV]
    lines = [
        "| net | attack | batch | iterations | images | breaching | fedsec |"
        " fedsec, no total variation | CPU s, breaching / fedsec | at least theirs |",
        "|---" * 10 + "|",
    ]
    for row in found["table"]:
        ours, theirs = row[peer.OURS], row.get(peer.THEIRS)
        cells = [_quartiles(row.get(by)) for by in whose]
        if theirs is None:
            before = row["measured before"]
            cells[0] = "-" if before is None else f"({before}, measured before)"
        seconds = "-" if theirs is None else f"{theirs['seconds']:.1f}"
        passed = row.get("at least theirs")
        lines.append(
            f"| {row['net']} | {row['attack']} | {row['batch']} | {row['iterations']} |"
            f" {ours['images']} | {' | '.join(cells)} | {seconds} / {ours['seconds']:.1f} |"
            f" {'-' if passed is None else _yes(passed)} |"
        )
    versions = ", ".join(f"{name} {of}" for name, of in found["peer versions"].items())
    return [*lines, "", "Median PSNR in dB over images, quartiles in brackets; the same gradients,"
            " starts, iterations and total variation."
            + (f" Theirs: {versions}." if versions else "")]  # fmt: skip


def fedavg_tables(found: dict[str, Any], options: dict[str, Any]) -> Lines:
    """PSNR, SSIM and seconds by net; then the claims."""
    lines: Lines = []
    table = found["table"]
    for net in dict.fromkeys(row["net"] for row in table):
        mine = [row for row in table if row["net"] == net]
        places = list(dict.fromkeys((r["lr"], r["steps"], r["batch"]) for r in mine))
        heads = [f"{n} x {b}{'' if lr == fedavg.LR else f', rate {lr:g}'}" for lr, n, b in places]
        sizes = [next(r for r in mine if (r["lr"], r["steps"], r["batch"]) == p) for p in places]
        for what, digits, unit in (("psnr", 1, "PSNR, dB"), ("ssim", 2, "SSIM"),
                                   ("seconds", 1, "seconds a client")):  # fmt: skip
            lines += [
                f"\n**{net}: {unit}, by steps x batch**\n",
                "| attack | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|",
            ]  # fmt: skip
            for attack in dict.fromkeys(row["attack"] for row in mine):
                cells = [_with_sd(_at(mine, place, attack), what, digits) for place in places]
                if any(cell != "-" for cell in cells):
                    lines.append(f"| {attack} | " + " | ".join(cells) + " |")
            if what == "psnr":
                n = [f"{row['clients']} / {row['images']}" for row in sizes]
                lines.append("| *clients / images* | " + " | ".join(n) + " |")
    lines += ["\n**What AGIC claims, cell by cell** (all of it: layer weights, two rounds)\n",
              "| net | rate | steps x batch | PSNR over DLG | over inverting-gradients | over"
              " simulation | layer weights, dB | second round, dB | times faster than simulation,"
              " one round / two |", "|---" * 9 + "|"]  # fmt: skip
    for row in found["claims"]:
        gained = row["PSNR gained on, %"]
        lines.append(
            f"| {row['net']} | {row['lr']:g} | {row['steps']} x {row['batch']} |"
            f" {gained['dlg']:+.0f} % | {gained[fedavg.ONE_GRADIENT]:+.0f} % |"
            f" {gained[fedavg.UNKNOWN_ORDER]:+.0f} % | {row['gained by layer weights, dB']:+.1f} |"
            f" {row['gained by a second round, dB']:+.1f} |"
            f" {row['times faster than simulation, one round']:.1f} /"
            f" {row['times faster than simulation, two rounds']:.1f} |"
        )
    return [
        *lines, "",
        f"{options['data']}, {options['iterations']} iterations, rate {fedavg.LR:g} where no other"
        " is named. Mean over the images of all clients ± standard deviation, images matched within"
        " each client. `inverting-gradients` is AGIC without layer weights and of one round.",
    ]  # fmt: skip


def gap_table(found: dict[str, Any], options: dict[str, Any]) -> Lines:
    """The slopes."""
    slopes = found["slopes"]
    lines = ["| local steps | slope of log gap on log (rate x steps) |", "|---|---|"]
    lines += [f"| {steps} | {slope:.2f} |" for steps, slope in slopes.items()]
    apart = found["one step, objectives apart by at most"]
    return [*lines, "", f"{found['clients']} clients, rate times steps up to {gap.SMALL:g}. With"
            " one step the objectives of AGIC, the simulation and the cosine differ by at most"
            f" {apart:.0e}."]  # fmt: skip


def defence_tables(found: dict[str, Any], options: dict[str, Any]) -> Lines:
    """A table a defence."""
    plain, costs = found[defences.NONE], found["accuracy without"]
    lines = [
        f"Without a defence: {plain['psnr']:.1f} dB on the mean ({plain['attack']}),"
        f" {plain['reidentified']:.0%} re-identified; the best guess without an update"
        f" {found['best guess']:.1f} dB. Accuracy {_accuracy(costs['usual'])} by local training,"
        f" {_accuracy(costs['one gradient'])} by one gradient a round.",
        "",
        "| defence | strength | PSNR, dB | re-identified | knows the defence: PSNR, dB |"
        " re-identified | accuracy |",
        "|---" * 7 + "|",
    ]
    for name, of in found["defences"].items():
        title = defences.MAPS[name].title if name in defences.MAPS else name
        for point in of["points"]:
            knowing = point["knowing"]
            lines.append(
                f"| {title} | {point['at']:g} | {_leak(point['blind'])} |"
                f" {point['blind']['reidentified']:.0%} |"
                f" {'-' if knowing is None else _leak(knowing)} |"
                f" {'-' if knowing is None else format(knowing['reidentified'], '.0%')} |"
                f" {_accuracy(point['accuracy'])} |"
            )
    rises = [(name, of["largest rise, dB"]) for name, of in found["defences"].items()]
    rising = [f"{name} ({rise:.1f} dB)" for name, rise in rises if rise > 0]
    weaker = [name for name, of in found["defences"].items() if not of["knowing at least blind"]]
    return [
        *lines, "",
        "Mean PSNR falls with every step of strength"
        + (f", but for {', '.join(rising)}." if rising else "."),
        "The attacker who knows the defence gets at least as much as the one who does not"
        + (f", but for {', '.join(weaker)}." if weaker else "."),
    ]  # fmt: skip


def label_table(found: dict[str, Any], options: dict[str, Any]) -> Lines:
    """Rates by network and batch."""
    kinds = list(labels.BATCHES)
    lines = ["| data | net | state | " + " | ".join(kinds) + " |", "|---" * (3 + len(kinds)) + "|"]
    rows = found["table"]
    for data, net, state in dict.fromkeys((r["data"], r["net"], r["state"]) for r in rows):
        of = {
            r["batch"]: r for r in rows if (r["data"], r["net"], r["state"]) == (data, net, state)
        }
        cells = [f"{of[kind]['labels']:.1%}" for kind in kinds]
        lines.append(f"| {data} | {net} | {state} | " + " | ".join(cells) + " |")
    lowest = found["lowest of untrained networks"]
    said = ", ".join(f"batch {kind}: {value:.1%}" for kind, value in lowest.items())
    return [
        *lines, "",
        f"Share of labels that are right, over {rows[0]['draws']} batches. Lowest of untrained"
        f" networks: {said}.",
    ]  # fmt: skip


def _at(rows: Sequence[dict[str, Any]], place: tuple[Any, ...], attack: str) -> dict[str, Any]:
    return next(
        row for row in rows
        if (row["lr"], row["steps"], row["batch"]) == place and row["attack"] == attack
    )  # fmt: skip


def _with_sd(row: dict[str, Any], what: str, digits: int) -> str:
    if what not in row:
        return "-"
    spread = row.get(f"{what} sd")
    return f"{row[what]:.{digits}f}" + ("" if spread is None else f" ± {spread:.{digits}f}")


def _quartiles(of: dict[str, Any] | None) -> str:
    if of is None:
        return "-"
    low, high = of["quartiles"]
    return f"{of['median']:.1f} ({low:.1f} to {high:.1f})"


def _leak(of: dict[str, Any]) -> str:
    return f"{of['psnr']:.1f} ± {of['sd']:.1f} ({of['attack']})"


def _accuracy(of: dict[str, float] | None) -> str:
    return "-" if of is None else f"{of['mean']:.1%} ± {100 * of['sd']:.1f}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


PARTS: dict[str, tuple[str, Callable[[dict[str, Any], dict[str, Any]], Lines]]] = {
    "peer": ("Beside breaching", peer_table),
    "fedavg": ("Local steps", fedavg_tables),
    "gap": ("The approximation gap", gap_table),
    "defences": ("Defences", defence_tables),
    "labels": ("Labels", label_table),
}
