"""The pass over votes that are probabilities of labels, on the CPU; see `CpuSweeper.soft`.

What a vote says of state s is the sum over labels c of opinion[v, c] table[w, c, s]; its weight is
shared out among the labels as their terms. A vote that is sure of one label is a plain vote.
"""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
from numba import njit

from crowdlearn.sweeps.kernels import TINY


@njit(nogil=True, cache=True)
@no_type_check
def soft(
    start, stop, offsets, worker, opinion, prior, table, gold, posterior, meant, counts, totals
):
    """E step and that share of the M step; `meant` gets each vote's posterior over labels."""
    n = len(prior)
    bound, change = 0.0, 0.0
    logs = np.empty(n)
    for i in range(start, stop):
        for s in range(n):
            possible = gold[i] < 0 or gold[i] == s
            logs[s] = math.log(prior[s]) if possible else -np.inf
        for v in range(offsets[i], offsets[i + 1]):
            at = np.int64(worker[v]) * n * n
            for s in range(n):
                said = 0.0
                for c in range(n):
                    said += opinion[v, c] * table[at + c * n + s]
                logs[s] += math.log(max(said, TINY))
        top = logs.max()
        total = 0.0
        for s in range(n):
            total += math.exp(logs[s] - top)
        bound += top + math.log(total)
        for s in range(n):
            p = math.exp(logs[s] - top) / total
            change = max(change, abs(p - posterior[i, s]))
            posterior[i, s] = p
            totals[s] += p
        for v in range(offsets[i], offsets[i + 1]):
            at = np.int64(worker[v]) * n * n
            meant[v] = 0.0
            for s in range(n):
                said = 0.0
                for c in range(n):
                    said += opinion[v, c] * table[at + c * n + s]
                for c in range(n):
                    share = posterior[i, s] * opinion[v, c] * table[at + c * n + s]
                    share /= max(said, TINY)
                    counts[at + c * n + s] += share
                    meant[v, c] += share
    return bound, change
