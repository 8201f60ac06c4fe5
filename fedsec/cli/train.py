"""`fedsec train`: federated training, by one selector or several beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedsec.cli.exits import INTERRUPTED, first_interrupt, say
from fedsec.cli.flags import RUNNING, SELECTION, Flags, JsonOption, with_flags

if TYPE_CHECKING:
    from fedsec.cli.experiment import Experiment
    from fedsec.core.record import Result

SELECTORS_SAID = (
    "random, fedemd, shapley-weighted, tifl, fedfast, power-of-choice, oort, always, never (the"
    " last two: with all Mavericks, without any)"
)


@with_flags
def train(
    flags: Flags,
    select: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Who takes part in a round: {SELECTORS_SAID}. Repeat it to compare.",
            show_default="fedemd with Mavericks, else random",
            rich_help_panel=SELECTION,
        ),
    ] = None,
    contribution: Annotated[
        str | None,
        typer.Option(
            help="Measure in each round what its clients contributed: exact, monte-carlo, gtg or"
            " leave-one-out.",
            show_default="where a selector needs it",
            rich_help_panel=SELECTION,
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(help="Train so many times, from --seed on.", rich_help_panel=RUNNING)
    ] = 1,
    out: Annotated[
        str | None,
        typer.Option(
            help="Folder for results, history, model, settings, plots and checkpoints.",
            rich_help_panel=RUNNING,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on from the checkpoints in --out; with more --rounds or --seeds, too.",
            rich_help_panel=RUNNING,
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Train a model in a federation on this machine.

    `fedsec train --data digits --select random --select fedemd --seeds 5 --out DIR` compares two
    ways to choose clients where one client, a Maverick, alone holds a class. The defaults are what
    the Mavericks paper recommends for the data set.

    DIR gets results.jsonl (a line a run), history.parquet (a row a round), the model, settings.json
    and plots. R@99 is the first round with 99 % of the best accuracy of random selection with the
    same seed, so it needs `--select random` too. Runs repeat themselves bit by bit. Ctrl-C stops
    after the current round and keeps a checkpoint (exit code 130); --resume goes on from it as if
    nothing had happened.
    """
    from fedsec.cli.checkpoints import Checkpoints
    from fedsec.cli.experiment import experiment_of
    from fedsec.cli.outcome import results_of
    from fedsec.cli.output import checked_new, new_folder
    from fedsec.cli.running import play_all, progress_bar
    from fedsec.cli.writing import write_training

    folder = None if out is None else Path(out).expanduser().resolve()
    if out is not None and not resume:
        folder = checked_new(out)
    names = list(dict.fromkeys(select or [usual(flags)]))
    experiment = experiment_of(flags, names, contribution=contribution, n_seeds=seeds)
    checkpoints = Checkpoints(experiment=experiment, folder=folder, resume=resume)
    try:
        with first_interrupt() as interrupted, progress_bar(experiment, json) as bar:
            played = play_all(experiment, checkpoints, interrupted, bar)
    except KeyboardInterrupt:
        say(f"interrupted: {checkpoints.advice()}", "red")
        raise typer.Exit(INTERRUPTED) from None
    if played.stopped is not None:
        run, progress = played.stopped
        say(
            f"interrupted after round {len(progress.rounds)} of {run}: {checkpoints.advice()}",
            "yellow",
        )
        raise typer.Exit(INTERRUPTED)
    results = results_of(experiment, played.done)
    if folder is not None:
        with new_folder(folder) as made:
            write_training(made, experiment, played.done, results)
            checkpoints.write_into(made, played.done)
    if json:
        for result in results:
            typer.echo(result.to_json())
    else:
        show_training(experiment, results)
        if folder is not None:
            typer.echo(f"written to {folder}")


def usual(flags: Flags) -> str:
    """The selector where none was named."""
    return "fedemd" if flags.partition == "mavericks" else "random"


def show_training(experiment: Experiment, results: list[Result]) -> None:
    """A row a selector: means over seeds, with standard deviations; and what needs a word."""
    from fedsec.cli.tables import show

    n_seeds = len(experiment.seeds)
    of = f", mean ± sd of {n_seeds} seeds" if n_seeds > 1 else ""
    head = ("selector", "accuracy %", "best %", "R@99", "Maverick recall %", "Mavericks a round",
            "seconds")  # fmt: skip
    rows = [
        row_of(name, [one for one in results if one.settings["select"] == name])
        for name in experiment.selectors
    ]
    show(f"{experiment}: {experiment.n_rounds} rounds{of}", head, rows)
    for result in results:
        if result.measures["epsilon"] is not None:
            typer.echo(
                f"{result.settings['select']}, seed {result.seed}: epsilon"
                f" {result.measures['epsilon']:.3g} at delta {experiment.delta:g} for the client"
                " that took part most often, against who sees its updates"
            )
    refused = sum(one.measures["refused"] for one in results)
    if refused:
        say(f"updates that were not finite and were left out: {refused}", "yellow")


def row_of(name: str, results: list[Result]) -> tuple[str, ...]:
    """The cells of a selector; R@99 that was not reached is the number of rounds, plus one."""
    from fedsec.cli.tables import spread

    found = [one.measures for one in results]
    to_99 = [one["rounds_to_99"] for one in found]
    n_rounds = results[0].settings["rounds"]
    return (
        name,
        spread([one["accuracy"] for one in found], 1, 100.0),
        spread([one["best_accuracy"] for one in found], 1, 100.0),
        f"> {n_rounds}" if to_99 == [n_rounds + 1] else spread(to_99, int(len(to_99) > 1)),
        spread([one["maverick_recall"] for one in found], 1, 100.0),
        spread([one["mavericks_per_round"] for one in found], 2),
        spread([one.seconds for one in results], 1),
    )
