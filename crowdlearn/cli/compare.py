"""`crowdlearn compare`: which method to trust on these votes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from crowdlearn.cli.exits import INTERRUPTED, print_json, say
from crowdlearn.cli.fitting import read, read_known, watched
from crowdlearn.cli.options import (
    ClassesOption,
    ColumnsOption,
    DropOption,
    JsonOption,
    VotesArgument,
)
from crowdlearn.errors import SettingsError

if TYPE_CHECKING:
    from crowdlearn.evaluation.comparison import Run
    from crowdlearn.votes import Votes


def compare(
    votes: VotesArgument,
    truth: Annotated[str, typer.Option(help="File with the columns task,label of known truths.")],
    methods: Annotated[
        str, typer.Option(help="Names of methods, as majority,dawid-skene; or all.")
    ] = "all",
    seeds: Annotated[
        int, typer.Option(help="Runs of every method that draws, with seeds 0, 1, ...", min=1)
    ] = 5,
    columns: ColumnsOption = None,
    classes: ClassesOption = None,
    drop_missing: DropOption = False,
    json: JsonOption = False,
) -> None:
    """Run methods on the same votes and score them against known truths.

    Prints error (ties count in parts), log loss, calibration error (ECE) and seconds of each
    method, as means over seeds; and by how much its error exceeds the best method's, with a 95 %
    interval over items. With --json one object a row.
    """
    names = None if methods == "all" else [name.strip() for name in methods.split(",")]
    read_in = read(votes, columns, classes, drop_missing)
    runs, interrupted = _run(read_in, read_known(truth, read_in), names, seeds, watched(json))
    rows = _rows(runs)
    if json:
        for row in rows:
            print_json(row)
    else:
        _show(rows)
    if interrupted:
        say(f"interrupted: shown are the runs that were finished ({len(runs)})", "yellow")
        raise typer.Exit(INTERRUPTED)


def _run(
    votes: Votes, truth: Any, names: list[str] | None, n_seeds: int, progress: bool
) -> tuple[list[Run], bool]:
    """The runs that were finished, and whether Ctrl-C ended them."""
    from rich.console import Console

    from crowdlearn.evaluation.comparison import compare as run_all

    runs: list[Run] = []
    console = Console(stderr=True, quiet=not progress)
    with console.status("comparing") as status:

        def on_done(run: Run) -> None:
            runs.append(run)
            status.update(f"comparing: {len(runs)} runs done, the last was {run.method}")

        try:
            run_all(votes, truth, names, range(n_seeds), on_done)
        except KeyboardInterrupt:
            if not runs:
                raise
            return runs, True
    return runs, False


def _rows(runs: list[Run]) -> list[dict[str, Any]]:
    """One row a method, best first: means, spreads, and the difference to the best."""
    from crowdlearn.evaluation.comparison import against_best, summarise, to_table

    rows = list(summarise(to_table(runs)).to_pylist())
    why = {run.method: run.failed for run in runs if run.failed is not None}
    if len(why) == len(rows):
        raise SettingsError(f"no method finished; {rows[0]['method']}: {why[rows[0]['method']]}")
    against = {row["method"]: row for row in against_best(runs).to_pylist()}
    for row in rows:
        other = against.get(row["method"], {})
        for name in ("difference", "low", "high"):
            row[f"error_{name}" if name == "difference" else f"error_difference_{name}"] = (
                other.get(name)
            )
        row["failed"] = why.get(row["method"])
    return rows


def _show(rows: list[dict[str, Any]]) -> None:
    from crowdlearn.cli.tables import number, show

    show(
        "Methods, lowest error first",
        (
            "method",
            "error %",
            "log loss",
            "ECE",
            "seconds",
            "error above the best",
            "runs",
        ),
        [
            (
                row["method"],
                _with_spread(row, "error", 100, 2),
                _with_spread(row, "log_loss", 1, 3),
                number(row["ece"]),
                number(row["seconds"], 2),
                _difference(row),
                str(row["n_runs"]),
            )
            for row in rows
        ],
    )
    typer.echo(
        "± is the spread over seeds; above the best: percentage points, 95% interval over items"
    )
    for row in rows:
        if row["failed"] is not None:
            say(f"warning: {row['method']} failed: {row['failed']}", "yellow")


def _with_spread(row: dict[str, Any], name: str, times: int, digits: int) -> str:
    """`mean ± standard deviation over seeds`; the mean alone where there is one run."""
    from crowdlearn.cli.tables import number

    spread = row[f"{name}_spread"]
    mean = number(row[name] * times, digits)
    return mean if spread != spread else f"{mean} ± {number(spread * times, digits)}"


def _difference(row: dict[str, Any]) -> str:
    if row["error_difference"] is None:
        return "–"
    if row["error_difference"] == row["error_difference_low"] == row["error_difference_high"] == 0:
        return "0"
    low, high = 100 * row["error_difference_low"], 100 * row["error_difference_high"]
    return f"{100 * row['error_difference']:+.2f} ({low:+.2f} to {high:+.2f})"
