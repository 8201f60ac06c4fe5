"""Files of votes to a result in one call, whether or not the votes fit into memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crowdlearn.aggregators import aggregator
from crowdlearn.errors import SettingsError
from crowdlearn.io import read_votes

if TYPE_CHECKING:
    from crowdlearn.aggregation import Aggregation, OnSweep
    from crowdlearn.shards.coding import Progress
    from crowdlearn.shards.result import ShardedAggregation


def aggregate(
    source: Any,
    method: Any = "bcc",
    *,
    device: str | None = None,
    memory: int | str | None = None,
    n_actors: int | None = None,
    checkpoint: str | Path | None = None,
    coded: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    classes: Sequence[Any] | None = None,
    drop_missing: bool = False,
    gold: Any = None,
    on_sweep: OnSweep | None = None,
    progress: Progress | None = None,
) -> Aggregation | ShardedAggregation:
    """Read the votes of a source and fit a method, named or made, to them.

    device      where: that of the method if left out. "ray" and "ray://HOST:PORT" are a cluster;
                "auto" is one too where the process has joined one, or RAY_ADDRESS names one
    memory      what a fit on this machine may take, in bytes or as "4GB"
    n_actors    on a cluster; None: one for each core
    checkpoint  folder in which the fit notes how far it is; the same call goes on from it
    coded       folder for the coded votes, used again by the next call with the same source
    progress    told how far the coding of the votes is

    With any of these but `device`, and on a cluster, the votes never are in memory at once: they
    are coded into `coded` (see `code_votes`), or `checkpoint`/coded, or a temporary folder, which
    all machines must see under one path. What comes back then is a `ShardedAggregation`: `save`
    it. The temporary folder goes with it. Without them it is `method.fit(read_votes(source))`.

    Raises VotesError for bad input, SettingsError for a method that does not take coded votes.
    """
    from crowdlearn.shards.amounts import bytes_of
    from crowdlearn.shards.homes import home_of
    from crowdlearn.shards.kept import coded_votes

    chosen = aggregator(method) if isinstance(method, str) else method
    own = getattr(chosen, "device", "auto")
    asked = coded is not None or checkpoint is not None
    home = home_of(
        chosen.name, device or (None if own == "auto" else own), bytes_of(memory), n_actors, asked
    )
    reading: dict[str, Any] = {
        "columns": columns, "classes": classes, "drop_missing": drop_missing
    }  # fmt: skip
    if home is None:
        votes: Any = read_votes(source, **reading)
        return on_device(chosen, device).fit(votes, gold=gold, on_sweep=on_sweep)
    votes = coded_votes(
        source, coded, device=home, memory=bytes_of(memory), n_actors=n_actors,
        checkpoint=checkpoint, progress=progress, **reading,
    ).votes  # fmt: skip
    return on_device(chosen, home).fit(votes, gold=gold, on_sweep=on_sweep)


def on_device(method: Any, device: str | None) -> Any:
    """The method with this device; as it is where none is named. Raises SettingsError."""
    known = {field.name for field in fields(method)}
    if device is None or (device == "auto" and "device" not in known):
        return method
    if "device" not in known:
        raise SettingsError(f"{method.name} has no setting 'device'")
    return replace(method, device=device)
