"""The text of `stealing.md`: a heading a part, read from the result."""

from __future__ import annotations

from typing import Any

from benchmarks.stealing_parts import answers, copies

Lines = list[str]
SHOWN = (0.1, 0.2, 0.3)  # eps in the table of transfer
TITLES = {
    "digits": "Digits, labels",
    "digits-probabilities": "Digits, probabilities",
    "fashion": "Fashion-MNIST, labels",
    "defences": "Defences of answers",
    "speed": "Speed",
}
RIVALS = ("noise", "dast", "dfme", "maze", "zsdb3kd", "knockoff")


def markdown(result: dict[str, Any]) -> str:
    """All parts that were measured."""
    lines = [f"# {result['question']}\n"]
    for name, title in TITLES.items():
        part = result["parts"].get(name)
        if part is not None:
            lines += [f"\n## {title}\n", where(part), ""]
            lines += WRITERS[name](part["found"])
    return "\n".join(lines) + "\n"


def where(part: dict[str, Any]) -> str:
    """Date, machine and versions, in one line."""
    machine = part["machine"]
    device = "" if part["device"] == "cpu" else f", on {part['device']}"
    return (
        f"*{part['date']}; {machine['cores']} cores of {machine['cpu']}{device}; torch"
        f" {part['versions']['torch']}.*"
    )


def copy_lines(found: dict[str, Any]) -> Lines:
    """Copies, then transfer, then what that says of the claims."""
    counts = ", ".join(f"{n:,}" for n in found["queries asked"])
    what = "labels" if found["mode"] == "labels" else "probabilities"
    return [
        f"{found['budget']:,} {what} a method, each learnt {found['passes']} times; one victim a"
        f" seed, {found['seeds']} seeds: {percent(found['victim'])} % of test images right. Median,"
        " the worst seed in brackets. Queries that were asked: " + counts + ".",
        "",
        "| method | copy right % | agrees with the victim % | last right % | best right %,"
        " chosen on test images | best − last | effective classes at the end | queries | steps |"
        " seconds |",
        "|---" * 10 + "|",
        *map(_copy_row, found["table"]),
        "",
        "*Copy* is the one that an attacker would keep, by answers put aside. *Best* chooses on"
        " test images, which no attacker has.",
        "",
        *transfer_lines(found["table"]),
        "",
        *claim_lines(found["ahead"]),
    ]


def _copy_row(row: dict[str, Any]) -> str:
    name, right, agrees = row["method"], percent(row["accuracy"]), percent(row["agreement"])
    if "last" not in row:
        return f"| {name} | {right} | {agrees} | - | - | - | - | - | - | - |"
    classes = "-" if row["classes"] is None else f"{row['classes']:.1f}"
    return (
        f"| {name} | {right} | {agrees} | {percent(row['last'])} | {percent(row['best'])} |"
        f" {100 * row['gap']:.1f} | {classes} | {row['queries']:,.0f} | {row['steps']:,.0f} |"
        f" {row['seconds']:.0f} |"
    )


