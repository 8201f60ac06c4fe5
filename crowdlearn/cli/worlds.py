"""`crowdlearn simulate`: votes whose truth is known."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crowdlearn.cli.exits import as_json, print_json
from crowdlearn.cli.options import JsonOption, world_settings
from crowdlearn.errors import SettingsError

if TYPE_CHECKING:
    from crowdlearn.simulate import World


def simulate(
    world: Annotated[
        str, typer.Argument(help="Name of the story, as dawid-skene.", show_default=False)
    ],
    out: Annotated[str, typer.Option(help="Folder for labels.csv, truth.csv and workers.csv.")],
    items: Annotated[int, typer.Option(help="Number of items.", min=1)] = 1000,
    workers: Annotated[int, typer.Option(help="Number of workers.", min=1)] = 50,
    classes: Annotated[int, typer.Option(help="Number of classes.", min=2)] = 3,
    votes_per_item: Annotated[
        int | None,
        typer.Option(help="Votes of different workers an item.", show_default="by story", min=1),
    ] = None,
    zipf: Annotated[
        float | None,
        typer.Option(help="Skewed workloads: popularity of workers is rank to minus this."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="A setting of the story; may be repeated."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all that is drawn.")] = 0,
    json: JsonOption = False,
) -> None:
    """Draw votes from a story, and write them with their truth.

    Stories: dawid-skene, one-coin, bcc, idbla, fixed-idbla, ebcc, bila-uniform, bila-bimodal,
    adversarial, spammers, colluding, drifting, hierarchical.
    """
    from crowdlearn.simulate import WORLDS

    if world not in WORLDS:
        raise SettingsError(f"there is no world {world!r}: choose from {', '.join(WORLDS)}")
    story: Any = WORLDS[world]
    chosen = world_settings(story, settings)
    if votes_per_item is not None or zipf is not None:
        chosen["assign"] = _assignment(votes_per_item or 5, zipf)
    drawn = story(items, workers, classes, seed=seed, **chosen)
    record = {
        "world": world,
        "items": items,
        "workers": workers,
        "classes": classes,
        "votes_per_item": votes_per_item,
        "zipf": zipf,
        "seed": seed,
        "set": settings or [],
    }
    _write(drawn, out, record)
    if json:
        print_json({**record, "n_votes": drawn.votes.n_votes, "out": out})
    else:
        typer.echo(
            f"{drawn.votes!r}\nWritten to {out}: labels.csv, truth.csv, workers.csv, world.json"
        )
        typer.echo(
            f"Next: crowdlearn compare {Path(out) / 'labels.csv'} --truth {Path(out) / 'truth.csv'}"
        )


def _assignment(votes_per_item: int, zipf: float | None) -> Any:
    from crowdlearn.simulate import fixed_per_item, zipf_workers

    return fixed_per_item(votes_per_item) if zipf is None else zipf_workers(votes_per_item, zipf)


def _write(drawn: World, out: str, record: dict[str, Any]) -> None:
    """Votes, truth, and the accuracy that workers were drawn with; whole or not at all."""
    import numpy as np
    import pyarrow as pa
    from pyarrow.csv import write_csv

    from crowdlearn.io import new_folder

    votes = drawn.votes
    truth = {"task": votes.items, "label": pa.array(votes.classes).take(pa.array(drawn.truth))}
    accuracy = np.einsum("wkk,k->w", drawn.confusion, drawn.prior)
    with new_folder(out) as path:
        write_csv(votes.to_table(), path / "labels.csv")
        write_csv(pa.table(truth), path / "truth.csv")
        write_csv(pa.table({"worker": votes.workers, "accuracy": accuracy}), path / "workers.csv")
        (path / "world.json").write_text(json_text.dumps(as_json(record), indent=1) + "\n")
