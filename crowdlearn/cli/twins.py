"""`crowdlearn twins`: workers more alike than the fit allows, and what they do to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from crowdlearn.cli.exits import INTERRUPTED, print_json, say
from crowdlearn.cli.fitting import fit_or_stop, read, read_known, watched
from crowdlearn.cli.options import (
    ClassesOption,
    ColumnsOption,
    DropOption,
    GoldOption,
    JsonOption,
    MethodOption,
    SeedOption,
    SetOption,
    TruthOption,
    VotesArgument,
    make_method,
)

if TYPE_CHECKING:
    from crowdlearn.evaluation.twins import Twins, TwinsEffect


def twins(
    votes: VotesArgument,
    method: MethodOption = None,
    truth: TruthOption = None,
    gold: GoldOption = None,
    min_common: Annotated[
        int, typer.Option(help="Items that a pair of workers must share to be looked at.", min=1)
    ] = 10,
    rate: Annotated[
        float, typer.Option(help="Share of false findings among all findings, at most.")
    ] = 0.05,
    top: Annotated[int, typer.Option(help="Pairs to show.", min=1)] = 20,
    settings: SetOption = None,
    seed: SeedOption = None,
    columns: ColumnsOption = None,
    classes: ClassesOption = None,
    drop_missing: DropOption = False,
    json: JsonOption = False,
) -> None:
    """Find workers who agree more than independent workers would, given the truth.

    Fits the votes, tests every pair of workers with enough items in common, joins the pairs that
    are found to groups, and fits again with each group counted as one worker. With --json all
    pairs.
    """
    from dataclasses import asdict

    from crowdlearn.evaluation.twins import find_twins, twins_effect

    chosen = make_method(method, {"seed": seed}, settings)
    read_in = read(votes, columns, classes, drop_missing)
    known, given = read_known(truth, read_in), read_known(gold, read_in)
    fit, interrupted = fit_or_stop(chosen, read_in, gold=given, progress=watched(json))
    if interrupted:
        say("interrupted: twins are not looked for in half a fit", "red")
        raise typer.Exit(INTERRUPTED)
    found = find_twins(fit, min_common=min_common, rate=rate)
    effect = twins_effect(fit, found, chosen, known)[0] if found.n_groups else None
    if json:
        print_json(
            {
                "method": fit.method,
                "rate": rate,
                "pairs": found.to_table().to_pylist(),
                "groups": found.groups(),
                "effect": None if effect is None else asdict(effect),
            }
        )
    else:
        _show(found, effect, top)


def _show(found: Twins, effect: TwinsEffect | None, top: int) -> None:
    from crowdlearn.cli.tables import show

    rows = found.to_table().slice(0, top).to_pylist()
    head = ("worker", "worker", "items", "agreed", "expected", "z", "z wrong", "p", "twins")
    title = f"The {len(rows)} most alike of {len(found.p_value):,} pairs of workers"
    show(title, head, [_row(row) for row in rows], n_names=2)
    typer.echo(_in_words(found, effect))


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    from crowdlearn.cli.tables import number

    return (
        str(row["worker_a"]),
        str(row["worker_b"]),
        f"{row['n_common']:,}",
        f"{row['agreed']:,}",
        number(row["expected"], 1),
        number(row["z"], 1),
        number(row["z_wrong"], 1),
        f"{row['p_value']:.1e}",
        "yes" if row["twins"] else "",
    )


def _in_words(found: Twins, effect: TwinsEffect | None) -> str:
    from crowdlearn.highlights import plain

    if effect is None:
        return "No two workers agree more than independent workers would."
    groups = "; ".join(plain(", ".join(names), 200) for names in found.groups())
    text = (
        f"{effect.n_workers:,} workers in {effect.n_groups:,} groups: {groups}. With each group as "
        f"one worker {effect.n_labels_changed:,} labels change, and mean confidence goes from "
        f"{effect.confidence_before:.3f} to {effect.confidence_after:.3f}"
    )
    if effect.log_loss_before == effect.log_loss_before:
        text += f", log loss from {effect.log_loss_before:.3f} to {effect.log_loss_after:.3f}"
    return f"{text}."
