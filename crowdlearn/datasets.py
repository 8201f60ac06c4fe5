"""Public sets of real votes: one ships with the package, the others are fetched or read from disk.

`load` looks in three places: the package (`anesthesia`), the folder that the environment variable
CROWDLEARN_DATA names (`<name>/labels.csv[.gz]` and `truth.csv`), and the cache that `fetch` fills.
Sources are pinned to a commit. Their bytes were not at hand when the table was written, so what is
fetched is verified not by a hash but by what it must hold: the numbers of items, workers, votes,
classes and truths of the table. Where a source gives the worker ids of a labour market, `load`
gives them as they are there; prepared folders may have them replaced.
"""

from __future__ import annotations

import os
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from crowdlearn.errors import VotesError
from crowdlearn.io import read_truth, read_votes
from crowdlearn.reading.fetching import fetch_into
from crowdlearn.reading.public import DATASETS, Dataset
from crowdlearn.votes import Votes

__all__ = ["DATASETS", "NAMES", "Dataset", "fetch", "load", "load_truth"]

NAMES = tuple(DATASETS)

BUNDLED = {"anesthesia": "anesthesia.csv"}


def load(name: str) -> Votes:
    """The votes of a public set. Raises VotesError for an unknown name, or one not at hand."""
    dataset = _known(name)
    if name in BUNDLED:
        with as_file(files("crowdlearn") / "data" / BUNDLED[name]) as path:
            return _checked(name, read_votes(path), dataset)
    path = _folder(name) / "labels.csv"
    if not path.exists():
        path = path.with_suffix(".csv.gz")
    return _checked(name, read_votes(path), dataset)


def load_truth(name: str, votes: Votes) -> Int32[np.ndarray, " item"]:
    """True class codes of the items of `votes`, -1 where unknown; all of them for a set without.

    Raises VotesError as `load` does.
    """
    if _known(name).truths == 0:
        return np.full(votes.n_items, -1, dtype=np.int32)
    return read_truth(_folder(name) / "truth.csv", votes)


def fetch(name: str, *, base_url: str | None = None, cache: Path | None = None) -> Path:
    """Get a public set from its source into the cache, verify its counts; the folder it lies in.

    A set that is there already is not fetched again. `base_url` names another server with the same
    layout, `cache` another folder. Raises VotesError where the network does not give it, or where
    it is not what the table says; OutputError where the cache cannot be written.
    """
    dataset = _known(name)
    folder = (cache or cache_folder()) / name
    if name not in BUNDLED and not (folder / "labels.csv").exists():
        fetch_into(folder, name, dataset, base_url)
    return folder


def cache_folder() -> Path:
    """Where `fetch` keeps what it got."""
    import pooch

    return Path(pooch.os_cache("crowdlearn"))


def _known(name: str) -> Dataset:
    if name not in DATASETS:
        raise VotesError(f"there is no data set {name!r}: choose from {', '.join(DATASETS)}")
    return DATASETS[name]


def _folder(name: str) -> Path:
    """The prepared folder of a set: in CROWDLEARN_DATA, else in the cache."""
    prepared = os.environ.get("CROWDLEARN_DATA")
    places = [Path(prepared).expanduser() / name] if prepared else []
    for folder in [*places, cache_folder() / name]:
        if (folder / "labels.csv").exists() or (folder / "labels.csv.gz").exists():
            return folder
    raise VotesError(
        f"{name} is not on this machine: run 'crowdlearn datasets fetch {name}', or name a folder "
        "that holds it in the environment variable CROWDLEARN_DATA"
    )


def _checked(name: str, votes: Votes, dataset: Dataset) -> Votes:
    found = (votes.n_items, votes.n_workers, votes.n_votes, votes.n_classes)
    expected = (dataset.items, dataset.workers, dataset.votes, dataset.classes)
    if found != expected:
        raise VotesError(
            f"{name}: holds {found} items, workers, votes and classes, where {expected} were "
            f"published: remove it and run 'crowdlearn datasets fetch {name}'"
        )
    return votes
