"""What came out of `fedsec steal`: results, the table, the verdict, the files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from fedsec.cli.exits import as_json
from fedsec.cli.keeping import FOLDER, Kept, Run, write_record, write_victim
from fedsec.cli.output import new_folder
from fedsec.cli.rerun import rerun_command
from fedsec.cli.stealing import Played, Theft
from fedsec.cli.tables import number
from fedsec.cli.victims import Local, write_model
from fedsec.core.functional import load_state
from fedsec.core.record import Result, write_results
from fedsec.federated.history import described
from fedsec.stealing import plots
from fedsec.stealing.answers import RateLimit
from fedsec.stealing.detection import Detector
from fedsec.stealing.lineup import CONTROL
from fedsec.stealing.records import StealRecord, copy_evaluator, effective_classes

DOTS = 130  # an inch
CLOSE, USEFUL = 0.9, 0.6  # agreement from which a copy is called so
MARGIN = 0.02  # agreement over the control that is a difference


def results_of(theft: Theft, kept: Kept, runs: Mapping[Run, Played]) -> list[Result]:
    """One for each run.

    accuracy, agreement    of the copy that the attacker keeps: the one that agrees most with
                           queries that were put aside, made at `best_queries`
    last_*                 of the last copy; best_on_test the highest, which no attacker knows
    queries, steps         asked, and of the copy's optimiser
    effective_classes      exp of the entropy of the last answers
    victim_accuracy        on the same test images; defended_accuracy: as its answers leave
    transfer               rows of attack, eps, success
    detector, rate_limit   what these defences saw
    """
    test, victims = theft.images.test, theft.victims(kept)
    victim = theft.victim.net if isinstance(theft.victim, Local) else theft.owner(kept)
    accuracy = float((victims == test.y).double().mean())
    defended = theft.defended_accuracy()
    found = []
    for run, played in runs.items():
        copy = theft.substitute(run.seed)
        score = copy_evaluator(copy, test, victims)(played.stolen.best)
        load_state(copy, played.stolen.best)
        measures = {
            "accuracy": score.accuracy, "agreement": score.agreement, **_course(played),
            "victim_accuracy": accuracy, "defended_accuracy": defended,
            "transfer": theft.transfers.success(copy, victim, test, run.seed),
            **_seen(played, theft.stake.budget),
        }  # fmt: skip
        settings = {
            "method": run.method,
            **theft.settings(),
            "attack": described(theft.methods[run.method]),
        }
        found.append(
            Result(
                what="steal", seed=run.seed, settings=as_json(settings),
                measures=as_json(measures), seconds=played.stolen.seconds,
            )
        )  # fmt: skip
    return found


def table_of(
    theft: Theft, results: Sequence[Result]
) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
    """Title, head and rows: medians over seeds, the lowest in brackets."""
    n = len(theft.seeds)
    of = f"; median of {n} seeds, lowest in brackets" if n > 1 else ""
    title = (
        f"{theft.victim} on {theft.images.name}: {theft.stake.budget:,} queries a method,"
        f" {theft.stake.mode}; copies are {theft.net}{of}"
    )
    shown = _shown(theft)
    head = ("method", "copy right %", "agrees %", "last right %", "queries", "steps",
            *(f"{name} at {eps:g} %" for name, eps in shown), "ended")  # fmt: skip
    rows = []
    for name, own in _by_method(results).items():
        rows.append((
            name, *(_over(own, key) for key in ("accuracy", "agreement", "last_accuracy")),
            f"{_median(own, 'queries'):,.0f}", f"{_median(own, 'steps'):,.0f}",
            *(_over_values(_success(own, attack, eps)) for attack, eps in shown),
            ", ".join(dict.fromkeys(one.measures["stopped"] for one in own)),
        ))  # fmt: skip
    return title, head, rows


def defence_lines(theft: Theft, results: Sequence[Result]) -> list[str]:
    """What the defences cost the owner, and what they saw."""
    found = results[0].measures
    n = len(theft.images.test)
    lines = [f"victim: {found['victim_accuracy']:.1%} of {n:,} test images right"]
    if found["defended_accuracy"] is not None:
        lines[0] += f"; {found['defended_accuracy']:.1%} as its answers leave the API"
    for one in results:
        name = f"{one.settings['method']}, seed {one.seed}"
        seen, limit = one.measures.get("detector"), one.measures.get("rate_limit")
        if seen is not None:
            alarm = seen["first_alarm"]
            when = "no alarm" if alarm is None else f"alarm after {alarm:,} queries"
            lines.append(f"detector on {name}: score {seen['score']:.3f}, {when}")
        if limit is not None:
            lines.append(
                f"rate limit on {name}: {one.measures['queries']:,} answered; the whole budget"
                f" takes {limit['seconds']:,.0f} s at least"
            )
    return lines


def verdict(theft: Theft, results: Sequence[Result]) -> list[str]:
    """What it means, in plain words."""
    by_method = _by_method(results)
    best = max(by_method, key=lambda name: _median(by_method[name], "agreement"))
    agreement = _median(by_method[best], "agreement")
    control = _median(by_method[CONTROL], "agreement")
    kind = "a close copy" if agreement >= CLOSE else (
        "a useful copy" if agreement >= USEFUL else "a poor copy"
    )  # fmt: skip
    what = "labels" if theft.stake.mode == "labels" else "probabilities"
    lines = [
        f"For {theft.stake.budget:,} {what} anybody gets {kind}: it agrees with the victim on"
        f" {agreement:.0%} of test images ({best})."
    ]
    if best == CONTROL or agreement - control < MARGIN:
        lines.append(f"Plain noise gets as much ({control:.0%}): no method here is needed for it.")
    else:
        lines.append(f"Plain noise gets {control:.0%}.")
    for attack, eps in _shown(theft):
        success = {
            name: float(np.median(_success(own, attack, eps))) for name, own in by_method.items()
        }
        top = max(success, key=lambda name: success[name])
        did = "change its label" if theft.transfers.target is None else "reach the target"
        lines.append(
            f"Adversarial examples made on a copy ({top}, {attack}, eps {eps:g}) {did} in"
            f" {success[top]:.0%} of cases"
            + ("." if top == CONTROL else f"; on noise's copy, in {success[CONTROL]:.0%}.")
        )
    lines.append("That is what these methods found; others, or more queries, may find more.")
    return lines


def write_theft(
    kept: Kept, theft: Theft, runs: Mapping[Run, Played], results: list[Result]
) -> None:
    """results.jsonl, curves.jsonl, settings.json, copies, pictures; checkpoints stay."""
    assert kept.folder is not None
    with new_folder(kept.folder) as made:
        write_record(made, theft, rerun_command())
        write_victim(made, theft)
        write_results(results, made / "results.jsonl")
        (made / "curves.jsonl").write_text("".join(_curve_lines(runs)), encoding="utf-8")
        for run, played in runs.items():
            name = "copy" if len(runs) == 2 and run.method != CONTROL else f"copy-{run.file}"
            write_model(
                made / f"{name}.safetensors", played.stolen.best, theft.net, theft.images.name
            )
        for name, figure in figures(theft, runs, results).items():
            figure.savefig(made / f"{name}.png", dpi=DOTS)
        (made / FOLDER).mkdir()
        for path in (kept.folder / FOLDER).iterdir():
            _linked(path, made / FOLDER / path.name)


def figures(
    theft: Theft, runs: Mapping[Run, Played], results: Sequence[Result]
) -> dict[str, Figure]:
    """The pictures by the names of their files."""
    curves: dict[str, list[list[StealRecord]]] = {name: [] for name in theft.methods}
    for run, played in runs.items():
        curves[run.method].append(played.stolen.records)
    classes = theft.images.classes
    made = {
        "curves": plots.copy_curves(
            curves, victim=results[0].measures["victim_accuracy"], chance=1 / len(classes)
        )
    }
    for name, of in curves.items():
        if any(sum(record.histogram) for record in of[0]):
            made[f"classes-{Run(name, 0).file.removesuffix('-0')}"] = plots.pool_histogram(
                of[0], classes, title=f"{name}: what was answered, seed {theft.seeds[0]}"
            )
    for attack in theft.transfers.attacks:
        success = {
            name: np.array([
                [row["success"] if row["success"] is not None else np.nan
                 for row in one.measures["transfer"] if row["attack"] == attack]
                for one in own
            ])
            for name, own in _by_method(results).items()
        }  # fmt: skip
        made[f"transfer-{attack}"] = plots.transfer_curves(
            success, theft.transfers.epsilons,
            attack=f"{attack}, made on copies, tried on the victim",
            targeted=theft.transfers.target is not None,
        )  # fmt: skip
    return made


def _course(played: Played) -> dict[str, Any]:
    stolen = played.stolen
    last = stolen.records[-1] if stolen.records else None
    counts = [one.histogram for one in stolen.records if sum(one.histogram)]
    return {
        "last_accuracy": None if last is None else last.accuracy,
        "last_agreement": None if last is None else last.agreement,
        "best_on_test": stolen.best_on_test, "best_queries": stolen.best_queries,
        "queries": stolen.queries, "steps": stolen.substitute_steps, "stopped": stolen.stopped,
        "effective_classes": effective_classes(counts[-1]) if counts else None,
    }  # fmt: skip


def _seen(played: Played, budget: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in played.defences:
        if isinstance(one, Detector):
            found["detector"] = {"score": one.score(), "first_alarm": one.first_alarm}
        if isinstance(one, RateLimit):
            found["rate_limit"] = {"seconds": one.seconds_for(budget)}
    return found


def _curve_lines(runs: Mapping[Run, Played]) -> list[str]:
    return [
        json.dumps({"method": run.method, "seed": run.seed, **json.loads(record.to_json())}) + "\n"
        for run, played in runs.items()
        for record in played.stolen.records
    ]


def _shown(theft: Theft) -> list[tuple[str, float]]:
    """One eps of each attack that stands in the table: the one in the middle, or above it."""
    every = theft.transfers.epsilons
    return [(name, every[len(every) // 2]) for name in theft.transfers.attacks]


def _by_method(results: Sequence[Result]) -> dict[str, list[Result]]:
    names = dict.fromkeys(one.settings["method"] for one in results)
    return {name: [one for one in results if one.settings["method"] == name] for name in names}


def _success(own: Sequence[Result], attack: str, eps: float) -> list[float]:
    return [
        float("nan") if row["success"] is None else row["success"]
        for one in own
        for row in one.measures["transfer"]
        if row["attack"] == attack and row["eps"] == eps
    ]


def _median(own: Sequence[Result], key: str) -> float:
    return float(np.median([one.measures[key] for one in own]))


def _over(own: Sequence[Result], key: str) -> str:
    return _over_values([one.measures[key] for one in own])


def _over_values(values: Sequence[float | None]) -> str:
    known = [100 * value for value in values if value is not None and value == value]
    if not known:
        return "–"
    middle = number(float(np.median(known)), 1)
    return middle if len(values) == 1 else f"{middle} ({number(min(known), 1)})"


def _linked(path: Path, into: Path) -> None:
    """The same file in another folder, without copying it where the disk can."""
    try:
        os.link(path, into)
    except OSError:
        shutil.copy2(path, into)
