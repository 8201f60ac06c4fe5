"""Have the chains mixed? Rank-normalised split R-hat and effective sample sizes.

Vehtari, Gelman, Simpson, Carpenter and Buerkner (2021), Rank-normalization, folding, and
localization: an improved R-hat, Bayesian Analysis 16(2). Draws are (chain, draw, ...); results have
the trailing shape. Equal to ArviZ, which needs a Python loop over the entries.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import fft
from scipy.special import ndtri

ENTRIES_AT_ONCE = 512


def rhat(draws: Float[np.ndarray, "chain draw *entry"]) -> Float[np.ndarray, " *entry"]:
    """The larger of bulk and folded split R-hat; 1 for a constant, nan under 4 draws."""
    return _per_entry(draws, _rhat)


def ess_bulk(draws: Float[np.ndarray, "chain draw *entry"]) -> Float[np.ndarray, " *entry"]:
    """Effective sample size of the centre of the posterior."""
    return _per_entry(draws, lambda x: _ess(_normal_scores(_split(x))))


def ess_tail(draws: Float[np.ndarray, "chain draw *entry"]) -> Float[np.ndarray, " *entry"]:
    """The smaller effective sample size of the 5 % and 95 % quantiles."""
    return _per_entry(draws, _ess_tail)


def diagnose(draws: Float[np.ndarray, "chain draw entry"]) -> Float[np.ndarray, "statistic entry"]:
    """`rhat`, `ess_bulk` and `ess_tail` of every entry as three rows, at less than their cost."""
    slabs = [
        draws[:, :, i : i + ENTRIES_AT_ONCE] for i in range(0, draws.shape[2], ENTRIES_AT_ONCE)
    ]
    return np.concatenate([_diagnose(slab) for slab in slabs], axis=1)


def _diagnose(draws: np.ndarray) -> np.ndarray:
    x = np.asarray(draws, dtype=np.float64)
    if x.shape[1] < 4:
        return np.full((3, x.shape[2]), np.nan)
    scores = _normal_scores(_split(x))
    return np.stack([np.maximum(_plain_rhat(scores), _folded_rhat(x)), _ess(scores), _ess_tail(x)])


def _per_entry(draws: np.ndarray, function: object) -> np.ndarray:
    """Apply `function` to slabs of (chain, draw, entry)."""
    flat = np.asarray(draws, dtype=np.float64).reshape(*draws.shape[:2], -1)
    if draws.shape[1] < 4:
        return np.full(draws.shape[2:], np.nan)
    slabs = range(0, flat.shape[2], ENTRIES_AT_ONCE)
    parts = [function(flat[:, :, i : i + ENTRIES_AT_ONCE]) for i in slabs]  # type: ignore[operator]
    return np.concatenate([np.zeros(0), *parts]).reshape(draws.shape[2:])


def _split(x: np.ndarray) -> np.ndarray:
    """Both halves of every chain as chains of their own; a middle draw is left out."""
    half = x.shape[1] // 2
    return np.concatenate([x[:, :half], x[:, -half:]])


def _normal_scores(x: np.ndarray) -> np.ndarray:
    """Ranks over all draws of an entry, as normal quantiles."""
    from scipy.stats import rankdata  # takes longer to import than most fits last

    n = x.shape[0] * x.shape[1]
    ranks = rankdata(x.reshape(n, -1), axis=0)
    return ndtri((ranks - 0.375) / (n + 0.25)).reshape(x.shape)


def _rhat(x: np.ndarray) -> np.ndarray:
    return np.maximum(_plain_rhat(_normal_scores(_split(x))), _folded_rhat(x))


def _folded_rhat(x: np.ndarray) -> np.ndarray:
    halves = _split(x)
    return _plain_rhat(_normal_scores(np.abs(halves - np.median(halves, axis=(0, 1)))))


def _plain_rhat(x: np.ndarray) -> np.ndarray:
    n = x.shape[1]
    within = x.var(axis=1, ddof=1).mean(axis=0)
    between = n * x.mean(axis=1).var(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.sqrt((between / within + n - 1) / n)
    return np.where(within + between > 0, ratio, 1.0)


def _ess_tail(x: np.ndarray) -> np.ndarray:
    low, high = np.quantile(x, [0.05, 0.95], axis=(0, 1))
    return np.minimum(
        _ess(_split((x <= low).astype(np.float64))), _ess(_split((x <= high).astype(np.float64)))
    )


def _ess(x: np.ndarray) -> np.ndarray:
    """Geyer's initial monotone sequence over chains already split; n_draws where nothing varies."""
    n_chains, n = x.shape[:2]
    centred = x - x.mean(axis=1, keepdims=True)
    spectrum = fft.rfft(centred, 2 * fft.next_fast_len(n), axis=1)
    covariance = fft.irfft(np.abs(spectrum) ** 2, axis=1)[:, :n].mean(axis=0) / n  # (lag, entry)
    within = covariance[0] * n / (n - 1)
    pooled = within * (n - 1) / n + x.mean(axis=1).var(axis=0, ddof=1)
    constant = ~(pooled > 0)
    rho = 1 - (within - covariance) / np.where(constant, 1, pooled)
    rho[0] = 1
    total = n_chains * n
    time = np.array([_autocorrelation_time(rho[:, e]) for e in range(rho.shape[1])])
    return np.where(constant, total, total / np.maximum(time, 1 / np.log10(total)))


def _autocorrelation_time(rho: np.ndarray) -> float:
    """1 + 2 * the sum of autocorrelations, cut and smoothed as Geyer (1992) proposes."""
    n_pairs = max((len(rho) - 1) // 2, 1)
    pairs = rho[: 2 * n_pairs].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs[1:] < 0)
    last = int(negative[0]) + 1 if len(negative) else n_pairs - 1
    smooth = np.minimum.accumulate(pairs[:last])
    tail = max(rho[2 * last], 0.0) if 2 * last < len(rho) else 0.0
    return float(-1 + 2 * smooth.sum() + tail)
