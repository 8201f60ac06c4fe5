"""`crowdlearn workers`, `agreement` and `explain`: looking at votes and at one result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from crowdlearn.cli.exits import INTERRUPTED, print_json, say
from crowdlearn.cli.fitting import fit_or_load, read, watched
from crowdlearn.cli.options import (
    ClassesOption,
    ColumnsOption,
    DropOption,
    JsonOption,
    MethodOption,
    ResultArgument,
    SeedOption,
    SetOption,
    VotesArgument,
)
from crowdlearn.errors import SettingsError

if TYPE_CHECKING:
    from crowdlearn.evaluation.agreement import FleissKappa
    from crowdlearn.votes import Votes


def workers(
    votes: ResultArgument,
    method: MethodOption = None,
    top: Annotated[int, typer.Option(help="Workers to show, from both ends.", min=1)] = 20,
    settings: SetOption = None,
    seed: SeedOption = None,
    columns: ColumnsOption = None,
    classes: ClassesOption = None,
    drop_missing: DropOption = False,
    json: JsonOption = False,
) -> None:
    """Rank workers by estimated accuracy, with intervals.

    With --json all workers, not only those shown.
    """
    from crowdlearn.cli.tables import show_workers

    fit, interrupted = fit_or_load(
        votes, method, settings=settings, seed=seed, columns=columns, classes=classes,
        drop_missing=drop_missing, progress=watched(json),
    )  # fmt: skip
    if json:
        level = fit.worker_accuracy.level
        print_json({"interval": level, "workers": fit.workers_table().to_pylist()})
    else:
        show_workers(fit, top)
    _end(interrupted)


def agreement(
    votes: VotesArgument,
    level: Annotated[
        str, typer.Option(help="What the classes are: nominal, ordinal or interval.")
    ] = "nominal",
    pairs: Annotated[
        int, typer.Option(help="Pairs of workers to show with Cohen's kappa.", min=0)
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the resampled items.")] = 0,
    columns: ColumnsOption = None,
    classes: ClassesOption = None,
    drop_missing: DropOption = False,
    json: JsonOption = False,
) -> None:
    """Measure how far workers agree beyond chance, before any model.

    Krippendorff's alpha with a 95 % interval, Fleiss' kappa, the share of agreeing pairs of votes,
    and agreement by class.
    """
    from dataclasses import asdict
    from typing import get_args

    from crowdlearn.evaluation import agreement as measures

    if level not in get_args(measures.Level):
        raise SettingsError(f"level is {level!r}: nominal, ordinal or interval is possible")
    read_in = read(votes, columns, classes, drop_missing)
    alpha = measures.krippendorff_alpha(read_in, level, seed=seed)  # type: ignore[arg-type]
    kappa = _fleiss(read_in)
    found = {
        "alpha": asdict(alpha),
        "percent_agreement": measures.percent_agreement(read_in),
        "fleiss": None if kappa is None else asdict(kappa),
        "classes": measures.class_agreement(read_in).to_pylist(),
        "pairs": measures.cohen_kappas(read_in, max_pairs=pairs).to_pylist() if pairs else [],
    }
    if json:
        print_json(found)
    else:
        _show_agreement(found)


def explain(
    votes: Annotated[
        str,
        typer.Argument(
            metavar="VOTES",
            help="File of votes, or a folder that 'aggregate --out' wrote.",
            show_default=False,
        ),
    ],
    item: Annotated[str, typer.Argument(help="Name of the item.", show_default=False)],
    method: MethodOption = None,
    settings: SetOption = None,
    seed: SeedOption = None,
    columns: ColumnsOption = None,
    classes: ClassesOption = None,
    drop_missing: DropOption = False,
    json: JsonOption = False,
) -> None:
    """Say why an item got its label: whose votes weighed how much, and what would flip it.

    The number before a vote is how much the log odds of the label against the runner-up would fall
    without that vote (nats).
    """
    from dataclasses import asdict

    fit, interrupted = fit_or_load(
        [votes], method, settings=settings, seed=seed, columns=columns, classes=classes,
        drop_missing=drop_missing, progress=watched(json),
    )  # fmt: skip
    found = fit.explain(item)
    if json:
        print_json(asdict(found))
    else:
        from crowdlearn.highlights import plain

        typer.echo("\n".join(plain(line, 10_000) for line in str(found).split("\n")))
    _end(interrupted)


def _fleiss(votes: Votes) -> FleissKappa | None:
    """Fleiss' kappa, or None where its package is not installed."""
    from crowdlearn.evaluation.agreement import fleiss_kappa

    try:
        return fleiss_kappa(votes)
    except ImportError as error:
        say(f"warning: {error}", "yellow")
        return None


def _show_agreement(found: dict[str, Any]) -> None:
    from crowdlearn.cli.tables import number, show

    alpha, fleiss = found["alpha"], found["fleiss"]
    interval = f"{number(alpha['low'])} to {number(alpha['high'])}"
    rows = [
        ("Krippendorff's alpha", number(alpha["alpha"]), interval, f"{alpha['n_items']:,}"),
        (
            "pairs of votes that agree",
            number(found["percent_agreement"]),
            "",
            f"{alpha['n_items']:,}",
        ),
    ]
    if fleiss is not None:
        name = f"Fleiss' kappa (items of {fleiss['n_votes']} votes)"
        rows.append((name, number(fleiss["kappa"]), "", f"{fleiss['n_items']:,}"))
    show("Agreement", ("measure", "value", f"{alpha['interval']:.0%} interval", "items"), rows)
    show(
        "By class",
        ("class", "share of votes", "agreement"),
        [(c["class"], number(c["share"]), number(c["agreement"])) for c in found["classes"]],
    )
    if found["pairs"]:
        show(
            "Pairs of workers with most items in common",
            ("worker", "worker", "items", "agreement", "Cohen's kappa"),
            [
                (
                    str(p["worker_a"]),
                    str(p["worker_b"]),
                    f"{p['n_common']:,}",
                    number(p["agreement"]),
                    number(p["kappa"]),
                )
                for p in found["pairs"]
            ],
            n_names=2,
        )


def _end(interrupted: bool) -> None:
    if interrupted:
        say("interrupted: shown is the result so far", "yellow")
        raise typer.Exit(INTERRUPTED)
