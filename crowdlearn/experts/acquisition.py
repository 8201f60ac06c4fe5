"""How urgent is it to ask an expert about an item? Larger is sooner; nats or probabilities.

A score is a function of posteriors, of any number of items at once. Where a classifier speaks too,
`cent` weighs how much it disagrees with the label and how unsure it is itself.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.special import xlogy

LEAST = 1e-12  # probabilities are taken to be at least this in logarithms


def entropy(posterior: Float[np.ndarray, "item class"]) -> Float[np.ndarray, " item"]:
    """-sum p ln p, in nats: 0 where certain, ln(classes) where nothing is known."""
    found: np.ndarray = -xlogy(posterior, posterior).sum(axis=1)
    return found


def least_confident(posterior: Float[np.ndarray, "item class"]) -> Float[np.ndarray, " item"]:
    """The posterior probability that the most probable label is wrong."""
    return 1 - posterior.max(axis=1)


def margin(posterior: Float[np.ndarray, "item class"]) -> Float[np.ndarray, " item"]:
    """Minus the lead of the most probable class over the next; 0 where two are level."""
    first_two = np.sort(posterior, axis=1)[:, -2:]
    return first_two[:, 0] - first_two[:, 1]


def cent(
    classifier: Float[np.ndarray, "item class"], labels: Int[np.ndarray, " item"]
) -> Float[np.ndarray, " item"]:
    """Cross-entropy of the label under the classifier, plus the classifier's entropy; nats.

    Large where the classifier contradicts the label, and where it does not know. QActor (Younesian
    et al., 2021, ACML); the sum of the two terms is reconstructed from its abstract.
    """
    said = classifier[np.arange(len(labels)), labels]
    return -np.log(np.maximum(said, LEAST)) + entropy(classifier)
