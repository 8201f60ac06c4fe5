"""Saved results: the folder that `Aggregation.save` wrote, back as an Aggregation."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crowdlearn.aggregation import FORMAT, Aggregation, Draws, History, Interval
from crowdlearn.errors import VotesError
from crowdlearn.predictors import Predictor, from_arrays
from crowdlearn.soft_votes import SoftVotes
from crowdlearn.votes import Votes


def load_aggregation(path: str | Path) -> Aggregation:
    """The result that `Aggregation.save` wrote.

    Raises VotesError where a file is missing or damaged, or was written in another format.
    """
    folder = Path(path).expanduser()
    summary = _summary(folder)
    try:
        arrays = _arrays(folder / "arrays.npz")
        predictor = from_arrays(_arrays(folder / "predictor.npz"))
        votes = _saved_votes(folder, summary["classes"])
        return _assembled(summary, arrays, votes, predictor)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, pa.ArrowException) as error:
        raise VotesError(
            f"{folder}: is not a whole result ({error}); fit again, and save to a new folder"
        ) from error


def _summary(folder: Path) -> dict[str, Any]:
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise VotesError(f"{folder}: holds no saved result (no summary.json)") from error
    except (OSError, ValueError) as error:
        raise VotesError(f"{folder / 'summary.json'}: cannot be read: {error}") from error
    found = summary.get("format") if isinstance(summary, dict) else None
    if found != FORMAT:
        raise VotesError(
            f"{folder}: is in format {found!r}, where this version reads {FORMAT}: fit again, or "
            "use the version that wrote it"
        )
    return dict(summary)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
        return dict(file)


def _saved_votes(folder: Path, classes: list[str]) -> Votes:
    import pyarrow.parquet as pq

    items = pq.read_table(folder / "posterior.parquet", columns=["task"])["task"].combine_chunks()
    workers = pq.read_table(folder / "workers.parquet", columns=["worker"])["worker"]
    workers = workers.combine_chunks()
    votes = pq.read_table(folder / "votes.parquet")
    names = {"task": items, "worker": workers, "label": pa.array(classes)}
    if "label" not in votes.column_names:
        return _saved_soft_votes(votes, items, workers, classes)
    item, worker, label = (
        pc.index_in(votes[column], known).combine_chunks().to_numpy()
        for column, known in names.items()
    )
    return Votes.from_codes(item, worker, label, items=items, workers=workers, classes=classes)


def _saved_soft_votes(
    votes: pa.Table, items: pa.Array, workers: pa.Array, classes: list[str]
) -> Votes:
    item, worker = (
        pc.index_in(votes[column], known).combine_chunks().to_numpy()
        for column, known in (("task", items), ("worker", workers))
    )
    opinion = np.stack([votes[f"p_{name}"].to_numpy() for name in classes], axis=1)
    return SoftVotes.from_opinions(
        item, worker, opinion, items=items, workers=workers, classes=classes
    )


def _assembled(
    summary: dict[str, Any], arrays: dict[str, np.ndarray], votes: Votes, predictor: Predictor
) -> Aggregation:
    accuracy = _bag(arrays, "accuracy")
    return Aggregation(
        method=summary["method"],
        settings=summary["settings"],
        votes=votes,
        **{k: arrays[k] for k in ("posterior", "labels", "prior", "confusion", "gold")},
        worker_accuracy=Interval(**accuracy | {"level": float(accuracy["level"])}),
        history=History(
            bound=arrays["bound"],
            change=arrays["change"],
            bound_name=summary["bound_name"],
            converged=summary["converged"],
            stopped=summary["stopped"],
            held_out=arrays.get("held_out"),
        ),
        predictor=predictor,
        seconds=summary["seconds"],
        difficulty=arrays.get("difficulty"),
        draws=Draws.from_arrays(arrays),
        sampler=_bag(arrays, "sampler"),
        warnings=tuple(summary["warnings"]),
    )


def _bag(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, Any]:
    """The arrays whose names start with the prefix, without it."""
    start = f"{prefix}_"
    return {key.removeprefix(start): v for key, v in arrays.items() if key.startswith(start)}
