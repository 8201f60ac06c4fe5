"""The `crowdlearn` command and the table of what it can do."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from crowdlearn import __version__
from crowdlearn.cli.aggregate import aggregate, demo
from crowdlearn.cli.compare import compare
from crowdlearn.cli.criticise import criticise
from crowdlearn.cli.exits import INTERRUPTED, Commands
from crowdlearn.cli.look import agreement, explain, workers
from crowdlearn.cli.pipeline import pipeline
from crowdlearn.cli.serve import review, serve
from crowdlearn.cli.sets import datasets
from crowdlearn.cli.shards import shards
from crowdlearn.cli.store import store
from crowdlearn.cli.stream import stream
from crowdlearn.cli.twins import twins
from crowdlearn.cli.worlds import simulate

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _print_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"crowdlearn {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def crowdlearn(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """True labels from imperfect sources: aggregate crowd votes, with uncertainty."""


for command in (
    demo, aggregate, stream, pipeline, compare, workers, agreement, explain, twins, criticise,
    simulate, review, serve,
):  # fmt: skip
    app.command()(command)
app.add_typer(datasets, name="datasets")
app.add_typer(store, name="store")
app.add_typer(shards, name="shards")


def main() -> None:
    """Run the command line; the entry point of the package."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
