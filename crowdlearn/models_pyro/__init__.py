"""Twins of some stories in Pyro on torch: same sites, same hyperparameters, same log density.

A story is `story(data: VoteData, *, hyperparameters) -> Reading` as in `crowdlearn.models`, with
torch tensors; `crowdlearn.inference.svi_pyro` inverts it. Needs the extra `pyro`, and no JAX.
"""

from __future__ import annotations

try:
    import pyro  # noqa: F401
except ImportError as error:
    raise ImportError("stories in Pyro need it: pip install 'crowdlearn[pyro]'") from error

from crowdlearn.models_pyro.cbcc import cbcc
from crowdlearn.models_pyro.data import VoteData, items_of, vote_data
from crowdlearn.models_pyro.dawid_skene import dawid_skene
from crowdlearn.models_pyro.hierarchical_dawid_skene import hierarchical_dawid_skene
from crowdlearn.models_pyro.idbla import idbla
from crowdlearn.models_pyro.plates import item_plate
from crowdlearn.models_pyro.reading import Reading, Story, marginalise

STORIES: dict[str, Story] = {
    "dawid-skene": dawid_skene,
    "hierarchical-dawid-skene": hierarchical_dawid_skene,
    "cbcc": cbcc,
    "idbla": idbla,
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
