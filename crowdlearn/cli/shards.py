"""`crowdlearn shards`: votes larger than memory, coded once, fitted in turn or on a cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from crowdlearn.cli.exits import print_json
from crowdlearn.cli.options import (
    DEFAULT_METHOD,
    ActorsOption,
    CheckpointOption,
    ClassesOption,
    ColumnsOption,
    DropOption,
    GoldOption,
    JsonOption,
    MemoryOption,
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

shards = typer.Typer(
    help="Votes larger than memory, in two steps: code them once, then fit as often as wanted.",
    no_args_is_help=True,
)
ShardsDeviceOption = Annotated[
    str,
    typer.Option(
        help="cpu (this machine), ray (a cluster, or this machine), ray://HOST:PORT, or auto: ray "
        "in a process that belongs to a cluster, else cpu."
    ),
]


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
    device: ShardsDeviceOption = "cpu",
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Code files of votes into a folder of buckets, with little in memory at any time.

    All votes of an item meet in one bucket, whatever files they stand in. The folder is there
    whole, or not at all.
    """
    from crowdlearn.cli.fitting import watched
    from crowdlearn.cli.progress import coding_bar
    from crowdlearn.output import check_folder
    from crowdlearn.shards import code_votes
    from crowdlearn.shards.homes import home_of

    check_folder(out)
    home = home_of(DEFAULT_METHOD, device, None, None, asked=True)
    with coding_bar(watched(json, quiet)) as tell:
        coded = code_votes(
            source_of(votes), out, columns=columns_of(columns), classes=classes_of(classes),
            drop_missing=drop_missing, n_buckets=buckets, device=home or device,
            progress=tell,
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
    gold: GoldOption = None,
    settings: SetOption = None,
    seed: SeedOption = None,
    max_sweeps: SweepsOption = None,
    tolerance: ToleranceOption = None,
    device: ShardsDeviceOption = "cpu",
    memory: MemoryOption = None,
    actors: ActorsOption = None,
    checkpoint: CheckpointOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fit coded votes; posteriors are written as Parquet, a part a bucket.

    OUT gets posterior/, workers.parquet, summary.json and the parameters. Ctrl-C stops after the
    current sweep and keeps the result so far (exit code 130).
    """
    from crowdlearn.cli.coded import fit_coded
    from crowdlearn.output import check_folder
    from crowdlearn.shards import open_votes
    from crowdlearn.shards.amounts import bytes_of
    from crowdlearn.shards.homes import home_of

    room = bytes_of(memory)
    home = home_of(method or DEFAULT_METHOD, device, room, actors, asked=True)
    flags = {"seed": seed, "max_sweeps": max_sweeps, "tolerance": tolerance, "device": home}
    chosen = make_method(method, flags, settings)
    check_folder(out)
    votes = open_votes(coded, memory=room, n_actors=actors, checkpoint=checkpoint)
    fit_coded(votes, chosen, out, gold=gold, json=json, quiet=quiet)
