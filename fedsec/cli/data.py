"""`fedsec data`: the image sets, where they are, and how to get them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from fedsec.cli.exits import print_json
from fedsec.cli.flags import JsonOption

FolderOption = Annotated[
    str | None, typer.Option(help="Folder with the .npz files, in place of FEDSEC_DATA.")
]

data = typer.Typer(help="List, fetch and look at image sets.", no_args_is_help=True)


@data.command("list")
def list_sets(data_dir: FolderOption = None, json: JsonOption = False) -> None:
    """List the image sets that have a name, and where they are."""
    from fedsec.cli.tables import show
    from fedsec.data.images import IMAGE_SETS

    rows = [(name, len(classes), found_at(name, data_dir)) for name, classes in IMAGE_SETS.items()]
    if json:
        for name, n_classes, place in rows:
            print_json({"name": name, "classes": n_classes, "found": place})
        return
    show(
        "Image sets",
        ("name", "classes", "found"),
        [(name, str(n), place or f"fedsec data fetch {name}") for name, n, place in rows],
    )


@data.command("fetch")
def fetch_set(
    name: Annotated[str, typer.Argument(help="mnist, fashion-mnist or cifar10.")],
    data_dir: Annotated[str | None, typer.Option(help="Folder to keep it in.")] = None,
    json: JsonOption = False,
) -> None:
    """Fetch an image set from its public source, and check it."""
    from fedsec.data.fetching import fetch_images

    if name == "digits":
        path = None
    else:
        path = str(fetch_images(name, cache=data_dir))
    if json:
        print_json({"name": name, "path": path})
    elif path is None:
        typer.echo("digits come with scikit-learn: there is nothing to fetch")
    else:
        typer.echo(f"{name} is in {path}")


@data.command("show")
def show_set(
    name: Annotated[str, typer.Argument(help="Name of the set, or the path of an .npz file.")],
    data_dir: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Say how many images of which size and class a set has, and where it was found."""
    import numpy as np

    from fedsec.cli.tables import show
    from fedsec.data.images import load_images

    images = load_images(name, data_dir)
    place, n_classes = found_at(name, data_dir), len(images.classes)
    train, test = (
        np.bincount(part.y.numpy(), minlength=n_classes).tolist()
        for part in (images.train, images.test)
    )
    channels, height, width = images.train.x.shape[1:]
    if json:
        print_json({
            "name": images.name, "found": place, "channels": channels, "height": height,
            "width": width, "classes": list(images.classes), "train": train, "test": test,
        })  # fmt: skip
        return
    show(
        f"{images.name}: {len(images.train):,} training and {len(images.test):,} test images,"
        f" {channels} x {height} x {width}; {place}",
        ("class", "code", "training", "test"),
        [
            (class_, str(code), f"{train[code]:,}", f"{test[code]:,}")
            for code, class_ in enumerate(images.classes)
        ],
    )


def found_at(name: str, folder: str | None) -> str | None:
    """Where `load_images` finds a set; None where it does not."""
    from fedsec.data.fetching import cache_folder

    if name == "digits":
        return "scikit-learn"
    if name.endswith(".npz"):
        return name if Path(name).expanduser().is_file() else None
    given = [folder] if folder else [os.environ.get("FEDSEC_DATA"), str(cache_folder())]
    places = [Path(place).expanduser() / f"{name}.npz" for place in given if place]
    return next((str(place) for place in places if place.is_file()), None)
