"""The noisy crowds of the online experiments: labels replaced by uniform or by bimodal noise.

Story       with probability noise[worker[v]] the label is a draw from the noise distribution (which
            may hit the truth), else it is the truth
            uniform: every class equally likely
            bimodal: one of two modes m with spread s, each with probability 1/2, then
            round(Normal(m, s)), drawn again while outside 0 .. n_classes - 1
Paper       Hong, Ghiassi, Zhou, Birke and Chen (2021), "Online label aggregation", WWW.
Departures  The generator is not published; this one was recovered from statistics of the published
            labels (10 workers, 10 classes, noise 0.6, 10 % missing).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import norm

from crowdlearn.errors import SettingsError
from crowdlearn.simulate.assign import everyone
from crowdlearn.simulate.dawid_skene import given_workers
from crowdlearn.simulate.world import Assign, World

NINE_IN_TEN = everyone(missing=0.1)


def bila_uniform(
    n_items: int = 1000,
    n_workers: int = 10,
    n_classes: int = 10,
    *,
    noise: float | Float[np.ndarray, " worker"] = 0.6,
    truth: Int[np.ndarray, " item"] | None = None,
    assign: Assign = NINE_IN_TEN,
    seed: int = 0,
) -> World:
    """Replaced labels are uniform. `noise` is one share, or one a worker; `truth` may be given."""
    drawn = np.full(n_classes, 1 / n_classes)
    confusion = _noisy(noise, drawn, n_workers)
    return given_workers(confusion, n_items=n_items, truth=truth, assign=assign, seed=seed)


def bila_bimodal(
    n_items: int = 1000,
    n_workers: int = 10,
    n_classes: int = 10,
    *,
    modes: tuple[float, float] = (3.0, 7.0),
    spreads: tuple[float, float] = (1.0, 0.4),
    noise: float | Float[np.ndarray, " worker"] = 0.6,
    truth: Int[np.ndarray, " item"] | None = None,
    assign: Assign = NINE_IN_TEN,
    seed: int = 0,
) -> World:
    """Replaced labels gather at two classes. `noise` is one share, or one a worker.

    Raises SettingsError for a spread that is not positive.
    """
    if min(spreads) <= 0:
        raise SettingsError(f"spreads are {spreads}: both must be positive")
    drawn = _bimodal(modes, spreads, n_classes)
    confusion = _noisy(noise, drawn, n_workers)
    return given_workers(confusion, n_items=n_items, truth=truth, assign=assign, seed=seed)


def _noisy(
    noise: float | np.ndarray, drawn: Float[np.ndarray, " class"], n_workers: int
) -> Float[np.ndarray, "worker class class"]:
    """(1 - noise) identity + noise x the noise distribution."""
    share = np.asarray(noise, dtype=np.float64)
    if share.shape not in ((), (n_workers,)) or (share < 0).any() or (share > 1).any():
        raise SettingsError(
            f"noise is {noise}: give one share in [0, 1], or one for each of {n_workers} workers"
        )
    share = np.broadcast_to(share, n_workers)[:, None, None]
    return (1 - share) * np.eye(len(drawn)) + share * drawn


def _bimodal(
    modes: tuple[float, float], spreads: tuple[float, float], n_classes: int
) -> Float[np.ndarray, " class"]:
    """Half of each rounded normal, both truncated to the classes."""
    edges = np.arange(n_classes + 1) - 0.5
    parts = [np.diff(norm.cdf(edges, m, s)) for m, s in zip(modes, spreads, strict=True)]
    return sum((part / (2 * part.sum()) for part in parts), np.zeros(n_classes))
