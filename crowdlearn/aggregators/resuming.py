"""Going on with a sampler's earlier result, and sharing the cores among its chains."""

from __future__ import annotations

from typing import Any

import numpy as np

from crowdlearn.aggregation import Aggregation, Draws, History
from crowdlearn.aggregators.settings import settings_of
from crowdlearn.errors import SettingsError
from crowdlearn.sweeps.pool import available_cores
from crowdlearn.votes import Votes, VoteSet

MAY_DIFFER = {"n_draws", "n_warmup", "n_threads", "device"}


def earlier_run(
    method: Any, votes: VoteSet, gold: Any, resume: Aggregation | None
) -> tuple[dict[str, np.ndarray], Draws, History] | None:
    """Sampler state, draws and history of `resume`, checked to belong to this fit.

    Raises SettingsError where method, settings, votes or gold answers differ.
    """
    if resume is None:
        return None
    if not isinstance(votes, Votes):
        raise SettingsError(
            "cannot resume a fit of coded votes: open_votes(..., checkpoint=FOLDER) goes on from"
            " where it was"
        )
    if resume.method != method.name or resume.draws is None:
        raise SettingsError(f"cannot resume {method.name} from a result of {resume.method}")
    now = {k: v for k, v in settings_of(method).items() if k not in MAY_DIFFER}
    different = [k for k, v in now.items() if resume.settings.get(k) != v]
    if different:
        k = different[0]
        raise SettingsError(
            f"cannot resume: {k} was {resume.settings.get(k)!r} and is {now[k]!r} now; fit afresh"
        )
    same = (
        np.array_equal(votes.worker, resume.votes.worker)
        and np.array_equal(votes.label, resume.votes.label)
        and np.array_equal(votes.item_offsets, resume.votes.item_offsets)
        and votes.classes == resume.votes.classes
    )
    if not same:
        raise SettingsError("cannot resume: the votes are not those of the earlier fit; fit afresh")
    if not np.array_equal(gold, resume.gold):
        raise SettingsError("cannot resume: the gold answers are not those of the earlier fit")
    return resume.sampler, resume.draws, resume.history


def threads_for(method: Any) -> tuple[int, int]:
    """How many chains run at once, and the threads of each."""
    cores = method.n_threads or available_cores()
    at_once = min(cores, method.n_chains)
    return at_once, max(cores // at_once, 1)
