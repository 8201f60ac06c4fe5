"""The training of BiLA: made on the first votes, brought up to date on any others."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from crowdlearn.aggregation import OnSweep
from crowdlearn.inference.starts import hard_majority
from crowdlearn.neural.batches import DeviceVotes
from crowdlearn.neural.clipped_rmsprop import ClippedRmsprop
from crowdlearn.neural.consensus import Consensus
from crowdlearn.neural.device import torch_device
from crowdlearn.neural.fitting import Fitted, label_shares, read_off
from crowdlearn.neural.guides import ConfusionGuide
from crowdlearn.neural.network import VoteNetwork, constant_plus_noise
from crowdlearn.neural.training import train
from crowdlearn.votes import Votes


class BilaTrainer:
    """Network, guide and optimiser of BiLA; `method` holds the settings (`aggregators.bila`).

    The guide starts from the hard majority of the votes it is made with. Workers and classes of
    later votes must be coded as theirs.
    """

    def __init__(self, method: Any, votes: Votes, gold: Int[np.ndarray, " item"]) -> None:
        self.method, self.device = method, torch_device(method.device)
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
        flat = torch.zeros(votes.n_classes)
        self.model = Consensus(network, guide, flat, method.kl_weight).to(self.device)
        self.optimiser = ClippedRmsprop(
            self.model.parameters(), method.learning_rate, clip=method.clip
        )

    def update(
        self,
        votes: Votes,
        gold: Int[np.ndarray, " item"],
        n_epochs: int,
        on_sweep: OnSweep | None = None,
    ) -> Fitted:
        """`n_epochs` passes over these votes, in order; their label shares are the prior."""
        shares = torch.from_numpy(label_shares(votes).astype(np.float32))
        self.model.log_prior.copy_(shares.log())
        training = train(
            self.model,
            self.optimiser,
            DeviceVotes.on(self.device, votes, gold),
            n_epochs=n_epochs,
            batch_items=self.method.batch_items,
            learning_rate=self.method.learning_rate,
            on_sweep=on_sweep,
        )
        return read_off(self.model, votes, "guide", training)
