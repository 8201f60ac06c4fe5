"""A network of the user's own, as a predictor. It is a torch module, so it is not saved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from crowdlearn.neural.batches import DeviceVotes
from crowdlearn.neural.training import ITEMS_AT_ONCE
from crowdlearn.votes import Votes


@dataclass(frozen=True, eq=False)
class OwnNetworkPredictor:
    """softmax of the module's logits; an item without votes gets `prior`."""

    module: nn.Module
    prior: Float[np.ndarray, " class"]

    def predict(self, votes: Votes) -> Float[np.ndarray, "item class"]:
        device = next((p.device for p in self.module.parameters()), torch.device("cpu"))
        here = DeviceVotes.on(device, votes, np.full(votes.n_items, -1))
        posterior = np.empty((votes.n_items, votes.n_classes))
        with torch.no_grad():
            for index in here.batches(here.in_order(), ITEMS_AT_ONCE):
                logits = self.module(here.batch(index))
                posterior[index.cpu().numpy()] = logits.softmax(1).cpu().double().numpy()
        posterior /= posterior.sum(axis=1, keepdims=True)
        posterior[votes.votes_per_item == 0] = self.prior
        return posterior
