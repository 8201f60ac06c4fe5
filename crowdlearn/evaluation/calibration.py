"""Are the probabilities honest? Expected calibration error and the reliability curve.

Definition  Answered items are put into `n_bins` bins of equal width over (0, 1] by the probability
            of the answered class (the confidence); a bin holds its upper edge. ECE is the mean over
            items of |share right - mean confidence| of the item's bin.
Paper       Naeini, Cooper and Hauskrecht (2015); Guo et al. (2017), eq. 3.
Departures  An item whose answer ties counts as right by the share 1/k, as in `item_errors`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Int64
from scipy.stats import norm

from crowdlearn.errors import SettingsError
from crowdlearn.evaluation.accuracy import item_errors, known_rows


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """What a reliability diagram shows: one entry a bin, nan where a bin is empty.

    `accuracy_low` and `accuracy_high` are Wilson intervals holding `level`.
    """

    edges: Float[np.ndarray, " edge"]  # one more than bins, from 0 to 1
    confidence: Float[np.ndarray, " bin"]  # mean in the bin
    accuracy: Float[np.ndarray, " bin"]  # share right in the bin
    accuracy_low: Float[np.ndarray, " bin"]
    accuracy_high: Float[np.ndarray, " bin"]
    count: Int64[np.ndarray, " bin"]
    level: float

    @property
    def ece(self) -> float:
        """Expected calibration error: the gaps, weighted by the items in the bins."""
        gap = np.abs(self.accuracy - self.confidence)
        return float(np.nansum(self.count * gap) / self.count.sum())


def ece(
    posterior: Float[np.ndarray, "item class"],
    truth: Int[np.ndarray, " item"],
    n_bins: int = 10,
) -> float:
    """Expected calibration error of the answered class, in [0, 1], as the module defines it.

    A finite sample has a positive ECE even when calibrated, of the order sqrt(n_bins / items) / 3.
    Raises SettingsError for n_bins below 1 and VotesError where no truth is known.
    """
    return reliability_curve(posterior, truth, n_bins).ece


def reliability_curve(
    posterior: Float[np.ndarray, "item class"],
    truth: Int[np.ndarray, " item"],
    n_bins: int = 10,
    level: float = 0.95,
) -> ReliabilityCurve:
    """Confidence against accuracy in bins of equal width, with Wilson intervals.

    Raises SettingsError for n_bins below 1 or level outside (0, 1).
    """
    if n_bins < 1:
        raise SettingsError(f"n_bins is {n_bins}: at least 1 bin is needed")
    confidence = np.minimum(known_rows(posterior, truth)[0].max(axis=1), 1)
    right = 1 - item_errors(posterior, truth)
    edges = np.linspace(0, 1, n_bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, n_bins - 1)
    count = np.bincount(place, minlength=n_bins)
    n_right = np.bincount(place, right, n_bins)
    low, high = wilson(n_right, count, level)
    some = np.where(count > 0, count, np.nan)
    return ReliabilityCurve(
        edges=edges,
        confidence=np.bincount(place, confidence, n_bins) / some,
        accuracy=n_right / some,
        accuracy_low=low,
        accuracy_high=high,
        count=count,
        level=level,
    )


def wilson(
    successes: Float[np.ndarray, " entry"], trials: Int[np.ndarray, " entry"], level: float = 0.95
) -> tuple[Float[np.ndarray, " entry"], Float[np.ndarray, " entry"]]:
    """Wilson (1927) score interval of a share; nan where there are no trials.

    Raises SettingsError for level outside (0, 1).
    """
    if not 0 < level < 1:
        raise SettingsError(f"level is {level}: it must lie between 0 and 1")
    z = norm.isf((1 - level) / 2)
    n = np.where(trials > 0, trials, np.nan)
    share = successes / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.maximum(middle - half, 0), np.minimum(middle + half, 1)
