"""The text of `sfddm.md`: a heading a size, read from the result."""

from __future__ import annotations

from typing import Any

from benchmarks.diffusion.students import LEADING, METHODS, RANDOM, SCRATCH, WARM

Lines = list[str]


def markdown(result: dict[str, Any]) -> str:
    """All sizes that were measured, each with the parts that were."""
    lines = [f"# {result['question']}\n"]
    for name, of in result["sizes"].items():
        lines += [f"\n## {name}\n", where(of), ""]
        lines += teacher_lines(of) if "teacher" in of else []
        for part, write in (("students", student_table), ("folds", fold_table),
                            ("speed", speed_lines)):  # fmt: skip
            if part in of:
                lines += ["", *write(of[part], of)]
    return "\n".join(lines) + "\n"


def where(of: dict[str, Any]) -> str:
    """Date, machine, settings and seeds, in one paragraph."""
    machine, said = of["machine"], of["options"]
    device = "" if of["device"] == "cpu" else f", on {of['device']}"
    return (
        f"*{of['date']}; {machine['cores']} cores of {machine['cpu']}{device}; torch"
        f" {of['versions']['torch']}; {said['data']}, {said['steps']} steps of {said['schedule']}"
        f" noise, objective {said['objective']}; the teacher trained for {said['teacher steps']:,}"
        f" steps of {said['batch']}, each student for {said['train steps']:,}, Adam {said['lr']:g}"
        f" falling to 0; {said['samples']} images a model; mean ± standard deviation over"
        f" {len(of['seeds'])} seeds.*"
    )


def teacher_lines(of: dict[str, Any]) -> Lines:
    """What the numbers lie between."""
    found = of["teacher"]
    return [
        f"The teacher in {of['options']['full']} steps: fcd {both(found['fcd'], 1)}; floor (halves"
        f" of {found['real']} test images) {both(found['floor'], 1)}, ceiling (noise)"
        f" {found['ceiling']['mean']:.0f}; precision {both(found['precision'], 2)}, recall"
        f" {both(found['recall'], 2)}; {number(found['seconds per 1000']['mean'])} s per 1,000"
        f" images. {found['parameters']:,} parameters. fcd by {found['features']}."
    ]


def student_table(found: dict[str, Any], of: dict[str, Any]) -> Lines:
    """A block of rows for each number of steps, and the claims."""
    lines = [
        f"| steps | method | fcd | MSE to the teacher's {of['options']['full']} steps, same noise |"
        " MSE to its DDIM on the same steps | s per 1,000 images | training, s |",
        "|---" * 7 + "|",
    ]
    order = {method: place for place, method in enumerate(METHODS)}
    for row in sorted(found["table"], key=lambda row: (-row["steps"], order[row["method"]])):
        training = row["training seconds"]["mean"]
        lines.append(
            f"| {row['steps']} | {row['method']} | {both(row['fcd'], 1)} |"
            f" {both(row['mse full'], 4)} | {both(row['mse same'], 4)} |"
            f" {number(row['seconds per 1000']['mean'])} |"
            f" {'-' if 'DDIM' in row['method'] else number(training)} |"
        )
    lines += [
        "",
        f"SFDDM and training from scratch take the leading steps, so their row to compare with is"
        f" *{LEADING}*; progressive and consistency students end at the last step, with the"
        " trailing ones. Consistency models draw noise between steps, so the same noise at the"
        " beginning is not the same image.",
        "",
    ]
    return [*lines, *claim_lines(found["claims"])]


def claim_lines(claims: list[dict[str, Any]]) -> Lines:
    """Where SFDDM is, against its limit and against no teacher."""
    lines = [
        "| steps | SFDDM | fcd over that of the teacher's DDIM | MSE to that DDIM, over the one of"
        f" training {SCRATCH} |",
        "|---" * 4 + "|",
    ]
    for claim in sorted(claims, key=lambda one: -one["steps"]):
        for method in (RANDOM, WARM):
            one = claim[method]
            over_floor = one["fcd over the teacher's DDIM"]
            lines.append(
                f"| {claim['steps']} | {method.removeprefix('SFDDM, ')} |"
                f" {over_floor:.2f} |"
                f" {one['MSE over that from scratch']:.2f} |"
            )
    return lines


def fold_table(found: dict[str, Any], of: dict[str, Any]) -> Lines:
    """fcd by budget, and the cost of an equal one."""
    budgets = [point["steps"] for point in next(iter(found["points"].values()))]
    lines = [
        f"One fold against halvings, to {found['to']} steps: fcd (and seconds) after so many steps"
        " of training in all.",
        "",
        "| way | " + " | ".join(f"{n:,}" for n in budgets) + " |",
        "|---" * (len(budgets) + 1) + "|",
    ]
    for way, points in found["points"].items():
        cells = [f"{both(p['fcd'], 1)} ({number(p['seconds']['mean'])} s)" for p in points]
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    lines.append("")
    for way, equal in found["equal"].items():
        costs = "; ".join(
            f"{name}: {cost['steps']:,} steps, {number(cost['seconds'])} s"
            for name, cost in equal["costs"].items()
        )
        lines.append(f"To an fcd of {equal['fcd']:.1f} ({way}, or by halvings): {costs}.\n")
    return lines


def speed_lines(found: dict[str, Any], of: dict[str, Any]) -> Lines:
    """Sampling time by steps, and the ratio of training steps."""
    sampling, training = found["sampling"], found["training"]
    per_step = sampling["per step, over that of the fewest steps"]
    lines = ["| sampling steps | s per 1,000 images | a step, over one where there are fewest |",
             "|---|---|---|"]  # fmt: skip
    for n, value in sampling["seconds per 1000"].items():
        lines.append(f"| {n} | {number(value)} | {per_step[n]:.2f} |")
    low, high = training["ratios"][0], training["ratios"][-1]
    return [
        *lines, "",
        f"A step of training takes {1000 * training['fedsec']:.1f} ms here and"
        f" {1000 * training['diffusers']:.1f} ms in the loop of diffusers"
        f" {of['versions'].get('diffusers', '')} over the same network: ratio"
        f" {training['ratio']:.2f} ({low:.2f} to {high:.2f}).",
    ]  # fmt: skip


def both(of: dict[str, float], digits: int) -> str:
    """Mean and standard deviation."""
    return f"{of['mean']:.{digits}f} ± {of['sd']:.{digits}f}"


def number(value: float) -> str:
    """Two or three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
