"""`fedsec contribution`: what each client contributed to a training, with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedsec.cli.exits import INTERRUPTED, as_json, first_interrupt, print_json, say
from fedsec.cli.flags import RUNNING, SELECTION, Flags, JsonOption, with_flags
from fedsec.cli.train import SELECTORS_SAID, usual

if TYPE_CHECKING:
    from fedsec.cli.crediting import Credited, Summary
    from fedsec.cli.experiment import Experiment, Run
    from fedsec.core.record import Result

CREDIT = "Contribution"
UNITS = {"shapleyfl": "surrogate in [0, 1]"}
MAX_ROWS = 60  # clients up to which all have a row in the table
FEW = 10


@with_flags
def contribution(
    flags: Flags,
    select: Annotated[
        str | None,
        typer.Option(
            help=f"Who takes part in a round: {SELECTORS_SAID}.",
            show_default="fedemd with Mavericks, else random",
            rich_help_panel=SELECTION,
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="Within a round: exact (up to 10 clients), monte-carlo, gtg, or leave-one-out.",
            rich_help_panel=CREDIT,
        ),
    ] = "exact",
    over_rounds: Annotated[
        str,
        typer.Option(
            help="Over rounds: fedsv (the sum), shapleyfl (a moving average), comfedsv or"
            " comfedsv-sampled (as if all took part in all rounds; the first round has everybody).",
            rich_help_panel=CREDIT,
        ),
    ] = "fedsv",
    seeds: Annotated[
        int,
        typer.Option(
            help="Train so many times, with the same clients; intervals are then over trainings.",
            rich_help_panel=RUNNING,
        ),
    ] = 1,
    out: Annotated[
        str | None,
        typer.Option(
            help="Folder for contributions, results, history, model and plots.",
            rich_help_panel=RUNNING,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Say what each client contributed to a training, and whether that matches its data.

    Each round is a game of the clients in it: a coalition is worth minus the test loss, in nats, of
    the model that its updates alone would have made. With one seed, intervals are about what a
    method draws, so the exact one has none; with --seeds they are about how the training went, too.
    Fairness is 1 - |share of the credit - share of the data|, 1 at best, with credit shared by a
    softmax.

    A client that takes part more often can contribute more: see "rounds". DIR gets
    contributions.jsonl (a line a client), contribution.png, and what `fedsec train` writes. Ctrl-C
    stops after the current round with the result so far (exit code 130).
    """
    from fedsec.cli.checks import one_of
    from fedsec.cli.crediting import credit_all, summary_of
    from fedsec.cli.experiment import experiment_of
    from fedsec.cli.output import checked_new, new_folder
    from fedsec.cli.running import progress_bar
    from fedsec.cli.writing import write_training
    from fedsec.federated.contribution import OVER_ROUNDS

    folder: Path | None = None if out is None else checked_new(out)
    one_of("--over-rounds", over_rounds, OVER_ROUNDS)
    names = [select or usual(flags)]
    experiment = experiment_of(flags, names, contribution=method, n_seeds=seeds)
    with first_interrupt() as interrupted, progress_bar(experiment, json) as bar:
        found = credit_all(experiment, over_rounds, interrupted, bar)
    summary = summary_of(list(found.values()))
    rows, unit = rows_of(experiment, summary), UNITS.get(over_rounds, "nats")
    title = title_of(found, over_rounds)
    results = [result_of(experiment, run, one, over_rounds) for run, one in found.items()]
    if folder is not None:
        with new_folder(folder) as made:
            write_training(made, experiment, {run: one.progress for run, one in found.items()},
                           results)  # fmt: skip
            write_contribution(made, experiment, summary, rows,
                               title=title, unit=unit)  # fmt: skip
    if json:
        for row in rows:
            print_json(row)
        for result in results:
            typer.echo(result.to_json())
    else:
        show_contribution(f"{experiment}: {title}", unit, summary, rows, list(found.values()))
        if folder is not None:
            typer.echo(f"written to {folder}")
    n_rounds = min(len(one.progress.rounds) for one in found.values())
    if len(found) < seeds or n_rounds < experiment.n_rounds:
        say(f"interrupted: this is of {len(found)} trainings of {n_rounds} rounds", "yellow")
        raise typer.Exit(INTERRUPTED)


