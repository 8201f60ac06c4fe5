"""The `fedsec` command and the table of what it can do."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from fedsec import __version__
from fedsec.cli.audit import audit
from fedsec.cli.contribution import contribution
from fedsec.cli.data import data
from fedsec.cli.diffusion import diffusion
from fedsec.cli.distill import distill
from fedsec.cli.exits import INTERRUPTED, Commands
from fedsec.cli.invert import invert
from fedsec.cli.steal import steal
from fedsec.cli.train import train

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _print_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"fedsec {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def fedsec(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """What leaks in federated learning, and who contributes: audit your own systems."""


for command in (train, contribution, invert, audit, distill, steal):
    app.command()(command)
app.add_typer(diffusion, name="diffusion")
app.add_typer(data, name="data")


def main() -> None:
    """Run the command line; the entry point of the package."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
