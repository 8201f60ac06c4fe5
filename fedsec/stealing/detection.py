"""How far the distances between a client's queries are from normal: PRADA's test.

Story       natural queries lie at distances from their nearest earlier neighbour of the same class
            that are close to normal; queries that were made for stealing do not.
Rule        an image's distance is to the nearest kept image that was answered the same class. It is
            kept if that is above mean - deviation of the kept ones' distances. The score is the
            Shapiro-Wilk W of the distances within three deviations of their mean: 1 is normal.
Paper       Juuti, Szyller, Marchal, Asokan (2019), PRADA, EuroS&P (arXiv 1805.02628), section 5: a
            client whose W falls below a threshold of 0.9 to 0.96 is an attacker.
Departures  The last `window` distances are tested, and the last `kept` images of a class are
            compared with: the paper keeps all, at a cost that grows as the square.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fedsec.errors import SettingsError
from fedsec.stealing.oracle import QueriesRefused


@dataclass(eq=False)
class Seen:
    """The images of one class that are compared with, and how far each was when it came."""

    limit: int
    points: deque[Tensor] = field(default_factory=deque)
    distances: deque[float] = field(default_factory=deque)

    def take(self, points: Float[Tensor, "sample pixel"]) -> list[float]:
        """The distances of new images, in their order; each may be near one that came before it.

        The first image of a class has none.
        """
        nearest = np.full(len(points), np.inf)
        if self.points:
            nearest = torch.cdist(points, torch.stack(tuple(self.points))).amin(dim=1).numpy()
        among = torch.cdist(points, points).numpy()
        found = []
        for i, point in enumerate(points):
            distance = float(nearest[i])
            if np.isfinite(distance):
                found.append(distance)
            if not self._keeps(distance):
                continue
            nearest = np.minimum(nearest, among[i])
            self.points.append(point)
            if np.isfinite(distance):
                self.distances.append(distance)
        while len(self.points) > self.limit:
            self.points.popleft()
        while len(self.distances) > self.limit:
            self.distances.popleft()
        return found

    def _keeps(self, distance: float) -> bool:
        if not np.isfinite(distance) or not self.distances:
            return True
        known = np.array(self.distances)
        return bool(distance > known.mean() - known.std())


@dataclass(kw_only=True)
class Detector:
    """A defence of answers that changes none; it remembers, so make one for each attack.

    threshold    scores below it are an alarm
    refuse       raise QueriesRefused from the first batch after an alarm
    least        distances before there is a score; the paper's 100
    window       distances that the score is of
    kept         images of a class that new ones are compared with
    first_alarm  images asked about by the first alarm; None so far
    asked        images seen
    """

    threshold: float | int = 0.95
    refuse: bool = False
    least: int = 100
    window: int = 2000
    kept: int = 500
    first_alarm: int | None = field(default=None, init=False)
    asked: int = field(default=0, init=False)
    _classes: dict[int, Seen] = field(default_factory=dict, init=False, repr=False)
    _distances: deque[float] = field(default_factory=deque, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise SettingsError(f"threshold = {self.threshold}: give a number from 0 to 1")
        if self.kept < 1 or not 3 <= self.least <= self.window <= 5000:
            raise SettingsError(
                f"kept = {self.kept}, least = {self.least}, window = {self.window}: give at least"
                " 1 kept, and 3 <= least <= window <= 5000"
            )

    def __call__(
        self,
        probabilities: Float[Tensor, "sample class"],
        x: Float[Tensor, "sample channel height width"],
    ) -> Float[Tensor, "sample class"]:
        """As they are. Raises QueriesRefused where the client was found out, if this refuses."""
        if self.refuse and self.first_alarm is not None:
            raise QueriesRefused(f"queries look made up: score below {self.threshold:g}")
        points = x.detach().flatten(1).double().cpu()
        labels = probabilities.argmax(dim=1).cpu()
        for label in labels.unique().tolist():
            seen = self._classes.setdefault(label, Seen(self.kept))
            self._distances.extend(seen.take(points[labels == label]))
        while len(self._distances) > self.window:
            self._distances.popleft()
        self.asked += len(x)
        if self.first_alarm is None and self.score() < self.threshold:
            self.first_alarm = self.asked
        return probabilities

    def score(self) -> float:
        """W in (0, 1] of the last distances; 1 while they are too few, or all alike."""
        from scipy.stats import shapiro

        found = np.array(self._distances)
        if len(found) < self.least:
            return 1.0
        within = found[np.abs(found - found.mean()) <= 3 * found.std()]
        if len(within) < 3 or np.ptp(within) <= 1e-12:
            return 1.0
        return float(shapiro(within).statistic)
