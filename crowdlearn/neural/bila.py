"""The model of BiLA: a network on label codes, and a guide whose confusions start nearly flat."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from crowdlearn.inference.starts import hard_majority
from crowdlearn.neural.consensus import Consensus
from crowdlearn.neural.guides import ConfusionGuide
from crowdlearn.neural.network import VoteNetwork, constant_plus_noise
from crowdlearn.votes import Votes


def bila_model(method: Any, votes: Votes, gold: Int[np.ndarray, " item"]) -> Consensus:
    """The untrained model; `method` holds the settings (`aggregators.bila`).

    The guide starts from the hard majority of these votes.
    """
    majority = hard_majority(votes, np.random.default_rng([method.seed, 0]))
    known = np.flatnonzero(gold >= 0)
    majority[known] = np.eye(votes.n_classes)[gold[known]]
    network = VoteNetwork(
        votes.n_workers,
        votes.n_classes,
        hidden=method.hidden,
        encoding="codes",
        fill=constant_plus_noise,
        seed=method.seed,
    )
    guide = ConfusionGuide.start(votes, majority)
    return Consensus(network, guide, torch.zeros(votes.n_classes), method.kl_weight)
