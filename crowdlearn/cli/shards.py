"""`crowdlearn shards`: votes larger than memory, coded once, fitted in turn or on a cluster."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from crowdlearn.cli.exits import INTERRUPTED, print_json, say
from crowdlearn.cli.options import (
    ClassesOption,
    ColumnsOption,
    DropOption,
    JsonOption,
    MethodOption,
    QuietOption,
    SeedOption,
    SetOption,
    SweepsOption,
    ToleranceOption,
    VotesArgument,
    classes_of,
    columns_of,
    make_method,
    source_of,
)
from crowdlearn.errors import SettingsError

shards = typer.Typer(
    help="Votes larger than memory: code them once, then fit.", no_args_is_help=True
)
UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "ki": 2**10, "mi": 2**20, "gi": 2**30}


@shards.command()
def code(
    votes: VotesArgument,
    out: Annotated[str, typer.Option(help="New folder for the coded votes.")],
    columns: ColumnsOption = None,
    classes: ClassesOption = None,
    drop_missing: DropOption = False,
    buckets: Annotated[
        int | None,
        typer.Option(help="Parts to cut the items into.", show_default="by the number of votes"),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Code files of votes into a folder of buckets, with little in memory at any time.

    All votes of an item meet in one bucket, whatever files they stand in. The folder is there
    whole, or not at all.
    """
    from crowdlearn.cli.fitting import watched
    from crowdlearn.shards import code_votes

    with _bar(watched(json, quiet)) as tell:
        coded = code_votes(
            source_of(votes), out, columns=columns_of(columns), classes=classes_of(classes),
            drop_missing=drop_missing, n_buckets=buckets, progress=tell,
        )  # fmt: skip
    if json:
        print_json(
            {"out": out, "n_votes": coded.n_votes, "n_items": coded.n_items,
             "n_workers": coded.n_workers, "classes": list(coded.classes),
             "n_buckets": coded.n_buckets}
        )  # fmt: skip
    elif not quiet:
        typer.echo(f"{coded.n_votes:,} votes on {coded.n_items:,} items by {coded.n_workers:,}"
                   f" workers, in {coded.n_buckets} buckets: {out}")  # fmt: skip


@shards.command()
def fit(
    coded: Annotated[str, typer.Argument(help="Folder that `crowdlearn shards code` made.")],
    out: Annotated[str, typer.Option(help="New folder for the result.")],
    method: MethodOption = None,
    settings: SetOption = None,
    seed: SeedOption = None,
    max_sweeps: SweepsOption = None,
    tolerance: ToleranceOption = None,
    device: Annotated[
        str, typer.Option(help="cpu (this machine), ray (a cluster, or this machine), ray://HOST.")
    ] = "cpu",
    memory: Annotated[
        str | None,
        typer.Option(
            help="What a fit on this machine may take, as 4GB: buckets then take turns.",
            show_default="all votes at once",
        ),
    ] = None,
    actors: Annotated[
        int | None, typer.Option(help="On a cluster.", show_default="one for each core")
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Folder to note how far the fit is; the same command goes on from it."),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fit coded votes; posteriors are written as Parquet, a part a bucket.

    OUT gets posterior/, workers.parquet, summary.json and the parameters. Ctrl-C stops after the
    current sweep and keeps the result so far (exit code 130).
    """
    from crowdlearn.cli.fitting import fit_or_stop, watched
    from crowdlearn.shards import open_votes

    refuse_others(method)
    flags = {"seed": seed, "max_sweeps": max_sweeps, "tolerance": tolerance, "device": device}
    chosen = make_method(method, flags, settings)
    votes = open_votes(coded, memory=bytes_of(memory), n_actors=actors, checkpoint=checkpoint)
    found: Any
    found, interrupted = fit_or_stop(chosen, votes, progress=watched(json, quiet))
    found.save(out)
    summary = found.summary()
    if json:
        print_json(summary | {"out": out})
    elif not quiet:
        state = "converged" if summary["converged"] else "not converged"
        typer.echo(
            f"{found.method}: {summary['n_sweeps']:,} sweeps, {state}, {found.seconds:.1f} s;"
            f" expected error {summary['expected_error']:.2%}; written to {out}"
        )
    if interrupted:
        say(f"interrupted: the result after {summary['n_sweeps']:,} sweeps was written", "yellow")
        raise typer.Exit(INTERRUPTED)


def refuse_others(method: str | None) -> None:
    """Raise SettingsError for a method that cannot fit coded votes."""
    from crowdlearn.cli.options import DEFAULT_METHOD
    from crowdlearn.shards.votes import METHODS

    if (method or DEFAULT_METHOD) not in METHODS:
        raise SettingsError(
            f"--method {method}: is none that fits coded votes: choose from {', '.join(METHODS)}"
        )


def bytes_of(text: str | None) -> int | None:
    """Bytes that "4GB", "500MB" or "2GiB" means. Raises SettingsError."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?i?)b?\s*", text.lower())
    if found is None or found[2] not in UNITS or float(found[1]) == 0:
        raise SettingsError(f"--memory {text!r}: give an amount as 4GB or 500MiB")
    return int(float(found[1]) * UNITS[found[2]])


def _bar(wanted: bool) -> Any:
    from contextlib import contextmanager

    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    @contextmanager
    def shown() -> Any:
        columns = TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn()
        with Progress(*columns, console=Console(stderr=True), disable=not wanted) as progress:
            tasks: dict[str, Any] = {}

            def tell(name: str, done: int, of: int) -> None:
                if name not in tasks:
                    tasks[name] = progress.add_task(name, total=of)
                progress.update(tasks[name], completed=done)

            yield tell

    return shown()