def title_of(found: dict[Run, Credited], over_rounds: str) -> str:
    """How the values were found."""
    run, one = next(iter(found.items()))
    trained = f", mean of {len(found)} trainings" if len(found) > 1 else ""
    return f"{run.selector}, {over_rounds} over {len(one.progress.rounds)} rounds{trained}"


def rows_of(experiment: Experiment, summary: Summary) -> list[dict[str, Any]]:
    """One object a client."""
    share = summary.samples / summary.samples.sum()
    return [
        as_json({
            "client": client,
            "maverick": client in experiment.mavericks.ids,
            "samples": int(summary.samples[client]),
            "share": float(share[client]),
            "rounds": float(summary.rounds[client]),
            "value": float(summary.values[client]),
            "low": float(summary.interval[client, 0]),
            "high": float(summary.interval[client, 1]),
            "standard_error": float(summary.standard_error[client]),
            "fairness": float(summary.fairness[client]),
        })
        for client in range(experiment.n_clients)
    ]  # fmt: skip


def result_of(experiment: Experiment, run: Run, found: Credited, over_rounds: str) -> Result:
    """One training as a whole."""
    from fedsec.cli.crediting import over_rounds_of
    from fedsec.cli.outcome import measures_of
    from fedsec.core.record import Result
    from fedsec.federated.history import described

    assert experiment.contribution is not None
    return Result(
        what="contribution",
        seed=run.seed,
        settings={
            "select": run.selector,
            "rounds": len(found.progress.rounds),
            "over_rounds": described(over_rounds_of(over_rounds, experiment.contribution)),
            **experiment.settings(run),
            "clients_seed": experiment.seeds[0],
        },
        measures=as_json({
            **measures_of(experiment, run, found.progress, {}),
            "fairness": found.overall,
            "evaluations": found.total.n_evaluations,
            "permutations": found.total.n_permutations,
            "converged": found.total.converged,
        }),
        seconds=sum(sum(one.phases.values()) for one in found.progress.rounds),
    )  # fmt: skip


def write_contribution(
    folder: Path, experiment: Experiment, summary: Summary, rows: list[dict[str, Any]], *,
    title: str, unit: str,
) -> None:  # fmt: skip
    """contributions.jsonl and contribution.png."""
    import json

    from fedsec import plots
    from fedsec.cli.writing import DOTS

    lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    (folder / "contributions.jsonl").write_text(lines)
    figure = plots.contribution_bars(
        summary.values, summary.interval, experiment.mavericks.ids,
        unit=unit, title=f"{experiment.images.name}: {title}",
    )  # fmt: skip
    figure.savefig(folder / "contribution.png", dpi=DOTS)


def show_contribution(
    title: str, unit: str, summary: Summary, rows: list[dict[str, Any]], found: list[Credited]
) -> None:
    """A row a client, largest value first; of many clients both ends and the Mavericks."""
    from fedsec.cli.tables import number, show

    ordered = sorted(rows, key=lambda row: -row["value"])
    if len(ordered) > MAX_ROWS:
        ordered = [
            row
            for place, row in enumerate(ordered)
            if row["maverick"] or place < FEW or place >= len(ordered) - FEW
        ]
    show(
        title,
        ("client", "samples", "data %", "rounds", unit, "95 % interval", "fairness"),
        [
            (
                f"{row['client']}{' Maverick' if row['maverick'] else ''}",
                f"{row['samples']:,}",
                number(100 * row["share"], 1),
                f"{row['rounds']:.4g}",
                number(row["value"], 4),
                "exact"
                if summary.is_sure
                else f"{number(row['low'], 4)} to {number(row['high'], 4)}",
                number(row["fairness"]),
            )
            for row in ordered
        ],
    )
    if len(ordered) < len(rows):
        typer.echo(f"{len(rows) - len(ordered):,} clients in between are not shown")
    evaluated = sum(one.total.n_evaluations for one in found)
    fairness = sum(one.overall for one in found) / len(found)
    settled = all(one.total.converged for one in found)
    more = "" if settled else "; in some rounds the values had not settled"
    typer.echo(f"{evaluated:,} models evaluated; fairness over all {fairness:.3f}{more}")
