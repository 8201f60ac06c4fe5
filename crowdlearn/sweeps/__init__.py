"""The passes over the votes that every conjugate crowd method is made of, per home.

A method is a small update of tables between two passes, and each pass is two sums over votes:

    evidence[i, s] = sum over votes v of item i of    score[worker v, label v, s]
    counts[w, c, s] = sum over votes v of worker w with label c of    weight[item v, s]

Here `s` runs over states: the classes, or subtypes of classes. Tables are laid out
(worker, label, state), so that one vote touches one contiguous row.

`cpu.py` is numba, `gpu.py` is JAX; `sweeper` picks one by the setting `device`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import digamma, gammaln

from crowdlearn.errors import SettingsError
from crowdlearn.votes import Votes, VoteSet


@dataclass(frozen=True, eq=False)
class Sums:
    """What one pass leaves behind besides the posterior. The next pass may overwrite `counts`."""

    counts: Any  # flat (worker, label, state); `CutCounts` where tables are cut by workers
    totals: Float[np.ndarray, " state"]  # sum over items of the posterior, or of the draws
    bound: float  # log evidence summed over items, nats
    change: float = math.nan  # largest change of a posterior probability
    guessed: Float[np.ndarray, " label"] = field(default_factory=lambda: np.zeros(0))


def expected_prior(
    totals: Float[np.ndarray, " entry"], count: float | Float[np.ndarray, " entry"]
) -> tuple[Float[np.ndarray, " entry"], float]:
    """exp E ln of a vector ~ Dirichlet(count + totals), and its divergence from the prior."""
    before = np.broadcast_to(np.asarray(count, dtype=np.float64), totals.shape)
    after = before + totals
    logs = digamma(after) - digamma(after.sum())
    divergence = (
        gammaln(after.sum()) - gammaln(before.sum()) + (gammaln(before) - gammaln(after)).sum()
    )
    return np.exp(logs), float(divergence + totals @ logs)


def sweeper(
    votes: VoteSet,
    gold: Any,
    *,
    state_class: np.ndarray | None = None,
    device: str = "auto",
    n_threads: int = 0,
    cuts: bool = True,
) -> Any:
    """The home of these votes on `device`: "auto" and "cpu" are numba, "gpu" is JAX on CUDA.

    `state_class[s]` is the class of state `s` (default: states are classes). `n_threads` 0 means
    all cores this process may use; results do not depend on it. `cuts` says whether the method can
    do with tables that are cut by workers, as those of very many workers in coded votes are. Raises
    SettingsError for another device, or for "gpu" where JAX sees none.
    """
    states = np.arange(votes.n_classes) if state_class is None else state_class
    if not isinstance(votes, Votes):
        from crowdlearn.shards.votes import ShardedVotes
        from crowdlearn.sweeps.cut import sharded

        assert isinstance(votes, ShardedVotes)
        return sharded(votes, gold, states, device, n_threads, cuts)
    if device in ("auto", "cpu"):
        from crowdlearn.sweeps.cpu import CpuSweeper

        return CpuSweeper.on(votes, gold, states, n_threads)
    if device in ("gpu", "jax-cpu"):
        from crowdlearn.sweeps.gpu import JaxSweeper

        return JaxSweeper.on(votes, gold, states, platform="gpu" if device == "gpu" else "cpu")
    raise SettingsError(f"device {device!r} is not one of auto, cpu, gpu, jax-cpu")
