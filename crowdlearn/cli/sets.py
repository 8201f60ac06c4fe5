"""`crowdlearn datasets`: the public sets of real votes."""

from __future__ import annotations

from typing import Annotated

import typer

from crowdlearn.cli.exits import print_json
from crowdlearn.cli.options import JsonOption

datasets = typer.Typer(help="List and fetch public sets of real votes.", no_args_is_help=True)


@datasets.command("list")
def list_sets(json: JsonOption = False) -> None:
    """List the public sets that the package knows. With --json one object a set."""
    from dataclasses import asdict

    from crowdlearn.cli.tables import show
    from crowdlearn.datasets import DATASETS

    if json:
        for name, dataset in DATASETS.items():
            print_json({"name": name, **asdict(dataset)})
        return
    rows = [
        (
            name,
            *(f"{n:,}" for n in (d.items, d.workers, d.votes, d.classes, d.truths)),
        )
        for name, d in DATASETS.items()
    ]
    show("Public sets", ("name", "items", "workers", "votes", "classes", "truths"), rows)


@datasets.command("fetch")
def fetch_set(
    name: Annotated[str, typer.Argument(help="Name of the set.", show_default=False)],
    json: JsonOption = False,
) -> None:
    """Fetch a set from its source into the cache, and verify it."""
    from crowdlearn.datasets import BUNDLED, fetch

    folder = None if name in BUNDLED else str(fetch(name))
    if json:
        print_json({"name": name, "folder": folder})
    elif folder is None:
        typer.echo(f"{name} ships with the package: there is nothing to fetch")
    else:
        typer.echo(f"{name} is in {folder}")
