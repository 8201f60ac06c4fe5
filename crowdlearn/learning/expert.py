"""An expert made of known labels: answers, errs as often as said, and counts what it was asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from crowdlearn.errors import SettingsError, VotesError


@dataclass
class Expert:
    """Answers from known labels (item -> class), wrong with probability `error`; counts calls.

    A wrong answer is one of the other `classes`, drawn evenly.
    """

    truth: Mapping[str, str]
    classes: tuple[str, ...] = ()
    error: float = 0.0
    seed: int = 0
    n_calls: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if not 0 <= self.error <= 1:
            raise SettingsError(f"the error of an expert is from 0 to 1, not {self.error!r}")
        if self.error and len(self.classes) < 2:
            raise SettingsError("an expert who errs needs classes to choose from")
        self._rng = np.random.default_rng(self.seed)

    def ask(self, names: Iterable[str]) -> dict[str, str]:
        """The answers. Raises VotesError for an item that the expert does not know."""
        found: dict[str, str] = {}
        for name in names:
            if name not in self.truth:
                raise VotesError(f"the expert has no answer for item {name!r}")
            self.n_calls += 1
            found[name] = self.truth[name]
            if self.error and self._rng.random() < self.error:
                others = [c for c in self.classes if c != found[name]]
                found[name] = others[int(self._rng.integers(len(others)))]
        return found
