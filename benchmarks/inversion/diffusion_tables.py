"""What the cells of `benchmarks.gidm` come to: summaries, bars, and the text of `gidm.md`."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.inversion.cells import Row
from benchmarks.inversion.denoisers import SIZES, TRAINED, UNTRAINED
from benchmarks.inversion.diffusion import EARLY, LATE, STARTS

Lines = list[str]
Summaries = list[dict[str, Any]]
NAMED = ("victim", "t", "attack", "start", "defence")
APART = 20.0  # dB, between GIDM and pixels from noise, at the late step
NEAR = 10.0  # dB, between GIDM+ and all known, at the early step


def summary(name: str, rows: list[Row]) -> Summaries:
    """One entry a cell: quartiles over images, and what it was."""
    if name == "times":
        return [{key: row[key] for key in ("victim", "what", "clients", "right", "steps")}
                for row in rows]  # fmt: skip
    return [
        {
            **{key: row[key] for key in NAMED if key in row},
            "psnr": quartiles(row["psnr"]), "ssim": float(np.median(row["ssim"])),
            "phases": {phase: quartiles(values) for phase, values in row["phases"].items()},
            "guess": quartiles(row["guess"]), "images": len(row["psnr"]),
            "iterations": row["iterations_done"], "seconds": row["seconds"],
            "t_right": float(np.mean(row["t_right"])), "loss": float(np.median(row["loss"])),
        }
        for row in rows
    ]  # fmt: skip


def quartiles(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return {"low": low, "median": middle, "high": high}


def bars(parts: dict[str, Summaries]) -> dict[str, Any]:
    """What was promised, and what came out; None where it was not measured."""
    known = {(one["victim"], one["t"], one["attack"], one["start"]): one["psnr"]["median"]
             for one in parts.get("known", [])}  # fmt: skip
    private = {(one["t"], one["attack"]): one for one in parts.get("private", [])}
    found: dict[str, Any] = {}
    both, pixels = (known.get((UNTRAINED, LATE, *what)) for what in
                    (("gidm", "latent"), ("pixels", "noise")))  # fmt: skip
    if both is not None and pixels is not None:
        found["GIDM above pixels from noise, late step, dB"] = {
            "measured": both - pixels, "at least": APART, "met": both - pixels >= APART
        }  # fmt: skip
    plus, all_known = private.get((EARLY, "gidm+")), private.get((EARLY, "all known"))
    if plus is not None and all_known is not None:
        gap = all_known["psnr"]["median"] - plus["psnr"]["median"]
        found["all known above GIDM+, early step, dB"] = {
            "measured": gap, "at most": NEAR, "met": gap <= NEAR
        }  # fmt: skip
    for one in parts.get("times", []):
        if "any" not in one["what"]:
            found[f"steps read off, {one['what']}, {one['victim']} victim"] = {
                "measured": one["right"], "at least": 1.0, "met": one["right"] == 1.0
            }  # fmt: skip
    return found


def markdown(result: dict[str, Any]) -> str:
    """All sizes that were measured, under the headings that the documentation takes."""
    lines = [f"# {result['question']}\n"]
    for title, name, write in (
        ("Steps and noise known", "known", known_table),
        ("Steps and noise private", "private", private_table),
        ("Time steps", "times", times_table), ("Defences", "defended", defended_table),
    ):  # fmt: skip
        lines.append(f"\n## {title}\n")
        for size, of in result["sizes"].items():
            part = of["parts"].get(name)
            if part is None:
                lines += ["*Not measured yet.*", ""]
            else:
                lines += [where(size, part), "", *write(size, part["found"]), ""]
    lines.append("\n## Bars\n")
    for size, of in result["sizes"].items():
        lines += [f"*{SIZES[size].data}, of the tables above.*", "", *bars_table(of["bars"]), ""]
    return "\n".join(lines).rstrip() + "\n"


def where(size: str, part: dict[str, Any]) -> str:
    """Date, machine and sizes, in one line."""
    machine, options = part["machine"], part["options"]
    device = "" if options["device"] == "cpu" else f", on {part['device']}"
    return (
        f"*{SIZES[size].data}, {options['images']} images of the test set; {part['date']};"
        f" {machine['cores']} cores of {machine['cpu']}{device};"
        f" torch {part['versions']['torch']}.*"
    )


def known_table(size: str, found: Summaries) -> Lines:
    """A row an attack and start, a column a victim and step."""
    there = {(one["victim"], one["t"]) for one in found}
    columns = [
        (victim, t)
        for victim in (UNTRAINED, TRAINED)
        for t in SIZES[size].t
        if (victim, t) in there
    ]
    cells = {(one["victim"], one["t"], one["attack"], one["start"]): one for one in found}
    lines = ["| attack | start | " + " | ".join(f"{victim}, t = {t}" for victim, t in columns)
             + " |", "|---" * (2 + len(columns)) + "|"]  # fmt: skip
    for name, attack, start, phase in (
        ("GIDM", "gidm", "latent", None), ("GIDM, after phase 1", "gidm", "latent", "latent"),
        *(("pixels alone", "pixels", start, None) for start in STARTS),
        ("DLG-dm", "dlg-dm", "noise", None), ("InvG-dm", "invg-dm", "noise", None),
    ):  # fmt: skip
        said = [_cell(cells.get((victim, t, attack, start)), phase) for victim, t in columns]
        lines.append(f"| {name} | {'noise of the prior' if start == 'latent' else start} | "
                     + " | ".join(said) + " |")  # fmt: skip
    guess = [cells.get((victim, t, "gidm", "latent")) for victim, t in columns]
    said = ["-" if one is None else f"{one['guess']['median']:.1f}" for one in guess]
    lines.append(f"| mean image, no update | | {' | '.join(said)} |")
    first = found[0]
    return [*lines, "", f"Median PSNR in dB over images, quartiles in brackets; at most 120."
            f" {first['iterations']} iterations in all."]  # fmt: skip


def private_table(size: str, found: Summaries) -> Lines:
    """A row an attack."""
    lines = ["| t | attack | PSNR dB | steps right | loss | iterations |", "|---" * 6 + "|"]
    for one in found:
        t = "4 different ones, batch of 4" if one["t"] == "distinct" else one["t"]
        lines.append(
            f"| {t} | {one['attack']} | {_cell(one)} | {one['t_right']:.0%} | {one['loss']:.1e} |"
            f" {one['iterations']} |"
        )
    return [*lines, "", "Untrained victim. “All known” is pixels alone from noise, with steps and"
            " noise known."]  # fmt: skip


def times_table(size: str, found: Summaries) -> Lines:
    """A row a victim and a batch."""
    lines = ["| victim | batch | clients | all steps right | steps found |", "|---" * 5 + "|"]
    lines += [f"| {one['victim']} | {one['what']} | {one['clients']} | {one['right']:.0%} |"
              f" {one['steps']:.0%} |" for one in found]  # fmt: skip
    return lines


def defended_table(size: str, found: Summaries) -> Lines:
    """A row a defence."""
    cells = {(one["defence"], one["attack"], one["start"]): one for one in found}
    lines = ["| defence | GIDM, after phase 1 | GIDM | pixels from noise | pixels from the mean |",
             "|---" * 5 + "|"]  # fmt: skip
    for name in dict.fromkeys(one["defence"] for one in found):
        both = cells.get((name, "gidm", "latent"))
        said = [_cell(both, "latent"), _cell(both)]
        said += [_cell(cells.get((name, "pixels", start))) for start in ("noise", "mean")]
        lines.append(f"| {name} | {' | '.join(said)} |")
    return [*lines, "", f"Untrained victim, t = {LATE}, steps and noise known;"
            f" {found[0]['iterations']} iterations. Of the top 1 % the attacker knows that it is"
            " one."]  # fmt: skip


def bars_table(bars: dict[str, Any]) -> Lines:
    """What was promised."""
    lines = ["| what | measured | bar | met |", "|---" * 4 + "|"]
    for name, one in bars.items():
        least = (
            f"at least {one['at least']:g}" if "at least" in one else f"at most {one['at most']:g}"
        )
        lines.append(
            f"| {name} | {one['measured']:.3g} | {least} | {'yes' if one['met'] else 'no'} |"
        )
    return lines


def _cell(one: dict[str, Any] | None, phase: str | None = None) -> str:
    if one is None:
        return "-"
    of = one["psnr"] if phase is None else one["phases"].get(phase)
    return "-" if of is None else f"{of['median']:.1f} ({of['low']:.1f} to {of['high']:.1f})"
