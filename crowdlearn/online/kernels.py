"""Coordinate ascent over the items of a batch, all else of the stream held at its expected counts.

`base` are a worker's Dirichlet parameters [row, label, class] without the batch's own items; `tau`
their posteriors, changed in place. Cost: votes of the batch's items x classes, a sweep.
"""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
from numba import njit

from crowdlearn.sweeps.tables import digamma_and_lgamma


@njit(nogil=True, cache=True)
@no_type_check
def _expected_logs(offsets, row, label, weight, base, counts, totals):
    """counts = base + weights of the votes; totals[row, class] = digamma of the row's sum."""
    n_rows, n_labels, n_classes = base.shape
    counts[:] = base
    for v in range(offsets[-1]):
        for k in range(n_classes):
            counts[row[v], label[v], k] += weight[v, k]
    for w in range(n_rows):
        for k in range(n_classes):
            total = 0.0
            for c in range(n_labels):
                total += counts[w, c, k]
            totals[w, k] = digamma_and_lgamma(total)[0]


@njit(nogil=True, cache=True)
@no_type_check
def _logs_of_cells(counts, totals):
    for w in range(counts.shape[0]):
        for c in range(counts.shape[1]):
            for k in range(counts.shape[2]):
                counts[w, c, k] = digamma_and_lgamma(counts[w, c, k])[0] - totals[w, k]


@njit(nogil=True, cache=True)
@no_type_check
def _log_prior(tau, prior_base):
    n_items, n_classes = tau.shape
    prior = prior_base.copy()
    for i in range(n_items):
        for k in range(n_classes):
            prior[k] += tau[i, k]
    for k in range(n_classes):
        prior[k] = digamma_and_lgamma(prior[k])[0]
    return prior


@njit(nogil=True, cache=True)
@no_type_check
def _take(evidence, tau, i, gold):
    """The softmax of the evidence, or the gold answer, as posterior of item i; its change."""
    n_classes = len(evidence)
    change = 0.0
    highest = evidence.max()
    total = 0.0
    for k in range(n_classes):
        evidence[k] = math.exp(evidence[k] - highest)
        total += evidence[k]
    for k in range(n_classes):
        p = evidence[k] / total
        if gold >= 0:
            p = 1.0 if k == gold else 0.0
        change = max(change, abs(p - tau[i, k]))
        tau[i, k] = p
    return change


@njit(nogil=True, cache=True)
@no_type_check
def settle(offsets, row, label, gold, base, prior_base, tau, weight, max_sweeps, tolerance):
    """BCC. `weight[v]` is the posterior of the vote's item; returns sweeps done, last change."""
    n_classes = tau.shape[1]
    counts, totals = np.empty_like(base), np.empty((base.shape[0], n_classes))
    evidence = np.empty(n_classes)
    dense = offsets[-1] > base.shape[0] * base.shape[1]
    change = 0.0
    for sweep in range(max_sweeps):
        prior = _log_prior(tau, prior_base)
        _expected_logs(offsets, row, label, weight, base, counts, totals)
        if dense:
            _logs_of_cells(counts, totals)
        change = 0.0
        for i in range(len(tau)):
            evidence[:] = prior
            for v in range(offsets[i], offsets[i + 1]):
                for k in range(n_classes):
                    cell = counts[row[v], label[v], k]
                    if not dense:
                        cell = digamma_and_lgamma(cell)[0] - totals[row[v], k]
                    evidence[k] += cell
            change = max(change, _take(evidence, tau, i, gold[i]))
            for v in range(offsets[i], offsets[i + 1]):
                weight[v] = tau[i]
        if change <= tolerance:
            return sweep + 1, change
    return max_sweeps, change


@njit(nogil=True, cache=True)
@no_type_check
def settle_difficulty(
    offsets, row, label, gold, base, prior_base, tau, weight, max_sweeps, tolerance,
    guess_base, beta,
):  # fmt: skip
    """IDBLA. `weight[v, k]` is the chance that the item is of class k and the vote no guess."""
    n_classes = tau.shape[1]
    counts, totals = np.empty_like(base), np.empty((base.shape[0], n_classes))
    evidence = np.empty(n_classes)
    change = 0.0
    for sweep in range(max_sweeps):
        prior = _log_prior(tau, prior_base)
        _expected_logs(offsets, row, label, weight, base, counts, totals)
        _logs_of_cells(counts, totals)
        guess = _log_guess(offsets, label, tau, weight, guess_base)
        change = 0.0
        for i in range(len(tau)):
            n_votes = offsets[i + 1] - offsets[i]
            seen = weight[offsets[i] : offsets[i + 1]].sum()
            easy, hard = beta[0] + seen, beta[1] + max(n_votes - seen, 0.0)
            total = digamma_and_lgamma(easy + hard)[0]
            sees = digamma_and_lgamma(easy)[0] - total
            misses = digamma_and_lgamma(hard)[0] - total
            evidence[:] = prior
            for v in range(offsets[i], offsets[i + 1]):
                missed = math.exp(guess[label[v]] + misses)
                for k in range(n_classes):
                    own = math.exp(counts[row[v], label[v], k] + sees)
                    evidence[k] += math.log(own + missed)
                    weight[v, k] = own / (own + missed)
            change = max(change, _take(evidence, tau, i, gold[i]))
            for v in range(offsets[i], offsets[i + 1]):
                for k in range(n_classes):
                    weight[v, k] *= tau[i, k]
        if change <= tolerance:
            return sweep + 1, change
    return max_sweeps, change


@njit(nogil=True, cache=True)
@no_type_check
def _log_guess(offsets, label, tau, weight, guess_base):
    """E ln of the guess distribution, from what the votes are not the workers' own."""
    guess = guess_base.copy()
    for v in range(offsets[-1]):
        guess[label[v]] += max(1.0 - weight[v].sum(), 0.0)
    total = digamma_and_lgamma(guess.sum())[0]
    for c in range(len(guess)):
        guess[c] = digamma_and_lgamma(guess[c])[0] - total
    return guess
