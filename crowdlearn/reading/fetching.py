"""Public sets over the network: fetched, rewritten as plain tables, verified, kept whole."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa

from crowdlearn.errors import VotesError
from crowdlearn.output import new_folder, write_csv
from crowdlearn.reading.public import Dataset
from crowdlearn.reading.raw import LAYOUTS, Truths, Votes

BASE_URL = "https://raw.githubusercontent.com"


def fetch_into(folder: Path, name: str, dataset: Dataset, base_url: str | None = None) -> None:
    """Fetch a set into a new folder as labels.csv and truth.csv.

    Raises VotesError where the source cannot be reached, or does not hold what the table says.
    """
    if not dataset.files:
        raise VotesError(
            f"{name} is not fetched ({dataset.note}): get it from {dataset.source}, write it as "
            "labels.csv and truth.csv, and name its parent folder in CROWDLEARN_DATA"
        )
    with new_folder(folder) as temporary:
        paths = _download(temporary / "source", name, dataset, base_url or BASE_URL)
        try:
            votes, truths = LAYOUTS[dataset.layout](paths)
        except (ValueError, KeyError, IndexError, UnicodeDecodeError) as error:
            raise VotesError(f"{name}: the source has changed its form: {error!r}") from error
        verify(name, dataset, votes, truths)
        _write(temporary, votes, truths)


def verify(name: str, dataset: Dataset, votes: Votes, truths: Truths) -> None:
    """Raise VotesError where the counts are not those of the table."""
    items = {vote[0] for vote in votes}
    found = {
        "items": len(items),
        "workers": len({vote[1] for vote in votes}),
        "votes": len(votes),
        "classes": len({vote[2] for vote in votes}),
        "truths": len({item for item, _ in truths if item in items}),
    }
    for what, count in found.items():
        expected = getattr(dataset, what)
        if count != expected:
            raise VotesError(
                f"{name}: the source holds {count:,} {what}, where {expected:,} were published: it "
                "was changed, or did not arrive whole; try again later"
            )


def _download(folder: Path, name: str, dataset: Dataset, base_url: str) -> list[Path]:
    import pooch

    repository, commit = dataset.source.split("@")
    logger = pooch.get_logger()
    level = logger.level
    paths = []
    try:
        logger.setLevel(logging.WARNING)
        for number, file in enumerate(dataset.files):
            url = f"{base_url}/{repository}/{commit}/{quote(file)}"
            target = f"{number}_{Path(file).name}"
            paths.append(Path(pooch.retrieve(url, None, fname=target, path=folder)))
    except OSError as error:  # what requests and urllib raise, too
        raise VotesError(
            f"{name}: cannot be fetched from {url}: {error}; is this machine on the network? A "
            "prepared folder can be named in CROWDLEARN_DATA instead"
        ) from error
    finally:
        logger.setLevel(level)
    return paths


def _write(folder: Path, votes: Votes, truths: Truths) -> None:
    write_csv(_columns(("task", "worker", "label"), votes), folder / "labels.csv")
    write_csv(_columns(("task", "label"), truths), folder / "truth.csv")


def _columns(names: Sequence[str], rows: Sequence[tuple[str, ...]]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else ((),) * len(names)
    arrays = {
        name: pa.array(values, pa.string()) for name, values in zip(names, columns, strict=True)
    }
    return pa.table(arrays)
