"""A Ray cluster: joining one, how many actors it takes, and whether its memory will do."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from crowdlearn.errors import CrowdlearnError, SettingsError, VotesError
from crowdlearn.shards.shard import BYTES_A_GROUPED_VOTE, RUNTIME
from crowdlearn.shards.votes import ShardedVotes
from crowdlearn.sweeps.cuts import Cut

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # leave a GPU's variables be
os.environ.setdefault("RAY_worker_niceness", "0")  # a fit is what its user waits for; Ray says 15

try:
    import ray
except ImportError as error:
    raise ImportError("device 'ray' needs Ray: pip install 'crowdlearn[ray]'") from error

GONE = ray.exceptions.ObjectLostError
"""The error that says that a machine took along what was asked for."""
LOST = (GONE, ray.exceptions.RayActorError)
"""Those that say so of a process, too, that was at it."""


def connect(device: str) -> None:
    """Join the cluster: a running one where there is one, else one on this machine."""
    if ray.is_initialized():
        return
    options: dict[str, Any] = {"log_to_driver": False, "include_dashboard": False}
    if device.startswith("ray://"):
        ray.init(address=device, log_to_driver=False)
        return
    try:
        ray.init(address="auto", log_to_driver=False)
    except ConnectionError:
        ray.init(**options)


def ranges_of(votes: ShardedVotes, n: int) -> list[tuple[int, int]]:
    """At most `n` ranges of buckets with about equally many votes each."""
    ends = votes.bucket_votes.cumsum()
    targets = np.linspace(0, ends[-1], n + 1)[1:-1]
    cuts = np.searchsorted(ends, targets) + 1
    edges = [0, *sorted({int(c) for c in cuts if 0 < c < votes.n_buckets}), votes.n_buckets]
    return list(zip(edges[:-1], edges[1:], strict=True))


def need_of(
    votes: ShardedVotes, span: tuple[int, int], n_states: int, cut: Cut | None = None
) -> int:
    """Bytes that an actor with these buckets takes, about, without Ray's object store."""
    own = slice(*span)
    tables = 2 * 8 * votes.n_workers * votes.n_classes * n_states
    per_item, per_vote = 8 * (2 * n_states + 4), 24
    if cut is not None:
        tables, per_vote = 4 * cut.block_bytes, per_vote + BYTES_A_GROUPED_VOTE
        per_item += 4 * n_states
    return int(
        RUNTIME + tables + per_vote * votes.bucket_votes[own].sum()
        + per_item * votes.bucket_items[own].sum()
    )  # fmt: skip


def n_actors_of(votes: ShardedVotes, threads: int) -> int:
    cores = int(ray.cluster_resources().get("CPU", 1))
    wanted = max(cores // threads, 1) if votes.n_actors is None else votes.n_actors
    if wanted < 1:
        raise SettingsError(f"n_actors = {wanted}: give at least 1")
    if wanted * threads > cores:
        raise SettingsError(
            f"{wanted} actors of {threads} threads: the cluster has {cores} cores; give n_actors ="
            f" {max(cores // threads, 1)}, or fewer threads"
        )
    return min(wanted, votes.n_buckets)


def places(n: int) -> list[Any]:
    """Machines for `n` actors, by their cores; one that is lost may be built anew on another.

    Ray heeds these for actors that reserve something; others it places by chance.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    alive = sorted((one for one in ray.nodes() if one["Alive"]), key=lambda one: one["NodeID"])
    cores = [
        one["NodeID"] for one in alive for _ in range(int(one["Resources"].get("CPU", 0)))
    ] or [one["NodeID"] for one in alive]
    return [NodeAffinitySchedulingStrategy(cores[k * len(cores) // n], soft=True) for k in range(n)]


def check_memory(
    votes: ShardedVotes, ranges: Sequence[tuple[int, int]], n_states: int, cut: Cut | None
) -> None:
    """Raise VotesError where the cluster's memory cannot hold what the actors need."""
    needs = [need_of(votes, span, n_states, cut) for span in ranges]
    there = int(ray.cluster_resources().get("memory", 0))
    if there and sum(needs) > there:
        raise VotesError(
            f"an actor needs up to {max(needs) / 2**30:.1f} GiB, all {len(needs)} together"
            f" {sum(needs) / 2**30:.1f} GiB, and the cluster has {there / 2**30:.1f} GiB: add"
            " machines, or fit on one with open_votes(..., memory=...), which takes turns"
        )


def got(ref: Any) -> Any:
    """What a reference stands for, or several; an error of ours is raised as it was, `LOST` too."""
    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, (CrowdlearnError, *LOST)):
            raise error.cause from None
        raise
