"""Numba kernels: one pass over a range of items each, compiled for a fixed number of states.

All release the GIL and touch only their own items' rows and the `counts` and `totals` they are
given, so any number may run at once. Fixing the number of states lets the compiler keep a row in
vector registers. Products of probabilities are taken in float64 and rescaled, state by state,
before they can underflow; `TINY` is the smallest factor, so zero cells never rule out every class.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Int32, Int64
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

FAST = {"nnan", "nsz", "arcp", "contract", "reassoc"}
TINY = 1e-30
LOW = 1e-150  # lift below this: four factors of TINY more, or eight at first, do not underflow
LOG_LOW = math.log(LOW)
FLOATS_A_LINE = 16  # of a cache line, in float32
AHEAD = 32  # votes between asking for a table row and using it


@intrinsic
def _prefetch(typing: Any, array: Any, index: Any) -> Any:  # noqa: ARG001
    """Ask for the cache line of `array[index]`; a hint, without any effect on results."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        byte_pointer, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte_pointer, i32, i32, i32])
        name = "llvm.prefetch.p0i8"
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        where = builder.bitcast(builder.gep(data, [arguments[1]]), byte_pointer)
        builder.call(function, [where, i32(0), i32(3), i32(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), build


@njit(nogil=True, cache=True)
@no_type_check
def _scatter(keys, next_free, order):
    for row in range(len(keys)):
        order[next_free[keys[row]]] = row
        next_free[keys[row]] += 1


def scatter_order(
    keys: Int32[np.ndarray, " row"], offsets: Int64[np.ndarray, " offset"]
) -> Int64[np.ndarray, " row"]:
    """The stable order that sorts `keys`, given the offset of each group."""
    order = np.empty(len(keys), dtype=np.int64)
    _scatter(keys, offsets[:-1].copy(), order)
    return order


@njit(nogil=True, cache=True)
@no_type_check
def add_up(start, stop, parts, out):
    """out[cell] = sum over parts of parts[part, cell], in the order of the parts."""
    out[start:stop] = parts[0, start:stop]
    for part in range(1, len(parts)):
        for cell in range(start, stop):
            out[cell] += parts[part, cell]


# The steps that several kernels share, inlined into each with `S` known to the compiler.


@njit(inline="always")
@no_type_check
def _begin(p, prior, state_class, gold, S):
    """Start an item: the prior, or only the states of its gold class."""
    for s in range(S):
        p[s] = prior[s]
    if gold >= 0:
        for s in range(S):
            if state_class[s] != gold:
                p[s] = 0.0


@njit(inline="always")
@no_type_check
def _total(p, S):
    total = 0.0
    for s in range(S):
        total += p[s]
    return total


@njit(inline="always")
@no_type_check
def _lift(p, shift, nth, S):
    """After every fourth vote but the first four: lift states about to underflow; whether any was.

    Each is lifted on its own, by 1 / LOW, and `shift` counts it: later votes can bring it back.
    """
    low = 0
    if nth & 3 == 3 and nth > 3:
        for s in range(S):
            low += p[s] < LOW
        if low > 0:
            for s in range(S):
                if p[s] < LOW:
                    p[s] /= LOW
                    shift[s] += 1.0
    return low > 0


@njit(inline="always")
@no_type_check
def _lower(p, shift, S):
    """Put states back on one scale, and `shift` back to zero; the log of the scale."""
    least = math.inf
    for s in range(S):
        if p[s] > 0.0:
            least = min(least, shift[s])
    for s in range(S):
        if shift[s] > least:
            p[s] *= LOW ** (shift[s] - least)
        shift[s] = 0.0
    return least * LOG_LOW


@njit(inline="always")
@no_type_check
def _normalise(p, S):
    """Make the row sum to one; the log of its sum."""
    total = _total(p, S)
    scale = 1.0 / total
    for s in range(S):
        p[s] *= scale
    return math.log(total)


@njit(inline="always")
@no_type_check
def _store(p, posterior, i, totals, S):
    """Write the row and count it; by how much it moved."""
    moved = 0.0
    for s in range(S):
        moved = max(moved, abs(p[s] - posterior[i, s]))
        posterior[i, s] = p[s]
        totals[s] += p[s]
    return moved


@njit(inline="always")
@no_type_check
def _pick(p, uniform, S):
    """The state at `uniform` in [0, 1) of the cumulative row; never one of probability zero."""
    left = uniform
    state = 0
    while state < S - 1 and left >= p[state]:
        left -= p[state]
        state += 1
    while p[state] == 0.0:  # rounding carried us past the last possible state
        state -= 1
    return state


@njit(inline="always")
@no_type_check
def _tally(p, tally, i, keep, S):
    if keep:
        for s in range(S):
            tally[i, s] += p[s]


@cache
def product_kernel(n_states: int, large: bool) -> Callable[..., tuple[float, float]]:
    """E step and that share of the M step in one pass; see `CpuSweeper.product`."""
    S = n_states

    @njit(nogil=True, cache=True, fastmath=FAST)
    @no_type_check
    def product(
        start,
        stop,
        offsets,
        worker,
        label,
        n_labels,
        prior,
        table,
        state_class,
        gold,
        posterior,
        counts,
        totals,
    ):
        last = offsets[stop] - 1
        log_evidence = 0.0
        change = 0.0
        p = np.empty(S, np.float64)
        shift = np.zeros(S, np.float64)
        for i in range(start, stop):
            first, end = offsets[i], offsets[i + 1]
            _begin(p, prior, state_class, gold[i], S)
            lifted = False
            for v in range(first, end):
                if large:
                    ahead = min(v + AHEAD, last)
                    row = (np.int64(worker[ahead]) * n_labels + label[ahead]) * S
                    for s in range(0, S, FLOATS_A_LINE):
                        _prefetch(table, row + s)
                    for s in range(0, S, FLOATS_A_LINE // 2):
                        _prefetch(counts, row + s)
                    _prefetch(counts, row + S - 1)
                row = (np.int64(worker[v]) * n_labels + label[v]) * S
                for s in range(S):
                    p[s] *= table[row + s]
                lifted = _lift(p, shift, v - first, S) or lifted
            if lifted:
                log_evidence += _lower(p, shift, S)
            log_evidence += _normalise(p, S)
            change = max(change, _store(p, posterior, i, totals, S))
            for v in range(first, end):
                row = (np.int64(worker[v]) * n_labels + label[v]) * S
                for s in range(S):
                    counts[row + s] += p[s]
        return log_evidence, change

    return product


@cache
def draw_kernel(n_states: int, large: bool) -> Callable[..., float]:
    """Draw every item's class given the tables and count the draws; see `CpuSweeper.draw`."""
    S = n_states

    @njit(nogil=True, cache=True, fastmath=FAST)
    @no_type_check
    def draw(
        start,
        stop,
        offsets,
        worker,
        label,
        n_labels,
        prior,
        table,
        state_class,
        gold,
        uniform,
        keep,
        tally,
        counts,
        totals,
    ):
        last = offsets[stop] - 1
        log_evidence = 0.0
        p = np.empty(S, np.float64)
        shift = np.zeros(S, np.float64)
        for i in range(start, stop):
            first, end = offsets[i], offsets[i + 1]
            _begin(p, prior, state_class, gold[i], S)
            lifted = False
            for v in range(first, end):
                if large:
                    ahead = min(v + AHEAD, last)
                    row = (np.int64(worker[ahead]) * n_labels + label[ahead]) * S
                    for s in range(0, S, FLOATS_A_LINE):
                        _prefetch(table, row + s)
                    for s in range(0, S, FLOATS_A_LINE // 2):
                        _prefetch(counts, row + s)
                    _prefetch(counts, row + S - 1)
                row = (np.int64(worker[v]) * n_labels + label[v]) * S
                for s in range(S):
                    p[s] *= table[row + s]
                lifted = _lift(p, shift, v - first, S) or lifted
            if lifted:
                log_evidence += _lower(p, shift, S)
            log_evidence += _normalise(p, S)
            _tally(p, tally, i, keep, S)
            truth = _pick(p, uniform[i], S)
            totals[truth] += 1.0
            for v in range(first, end):
                counts[(np.int64(worker[v]) * n_labels + label[v]) * S + truth] += 1.0
        return log_evidence

    return draw


@cache
def mixture_kernel(n_states: int) -> Callable[..., tuple[float, float]]:
    """Structured local step of the difficulty story; see `CpuSweeper.mixture`."""
    S = n_states

    @njit(nogil=True, cache=True, fastmath=FAST)
    @no_type_check
    def mixture(
        start,
        stop,
        offsets,
        worker,
        label,
        n_labels,
        prior,
        table,
        guess,
        sees,
        misses,
        state_class,
        gold,
        posterior,
        seen,
        counts,
        totals,
        guessed,
    ):
        log_evidence = 0.0
        change = 0.0
        p = np.empty(S, np.float64)
        shift = np.zeros(S, np.float64)
        for i in range(start, stop):
            first, end = offsets[i], offsets[i + 1]
            _begin(p, prior, state_class, gold[i], S)
            lifted = False
            for v in range(first, end):
                row = (np.int64(worker[v]) * n_labels + label[v]) * S
                blind = misses[i] * guess[label[v]]
                for s in range(S):
                    p[s] *= sees[i] * table[row + s] + blind
                lifted = _lift(p, shift, v - first, S) or lifted
            if lifted:
                log_evidence += _lower(p, shift, S)
            log_evidence += _normalise(p, S)
            change = max(change, _store(p, posterior, i, totals, S))
            n_seen = 0.0
            for v in range(first, end):
                row = (np.int64(worker[v]) * n_labels + label[v]) * S
                blind = misses[i] * guess[label[v]]
                own = 0.0
                for s in range(S):
                    answered = sees[i] * table[row + s]
                    weight = p[s] * answered / (answered + blind)
                    counts[row + s] += weight
                    own += weight
                n_seen += own
                guessed[label[v]] += 1.0 - own
            seen[i] = n_seen
        return log_evidence, change

    return mixture


@cache
def factorised_kernel(n_states: int) -> Callable[..., tuple[float, float]]:
    """Fully factorised local step of the difficulty story; see `CpuSweeper.factorised`."""
    S = n_states

    @njit(nogil=True, cache=True, fastmath=FAST)
    @no_type_check
    def factorised(
        start,
        stop,
        offsets,
        worker,
        label,
        n_labels,
        log_prior,
        log_table,
        log_guess,
        log_sees,
        log_misses,
        gold,
        own,
        posterior,
        seen,
        counts,
        totals,
        guessed,
    ):
        bound = 0.0
        change = 0.0
        p = np.empty(S, np.float64)
        for i in range(start, stop):
            first, end = offsets[i], offsets[i + 1]
            for s in range(S):
                p[s] = log_prior[s]
            for v in range(first, end):
                row = (np.int64(worker[v]) * n_labels + label[v]) * S
                for s in range(S):
                    p[s] += own[v] * log_table[row + s]
            top = p[0]
            for s in range(1, S):
                top = max(top, p[s])
            for s in range(S):
                p[s] = math.exp(p[s] - top)
                if gold[i] >= 0:
                    p[s] = 1.0 if s == gold[i] else 0.0
            _normalise(p, S)
            change = max(change, _store(p, posterior, i, totals, S))
            for s in range(S):
                if p[s] > 0.0:
                    bound += p[s] * (log_prior[s] - math.log(p[s]))
            n_seen = 0.0
            for v in range(first, end):
                row = (np.int64(worker[v]) * n_labels + label[v]) * S
                answered = log_sees[i]
                for s in range(S):
                    answered += p[s] * log_table[row + s]
                blind = log_misses[i] + log_guess[label[v]]
                high = max(answered, blind)
                both = high + math.log(math.exp(answered - high) + math.exp(blind - high))
                own[v] = math.exp(answered - both)
                bound += both  # both branches and the entropy of the choice, at its optimum
                for s in range(S):
                    counts[row + s] += p[s] * own[v]
                n_seen += own[v]
                guessed[label[v]] += 1.0 - own[v]
            seen[i] = n_seen
        return bound, change

    return factorised


@cache
def mixture_draw_kernel(n_states: int) -> Callable[..., float]:
    """Joint draw of an item's class and of who saw it; see `CpuSweeper.mixture_draw`."""
    S = n_states

    @njit(nogil=True, cache=True, fastmath=FAST)
    @no_type_check
    def mixture_draw(
        start,
        stop,
        offsets,
        worker,
        label,
        n_labels,
        prior,
        table,
        guess,
        easiness,
        state_class,
        gold,
        uniform,
        vote_uniform,
        keep,
        tally,
        seen,
        counts,
        totals,
        guessed,
    ):
        log_evidence = 0.0
        p = np.empty(S, np.float64)
        shift = np.zeros(S, np.float64)
        for i in range(start, stop):
            first, end = offsets[i], offsets[i + 1]
            sees, misses = easiness[i], 1.0 - easiness[i]
            _begin(p, prior, state_class, gold[i], S)
            lifted = False
            for v in range(first, end):
                row = (np.int64(worker[v]) * n_labels + label[v]) * S
                blind = misses * guess[label[v]]
                for s in range(S):
                    p[s] *= sees * table[row + s] + blind
                lifted = _lift(p, shift, v - first, S) or lifted
            if lifted:
                log_evidence += _lower(p, shift, S)
            log_evidence += _normalise(p, S)
            _tally(p, tally, i, keep, S)
            truth = _pick(p, uniform[i], S)
            totals[truth] += 1.0
            n_seen = 0.0
            for v in range(first, end):
                cell = (np.int64(worker[v]) * n_labels + label[v]) * S + truth
                answered = sees * table[cell]
                if vote_uniform[v] * (answered + misses * guess[label[v]]) < answered:
                    counts[cell] += 1.0
                    n_seen += 1.0
                else:
                    guessed[label[v]] += 1.0
            seen[i] = n_seen
        return log_evidence

    return mixture_draw


@cache
def evidence_kernel(n_states: int) -> Callable[..., None]:
    """evidence[i] = sum over the item's votes of score rows; see `CpuSweeper.evidence`."""
    S = n_states

    @njit(nogil=True, cache=True, fastmath=FAST)
    @no_type_check
    def evidence(start, stop, offsets, worker, label, n_labels, score, out):
        for i in range(start, stop):
            for s in range(S):
                out[i, s] = 0.0
            for v in range(offsets[i], offsets[i + 1]):
                row = (np.int64(worker[v]) * n_labels + label[v]) * S
                for s in range(S):
                    out[i, s] += score[row + s]

    return evidence


@cache
def counts_kernel(n_states: int) -> Callable[..., None]:
    """counts[worker, label] += weight rows of the item; see `CpuSweeper.counts`."""
    S = n_states

    @njit(nogil=True, cache=True, fastmath=FAST)
    @no_type_check
    def count(start, stop, offsets, worker, label, n_labels, weight, counts, totals):
        for i in range(start, stop):
            for s in range(S):
                totals[s] += weight[i, s]
            for v in range(offsets[i], offsets[i + 1]):
                row = (np.int64(worker[v]) * n_labels + label[v]) * S
                for s in range(S):
                    counts[row + s] += weight[i, s]

    return count
