"""A consensus from settings and votes, and what is kept of it when it is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from crowdlearn.aggregation import OnSweep
from crowdlearn.errors import SettingsError
from crowdlearn.inference.starts import Start
from crowdlearn.neural.batches import DeviceVotes
from crowdlearn.neural.clipped_rmsprop import ClippedRmsprop
from crowdlearn.neural.consensus import Consensus
from crowdlearn.neural.device import torch_device
from crowdlearn.neural.guides import GUIDES, Guide
from crowdlearn.neural.network import VoteNetwork
from crowdlearn.neural.training import (
    Training,
    choose_left_out,
    predicted,
    some_votes,
    told_after,
    train,
)
from crowdlearn.predictors import ConsensusPredictor, NetworkPredictor, ProductPredictor
from crowdlearn.votes import Votes


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a trained network leaves behind."""

    predictor: Any
    confusion: Float[np.ndarray, "worker class class"]
    training: Training


def fit_consensus(
    method: Any, votes: Votes, gold: Int[np.ndarray, " item"], on_sweep: OnSweep | None
) -> Fitted:
    """Train the network and guide of these settings (`aggregators.consensus.Consensus`)."""
    device = torch_device(method.device)
    left_out = choose_left_out(votes, method.left_out, np.random.default_rng([method.seed, 2]))
    model, training = _trained(method, votes, gold, left_out, device, on_sweep)
    if left_out.any() and training.settled:
        again = replace(method, n_epochs=training.epoch_within(method.n_errors))
        done = len(training.loss)
        told = told_after(on_sweep, done, done + again.n_epochs)
        on_all, second = _trained(again, votes, gold, np.zeros_like(left_out), device, told)
        if second.stopped:
            training.stopped, training.settled = True, False
        else:
            model = on_all
    return read_off(model, votes, method.readout, training)


def _trained(
    method: Any,
    votes: Votes,
    gold: Int[np.ndarray, " item"],
    left_out: Bool[np.ndarray, " vote"],
    device: torch.device,
    on_sweep: OnSweep | None,
) -> tuple[Consensus, Training]:
    """A consensus trained without the votes left out, and stopped by them where there are any."""
    rest = some_votes(votes, ~left_out)
    rng = np.random.default_rng([method.seed, 0])
    model = make(method, rest, gold, method.start, rng).to(device)
    here = DeviceVotes.on(device, rest, gold)
    out = DeviceVotes.on(device, some_votes(votes, left_out), gold)
    believes = partial(model.log_posterior, readout=method.readout)
    score = partial(predicted, believes, model.guide.log_vote, here, out)
    training = train(
        model,
        ClippedRmsprop(model.parameters(), method.learning_rate, clip=method.clip),
        here,
        n_epochs=method.n_epochs,
        batch_items=method.batch_items,
        learning_rate=method.learning_rate,
        score=score if left_out.any() else None,
        patience=method.patience,
        shuffle=torch.Generator().manual_seed(method.seed),
        on_sweep=on_sweep,
    )
    return model, training


def make(
    method: Any,
    votes: Votes,
    gold: Int[np.ndarray, " item"],
    start: Start,
    rng: np.random.Generator,
) -> Consensus:
    """The untrained consensus. Raises SettingsError for a guide that lacks a method."""
    posterior = start(votes, rng)
    known = np.flatnonzero(gold >= 0)
    posterior[known] = np.eye(votes.n_classes)[gold[known]]
    make_guide = GUIDES[method.guide] if isinstance(method.guide, str) else method.guide
    guide: Any = make_guide(votes, posterior)
    if not (isinstance(guide, Guide) and isinstance(guide, nn.Module)):
        raise SettingsError(
            f"guide made {type(guide).__name__}, which is no torch module with log_vote and "
            "confusion: see crowdlearn.neural.guides.Guide"
        )
    if method.network is None:
        network: nn.Module = VoteNetwork(
            votes.n_workers,
            votes.n_classes,
            hidden=method.hidden,
            encoding=method.encoding,
            seed=method.seed,
        )
    else:
        network = method.network(votes.n_workers, votes.n_classes)
    shares = label_shares(votes) if method.prior == "label-shares" else np.ones(votes.n_classes)
    log_prior = torch.from_numpy(np.log(shares / shares.sum()).astype(np.float32))
    return Consensus(network, guide, log_prior, method.beta)


def label_shares(votes: Votes) -> Float[np.ndarray, " class"]:
    """Share of every label among all votes, one vote's worth spread over them all."""
    counts = np.bincount(votes.label, minlength=votes.n_classes) + 1 / votes.n_classes
    return counts / counts.sum()


def read_off(model: Consensus, votes: Votes, readout: str, training: Training) -> Fitted:
    """The trained model as arrays."""
    confusion = model.guide.confusion().detach().cpu().double().numpy()
    confusion /= confusion.sum(axis=2, keepdims=True)
    n_classes = votes.n_classes
    guide = ProductPredictor(
        prior=np.full(n_classes, 1 / n_classes),
        likelihood=np.ascontiguousarray(confusion.transpose(0, 2, 1)),
        state_class=np.arange(n_classes),
    )
    prior = np.exp(model.log_prior.cpu().double().numpy())
    network = as_arrays(model.network, prior / prior.sum())
    chosen = np.array([1.0 if readout == "guide" else 0.0])
    return Fitted(ConsensusPredictor((network, guide), chosen), confusion, training)


def as_arrays(network: nn.Module, prior: Float[np.ndarray, " class"]) -> Any:
    """The network without torch; one of the user's own stays a torch module."""
    if not isinstance(network, VoteNetwork):
        from crowdlearn.neural.own_network import OwnNetworkPredictor

        return OwnNetworkPredictor(network, prior)
    layers = [
        (w.detach(), b.detach()) for w, b in zip(network.weights, network.biases, strict=True)
    ]
    return network_predictor(layers, prior, coded=network.encoding == "codes")


def network_predictor(
    layers: list[tuple[Tensor, Tensor]], prior: Float[np.ndarray, " class"], *, coded: bool = False
) -> NetworkPredictor:
    """Layers of (weight, bias) as flat arrays."""
    flat = [part.cpu().double().numpy().ravel() for layer in layers for part in layer]
    sizes = [len(layers[0][0]), *(len(bias) for _, bias in layers)]
    return NetworkPredictor(np.concatenate(flat), np.array(sizes), prior, np.array([float(coded)]))
