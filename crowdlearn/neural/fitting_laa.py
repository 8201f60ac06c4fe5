"""A label-aware autoencoder from settings and votes: pretraining, training, what is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from crowdlearn.aggregation import OnSweep
from crowdlearn.neural.batches import DeviceVotes
from crowdlearn.neural.device import torch_device
from crowdlearn.neural.fitting import Fitted, label_shares, network_predictor
from crowdlearn.neural.label_aware import LabelAware
from crowdlearn.neural.training import told_after, train
from crowdlearn.predictors import AspectPredictor
from crowdlearn.votes import Votes


class Objective(torch.nn.Module):
    """One of the two losses of an autoencoder, as the model that `train` takes."""

    def __init__(self, autoencoder: LabelAware, pretraining: bool) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.loss = autoencoder.pretraining if pretraining else autoencoder

    def forward(self, votes: Any) -> Float[torch.Tensor, ""]:
        loss: torch.Tensor = self.loss(votes)
        return loss


def fit_laa(
    method: Any, votes: Votes, gold: Int[np.ndarray, " item"], on_sweep: OnSweep | None
) -> Fitted:
    """Train the autoencoder of these settings (`aggregators.laa.Laa`)."""
    device = torch_device(method.device)
    autoencoder = LabelAware(
        votes.n_workers,
        votes.n_classes,
        method.n_aspects,
        kl=method.kl,
        l1=method.l1,
        l2=method.l2,
        seed=method.seed,
    ).to(device)
    here = DeviceVotes.on(device, votes, gold)
    n_pretraining = method.n_pretrain_epochs
    of = n_pretraining + method.n_epochs
    stages = ((True, n_pretraining), (False, method.n_epochs))
    training = None
    for pretraining, n_epochs in stages:
        if n_epochs == 0 or (training is not None and training.stopped):
            continue
        training = train(
            Objective(autoencoder, pretraining),
            torch.optim.Adam(autoencoder.parameters(), method.learning_rate),
            here,
            n_epochs=n_epochs,
            batch_items=0,
            learning_rate=method.learning_rate,
            on_sweep=told_after(on_sweep, 0 if pretraining else n_pretraining, of),
        )
    assert training is not None
    return read_off(autoencoder, here, votes, training)


@torch.no_grad()
def read_off(autoencoder: LabelAware, here: DeviceVotes, votes: Votes, training: Any) -> Fitted:
    """The trained autoencoder as arrays; confusions are those on an item with mean aspects."""
    weight = autoencoder.aspect(here.batch(here.in_order())).mean(0)
    confusion = autoencoder.confusion(weight).cpu().double().numpy()
    confusion /= confusion.sum(axis=2, keepdims=True)
    prior, classifier = label_shares(votes), (autoencoder.classifier, autoencoder.classifier_bias)
    if not autoencoder.n_aspects:
        return Fitted(network_predictor([classifier], prior), confusion, training)
    aspects = (autoencoder.aspects, autoencoder.aspect_bias)
    arrays = [array.cpu().double().numpy() for array in (*classifier, *aspects)] + [prior]
    return Fitted(AspectPredictor(*arrays), confusion, training)
