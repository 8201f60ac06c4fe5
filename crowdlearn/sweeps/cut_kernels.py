"""Numba kernels for tables cut by workers: a pass over items becomes a walk over blocks of workers.

Votes come grouped by block. `row` is a vote's row (worker within the block, label) of a block's
table, `item` its item; within a block votes stand in the order of items. Each kernel takes votes
`start` to `stop` of one block. What an item has gathered so far is kept between blocks: `p`, with
`shift` counting how often a state was lifted by 1 / LOW, or a sum of logs.
"""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
from numba import njit

from crowdlearn.sweeps.kernels import AHEAD, FAST, FLOATS_A_LINE, LOG_LOW, LOW, _prefetch


@njit(nogil=True, cache=True)
@no_type_check
def sizes(worker, size, out):
    """How many votes each block has."""
    for v in range(len(worker)):
        out[worker[v] // size] += 1


@njit(nogil=True, cache=True)
@no_type_check
def group(offsets, worker, label, n_labels, size, next_free, row, item, order):
    """Votes by block, in their order; `order` (their places) may be empty."""
    for i in range(len(offsets) - 1):
        for v in range(offsets[i], offsets[i + 1]):
            block = worker[v] // size
            at = next_free[block]
            next_free[block] += 1
            row[at] = (worker[v] - block * size) * n_labels + label[v]
            item[at] = i
            if len(order):
                order[at] = v


@njit(nogil=True, cache=True)
@no_type_check
def begin(start, stop, prior, state_class, gold, p):
    """Every item at the prior, gold ones only in the states of their class."""
    for i in range(start, stop):
        for s in range(len(prior)):
            p[i, s] = prior[s] if gold[i] < 0 or state_class[s] == gold[i] else 0.0


@njit(nogil=True, inline="always")
@no_type_check
def _lift(p, shift, i, S):
    for s in range(S):
        if 0.0 < p[i, s] < LOW:
            p[i, s] /= LOW
            shift[i, s] += 1


@njit(nogil=True, cache=True, fastmath=FAST)
@no_type_check
def multiply(start, stop, row, item, table, p, shift):
    """p[i, s] *= table[row, s] for every vote."""
    S = p.shape[1]
    for v in range(start, stop):
        far = row[min(v + AHEAD, stop - 1)] * np.int64(S)
        for s in range(0, S, FLOATS_A_LINE):
            _prefetch(table, far + s)
        at = row[v] * np.int64(S)
        i = item[v]
        low = 0
        for s in range(S):
            x = p[i, s] * table[at + s]
            p[i, s] = x
            low += x < LOW
        if low > 0:
            _lift(p, shift, i, S)


@njit(nogil=True, cache=True, fastmath=FAST)
@no_type_check
def multiply_mixed(start, stop, row, item, n_labels, table, guess, sees, misses, p, shift):
    """p[i, s] *= sees[i] * table[row, s] + misses[i] * guess[label]."""
    S = p.shape[1]
    for v in range(start, stop):
        at = row[v] * np.int64(S)
        i = item[v]
        blind = misses[i] * guess[row[v] % n_labels]
        low = 0
        for s in range(S):
            x = p[i, s] * (sees[i] * table[at + s] + blind)
            p[i, s] = x
            low += x < LOW
        if low > 0:
            _lift(p, shift, i, S)


@njit(nogil=True, cache=True, fastmath=FAST)
@no_type_check
def add_logs(start, stop, row, item, order, log_table, own, p):
    """p[i, s] += own[v] * log_table[row, s]."""
    S = p.shape[1]
    for v in range(start, stop):
        at = row[v] * np.int64(S)
        for s in range(S):
            p[item[v], s] += own[order[v]] * log_table[at + s]


@njit(nogil=True, cache=True, fastmath=FAST)
@no_type_check
def normalise(start, stop, p, shift):
    """Items `start` to `stop`: rows of `p` summed to one; the log of what they summed to."""
    S = p.shape[1]
    log_evidence = 0.0
    for i in range(start, stop):
        least = np.int64(1 << 40)
        for s in range(S):
            if p[i, s] > 0.0:
                least = min(least, np.int64(shift[i, s]))
        total = 0.0
        for s in range(S):
            if p[i, s] > 0.0 and shift[i, s] > least:
                p[i, s] *= LOW ** float(shift[i, s] - least)
            total += p[i, s]
        for s in range(S):
            p[i, s] /= total
        log_evidence += math.log(total) + least * LOG_LOW
    return log_evidence


@njit(nogil=True, cache=True, fastmath=FAST)
@no_type_check
def normalise_logs(start, stop, log_prior, gold, p):
    """Rows of logs to probabilities, gold items on their class; their share of the bound."""
    S = p.shape[1]
    bound = 0.0
    for i in range(start, stop):
        top = p[i, 0]
        for s in range(1, S):
            top = max(top, p[i, s])
        total = 0.0
        for s in range(S):
            p[i, s] = math.exp(p[i, s] - top)
            if gold[i] >= 0:
                p[i, s] = 1.0 if s == gold[i] else 0.0
            total += p[i, s]
        for s in range(S):
            p[i, s] /= total
            if p[i, s] > 0.0:
                bound += p[i, s] * (log_prior[s] - math.log(p[i, s]))
    return bound


@njit(nogil=True, cache=True, fastmath=FAST)
@no_type_check
def store(start, stop, p, posterior, totals):
    """Write rows and count them; the largest move of a probability."""
    change = 0.0
    for i in range(start, stop):
        for s in range(p.shape[1]):
            change = max(change, abs(p[i, s] - posterior[i, s]))
            posterior[i, s] = p[i, s]
            totals[s] += p[i, s]
    return change


@njit(nogil=True, cache=True, fastmath=FAST)
@no_type_check
def see_mixed(start, stop, row, item, n_labels, table, guess, sees, misses, p, seen, guessed):
    """How many votes of an item came from the table, how many of a label from guessing."""
    S = p.shape[1]
    for v in range(start, stop):
        at = row[v] * np.int64(S)
        i = item[v]
        blind = misses[i] * guess[row[v] % n_labels]
        own = 0.0
        for s in range(S):
            answered = sees[i] * table[at + s]
            own += p[i, s] * answered / (answered + blind)
        seen[i] += own
        guessed[row[v] % n_labels] += 1.0 - own


@njit(nogil=True, cache=True, fastmath=FAST)
@no_type_check
def see_factorised(
    start, stop, row, item, order, n_labels, log_table, log_guess, log_sees, log_misses, p, own,
    seen, guessed,
):  # fmt: skip
    """Each vote's probability of coming from the table, and the votes' share of the bound."""
    S = p.shape[1]
    bound = 0.0
    for v in range(start, stop):
        at = row[v] * np.int64(S)
        i = item[v]
        answered = log_sees[i]
        for s in range(S):
            answered += p[i, s] * log_table[at + s]
        blind = log_misses[i] + log_guess[row[v] % n_labels]
        high = max(answered, blind)
        both = high + math.log(math.exp(answered - high) + math.exp(blind - high))
        mine = math.exp(answered - both)
        own[order[v]] = mine
        bound += both
        seen[i] += mine
        guessed[row[v] % n_labels] += 1.0 - mine
    return bound


@njit(nogil=True, cache=True, fastmath=FAST)
@no_type_check
def count(start, stop, row, item, weight, counts):
    """counts[row, s] += weight[i, s]."""
    S = weight.shape[1]
    for v in range(start, stop):
        far = row[min(v + AHEAD, stop - 1)] * np.int64(S)
        for s in range(0, S, FLOATS_A_LINE // 2):
            _prefetch(counts, far + s)
        at = row[v] * np.int64(S)
        for s in range(S):
            counts[at + s] += weight[item[v], s]


@njit(nogil=True, cache=True, fastmath=FAST)
@no_type_check
def count_mixed(start, stop, row, item, n_labels, weight, table, guess, sees, misses, counts):
    """counts[row, s] += weight[i, s], as far as the vote came from the table."""
    S = weight.shape[1]
    for v in range(start, stop):
        at = row[v] * np.int64(S)
        i = item[v]
        blind = misses[i] * guess[row[v] % n_labels]
        for s in range(S):
            answered = sees[i] * table[at + s]
            counts[at + s] += weight[i, s] * answered / (answered + blind)


@njit(nogil=True, cache=True, fastmath=FAST)
@no_type_check
def count_owned(start, stop, row, item, order, weight, own, counts):
    """counts[row, s] += weight[i, s] * own[v]."""
    S = weight.shape[1]
    for v in range(start, stop):
        at = row[v] * np.int64(S)
        for s in range(S):
            counts[at + s] += weight[item[v], s] * own[order[v]]
