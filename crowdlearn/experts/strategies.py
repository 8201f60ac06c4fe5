"""All strategies by name, of one signature: `(belief, rng) -> urgency`, larger is sooner."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from crowdlearn.errors import SettingsError
from crowdlearn.experts.acquisition import cent, entropy, least_confident, margin
from crowdlearn.experts.belief import Belief
from crowdlearn.experts.expected import expected_error_reduction, expected_information_gain

Strategy = Callable[[Belief, np.random.Generator], np.ndarray]

STRATEGIES: dict[str, Strategy] = {
    "random": lambda belief, rng: rng.random(len(belief.posterior)),
    "entropy": lambda belief, rng: entropy(belief.posterior),
    "margin": lambda belief, rng: margin(belief.posterior),
    "least-confident": lambda belief, rng: least_confident(belief.posterior),
    "cent": lambda belief, rng: cent_of(belief),
    "information": lambda belief, rng: expected_information_gain(belief),
    "error-reduction": lambda belief, rng: expected_error_reduction(belief),
}


def strategy(name: str) -> Strategy:
    """The strategy of this name. Raises SettingsError for an unknown one."""
    if name not in STRATEGIES:
        raise SettingsError(f"strategy {name!r} is not one of {', '.join(STRATEGIES)}")
    return STRATEGIES[name]


def cent_of(belief: Belief) -> np.ndarray:
    """CENT of the most probable labels; the entropy of the posterior without a classifier."""
    if belief.classifier is None:
        return entropy(belief.posterior)
    return cent(belief.classifier, belief.posterior.argmax(axis=1))
