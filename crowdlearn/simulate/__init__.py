"""Worlds: simulated votes whose truth, workers and difficulties are known."""

from crowdlearn.simulate.assign import (
    alternating,
    as_in,
    everyone,
    fixed_per_item,
    poisson_per_item,
    uniform_pairs,
    zipf_workers,
)
from crowdlearn.simulate.bila import bila_bimodal, bila_uniform
from crowdlearn.simulate.dawid_skene import bcc, dawid_skene, given_workers, one_coin
from crowdlearn.simulate.dishonest import adversarial, colluding, spammers
from crowdlearn.simulate.drifting import drifting
from crowdlearn.simulate.ebcc import ebcc
from crowdlearn.simulate.hierarchical import hierarchical
from crowdlearn.simulate.idbla import fixed_idbla, idbla
from crowdlearn.simulate.world import Assign, World

WORLDS = {
    "dawid-skene": dawid_skene,
    "one-coin": one_coin,
    "bcc": bcc,
    "idbla": idbla,
    "fixed-idbla": fixed_idbla,
    "ebcc": ebcc,
    "bila-uniform": bila_uniform,
    "bila-bimodal": bila_bimodal,
    "adversarial": adversarial,
    "spammers": spammers,
    "colluding": colluding,
    "drifting": drifting,
    "hierarchical": hierarchical,
}
"""Every story: (n_items, n_workers, n_classes, *, its settings, assign, seed) -> World."""

__all__ = [
    "WORLDS",
    "Assign",
    "World",
    "adversarial",
    "alternating",
    "as_in",
    "bcc",
    "bila_bimodal",
    "bila_uniform",
    "colluding",
    "dawid_skene",
    "drifting",
    "ebcc",
    "everyone",
    "fixed_idbla",
    "fixed_per_item",
    "given_workers",
    "hierarchical",
    "idbla",
    "one_coin",
    "poisson_per_item",
    "spammers",
    "uniform_pairs",
    "zipf_workers",
]
