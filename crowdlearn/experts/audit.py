"""Which items may stop, when an expert has checked a random sample: a promise without a model.

A model's posterior says how sure it is of each label, and may be wrong about that: workers share
mistakes that it takes for independent. But if an expert answers items drawn at random, and nothing
is learned from these answers, then an audited item and any other are alike in all but that its
label was checked. Each item gets the conformal p-value

    p = (1 + number of audited items with a wrong label and at most its doubt) / (1 + audited)

and the Benjamini-Hochberg rule at the target picks the items: Jin and Candes (2023), Selection by
prediction with conformal p-values, arXiv 2210.01408, whose theorem bounds the expected share of
wrong labels among those picked by the target. The posterior only orders the items; a bad one stops
few.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from crowdlearn.experts.stopping import check_target


def certified_items(
    posterior: Float[np.ndarray, "item class"],
    target: float,
    audit: Int[np.ndarray, " item"],
    answered: Bool[np.ndarray, " item"] | None = None,
) -> Bool[np.ndarray, " item"]:
    """Which items need no more votes: their labels' mean error is at most `target`, as audited.

    `audit` has the expert's class for a random sample of the items, -1 elsewhere. The posterior
    must not have seen these answers: an item that it was given as gold counts as `answered`, not
    as audited, and is neither picked nor checked. Audited items are not picked; their label is the
    expert's.

    Guarantee: the expected share of wrong labels among the picked items is at most `target`,
    whatever the model, if the audited items are a random sample of all that are not answered and
    were given votes like them. It is a mean over samples and crowds, for one look; a rule that
    looks again after every batch is measured in `benchmarks/results/stopping.md`. Nothing can be
    picked from fewer than 1 / target - 1 audited items.

    Raises SettingsError for a target outside 0 to 1.
    """
    check_target(target)
    free = np.ones(len(posterior), dtype=np.bool_) if answered is None else ~answered
    doubt = 1 - posterior.max(axis=1)
    checked = free & (audit >= 0)
    wrong = np.sort(doubt[checked & (posterior.argmax(axis=1) != audit)])
    others = np.flatnonzero(free & (audit < 0))
    order = others[np.argsort(doubt[others], kind="stable")]
    chance = (1 + np.searchsorted(wrong, doubt[order], side="right")) / (1 + checked.sum())
    within = np.flatnonzero(chance * len(order) <= target * np.arange(1, len(order) + 1) + 1e-12)
    stop = np.zeros(len(posterior), dtype=np.bool_)
    stop[order[: within[-1] + 1 if len(within) else 0]] = True
    return stop
