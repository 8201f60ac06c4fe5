"""Generative stories in NumPyro, one plain function a file. `STORIES` names them.

A story is `story(data: VoteData, *, hyperparameters) -> Reading`: it draws continuous parameters
with `numpyro.sample`, and ends with `marginalise`, which sums every item's class out exactly. It is
the specification that the fast methods are proved against. A hyperparameter that would make a prior
improper raises SettingsError, which names it.
"""

from __future__ import annotations

from crowdlearn.models.bcc import bcc
from crowdlearn.models.bcc_hyper import bcc_hyper
from crowdlearn.models.cbcc import cbcc
from crowdlearn.models.data import VoteData, items_of, vote_data
from crowdlearn.models.dawid_skene import dawid_skene
from crowdlearn.models.ebcc import ebcc
from crowdlearn.models.fixed_idbla import fixed_idbla
from crowdlearn.models.glad import glad
from crowdlearn.models.hierarchical_dawid_skene import hierarchical_dawid_skene
from crowdlearn.models.idbla import idbla
from crowdlearn.models.item_difficulty import item_difficulty
from crowdlearn.models.logistic_random_effects import logistic_random_effects
from crowdlearn.models.mace import mace
from crowdlearn.models.multinomial import multinomial
from crowdlearn.models.one_coin import one_coin
from crowdlearn.models.ordinal import ordinal
from crowdlearn.models.plates import item_plate
from crowdlearn.models.reading import Reading, Story, marginalise

STORIES: dict[str, Story] = {
    "multinomial": multinomial,
    "dawid-skene": dawid_skene,
    "one-coin": one_coin,
    "mace": mace,
    "glad": glad,
    "hierarchical-dawid-skene": hierarchical_dawid_skene,
    "item-difficulty": item_difficulty,
    "logistic-random-effects": logistic_random_effects,
    "bcc": bcc,
    "bcc-hyper": bcc_hyper,
    "cbcc": cbcc,
    "ebcc": ebcc,
    "idbla": idbla,
    "fixed-idbla": fixed_idbla,
    "ordinal": ordinal,
}

__all__ = [
    "STORIES",
    "Reading",
    "Story",
    "VoteData",
    "item_plate",
    "items_of",
    "marginalise",
    "vote_data",
]