def transfer_lines(table: list[dict[str, Any]]) -> Lines:
    """Success of adversarial examples, a column an attack and eps."""
    places = [copies.EPSILONS.index(eps) for eps in SHOWN]
    heads = [
        head for name in copies.ATTACKS
        for head in (*(f"{name} {eps:g}" for eps in SHOWN), f"{name}, published")
    ]  # fmt: skip
    lines = ["| made on the copy of | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for row in table:
        cells = [
            percent(one)
            for of in row["transfer"].values()
            for one in (*(of["eps"][place] for place in places), of["published"])
        ]
        lines.append(f"| {row['method']} | {' | '.join(cells)} |")
    return [
        *lines, "",
        "Share of test images, of those that the victim has right, whose label changes, %; by eps."
        " *Published*: FGSM 0.26, BIM and PGD 0.25 in 5 steps of 0.02, of which BIM moves a pixel"
        f" by 0.1 at most. *{copies.REAL}*: another network, trained on the victim's own images.",
    ]  # fmt: skip


def claim_lines(ahead: dict[str, Any]) -> Lines:
    """Where MEGA is ahead of which method, paired by seed."""
    lines = ["| ahead of | " + " | ".join(
        f"{ours}, {what}" for ours in ahead for what in ("right", "BIM 0.2")
    ) + " |", "|---" * (2 * len(ahead) + 1) + "|"]  # fmt: skip
    for other in RIVALS:
        if not any(other in of for of in ahead.values()):
            continue
        cells = [
            points(of[other][what]) if other in of else "-"
            for of in ahead.values()
            for what in ("accuracy", "transfer")
        ]
        lines.append(f"| {other} | {' | '.join(cells)} |")
    least = {
        name: [other for other in RIVALS if other in of and of[other]["accuracy"]["worst"] > 0]
        for name, of in ahead.items()
    }
    said = "; ".join(
        f"{name}: {', '.join(others) if others else 'none'}" for name, others in least.items()
    )
    most, transfer = (
        max(of[other][what]["median"] for of in (ahead["mega"], ahead["mega+"])
            for other in RIVALS if other in of)
        for what in ("accuracy", "transfer")
    )  # fmt: skip
    return [
        *lines, "",
        "Points by which the method in the column is ahead of that in the row, paired by seed:"
        f" median, the worst seed in brackets. Right more often in every seed than: {said}. The"
        " paper claims up to 33 points of accuracy and 40 of success; the most that MEGA, in either"
        f" form, is ahead here is {100 * most:.0f} and {100 * transfer:.0f}.",
    ]  # fmt: skip


def defence_lines(found: dict[str, Any]) -> Lines:
    """Copies through defences, then the detector."""
    lines = [
        f"{found['budget']:,} queries, digits, {found['seeds']} seeds; medians, and the copy of the"
        " best seed.",
        "",
        "| answers | defence | method | victim's answers right % | copy right % | best seed % |"
        " agrees % |",
        "|---" * 7 + "|",
    ]
    for row in found["table"]:
        strength = {
            answers.FLIPS: f"{row['at']:.0%} of labels flipped",
            answers.ROUNDED: f"{row['at']:.0f} decimals",
        }.get(row["defence"], row["defence"])
        none = not row["defence"] or (row["defence"] == answers.FLIPS and not row["at"])
        lines.append(
            f"| {row['mode']} | {'none' if none else strength} | {row['method']} |"
            f" {100 * row['own']:.1f} | {100 * row['accuracy']:.1f} | {100 * row['highest']:.1f} |"
            f" {100 * row['agreement']:.1f} |"
        )
    lines += [
        "",
        "| PRADA's test of | score, W | alarm below 0.95 after, by seed |",
        "|---|---|---|",
    ]
    for row in found["detector"]:
        rang = ["never" if one is None else f"{one:,}" for one in row["alarms"]]
        lines.append(f"| {row['who']} | {row['score']:.3f} | {', '.join(rang)} |")
    return [*lines, "", "*customer* asks about the victim's own training images."]


def speed_lines(found: dict[str, Any]) -> Lines:
    """Ours beside the plain loop."""
    lines = [
        "| method | queries a second, fedsec | plain loop | seconds an iteration, fedsec |"
        " plain loop | speed, fedsec over plain |",
        "|---" * 6 + "|",
    ]
    for row in found["table"]:
        lines.append(
            f"| {row['method']} | {row['ours, queries a second']:,.0f} |"
            f" {row['plain, queries a second']:,.0f} | {row['ours, seconds an iteration']:.3f} |"
            f" {row['plain, seconds an iteration']:.3f} | {row['ratio']:.2f} |"
        )
    turns = found["table"][0]["turns"]
    return [*lines, "", f"Medians of {turns} turns, ours and plain one after the other."]


def percent(one: dict[str, float]) -> str:
    """Median and the worst seed, in percent."""
    return f"{100 * one['median']:.1f} ({100 * one['worst']:.1f})"


def points(one: dict[str, float]) -> str:
    """The same of a difference."""
    return f"{100 * one['median']:+.1f} ({100 * one['worst']:+.1f})"


WRITERS = {
    "digits": copy_lines,
    "digits-probabilities": copy_lines,
    "fashion": copy_lines,
    "defences": defence_lines,
    "speed": speed_lines,
}
