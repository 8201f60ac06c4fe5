"""The loss against its definition: by enumeration, and by differences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor, nn
from torch.nn import functional

from crowdlearn.aggregators import aggregator
from crowdlearn.aggregators.consensus import Consensus as Method
from crowdlearn.errors import SettingsError
from crowdlearn.inference.starts import soft_majority
from crowdlearn.neural.batches import DeviceVotes, ItemVotes
from crowdlearn.neural.consensus import Consensus, consensus_loss
from crowdlearn.neural.guides import GUIDES
from crowdlearn.neural.label_aware import LabelAware
from crowdlearn.neural.network import VoteNetwork
from crowdlearn.simulate import World
from crowdlearn.votes import Votes

CPU = torch.device("cpu")


class DifficultyGuide(nn.Module):
    """A guide of one's own: right with probability sigmoid(ability * exp(easiness of the item))."""

    def __init__(self, votes: Votes, posterior: np.ndarray) -> None:
        super().__init__()
        self.n_classes = votes.n_classes
        self.ability = nn.Parameter(torch.ones(votes.n_workers))
        self.easiness = nn.Parameter(torch.zeros(votes.n_items))

    def log_vote(self, votes: ItemVotes) -> Tensor:
        easiness = self.easiness[votes.index].exp()[votes.item]
        score = (self.ability[votes.worker] * easiness)[:, None]
        right = functional.one_hot(votes.label, self.n_classes).bool()
        wrong = functional.logsigmoid(-score) - math.log(self.n_classes - 1)
        return torch.where(right, functional.logsigmoid(score), wrong)

    def confusion(self) -> Tensor:
        right = torch.sigmoid(self.ability)[:, None, None]
        eye = torch.eye(self.n_classes)
        return right * eye + (1 - right) * (1 - eye) / (self.n_classes - 1)


def model_of(crowd: World, guide: str, beta: float = 0.7, encoding: str = "bag") -> Consensus:
    """An untrained consensus in double precision, its parameters away from their start."""
    torch.manual_seed(0)
    votes = crowd.votes
    start = soft_majority(votes, np.random.default_rng(0))
    network = VoteNetwork(votes.n_workers, votes.n_classes, hidden=(4, 3), encoding=encoding)
    prior = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log()
    model = Consensus(network, GUIDES[guide](votes, start), prior, beta).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return model


def largest_relative_error(model: nn.Module, loss: Any) -> float:
    """Of backward's gradient against central differences, over all parameters."""
    model.zero_grad()
    loss().backward()
    worst = 0.0
    for parameter in model.parameters():
        assert parameter.grad is not None
        found = parameter.grad.to_dense() if parameter.grad.is_sparse else parameter.grad
        flat, expected = parameter.data.view(-1), torch.zeros(parameter.numel())
        for n in range(len(flat)):
            ends = []
            for move in (1e-5, -2e-5):
                flat[n] += move
                ends.append(loss().item())
            flat[n] += 1e-5
            expected[n] = (ends[0] - ends[1]) / 2e-5
        off = (found.reshape(-1) - expected).abs().max()
        worst = max(worst, float(off / expected.abs().max().clamp(min=1e-3)))
    return worst


@pytest.mark.parametrize("guide", GUIDES)
def test_gradients_of_network_and_guide(crowd: World, batch: ItemVotes, guide: str) -> None:
    model = model_of(crowd, guide)
    assert largest_relative_error(model, lambda: model(batch)) < 1e-5


@pytest.mark.parametrize("n_aspects", [0, 1, 2])
def test_gradients_of_the_autoencoder(crowd: World, n_aspects: int) -> None:
    """Away from zero, where the penalty of absolute values has a slope."""
    here = DeviceVotes.on(CPU, crowd.votes, np.full(40, -1))
    votes = here.batch(here.in_order())
    model = LabelAware(6, 3, n_aspects, kl=0.01, l1=0.1, l2=0.3, seed=0).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 + 0.1 * torch.rand_like(parameter)
    assert largest_relative_error(model, lambda: model(votes)) < 1e-5


@pytest.mark.parametrize("guide", GUIDES)
def test_with_beta_one_it_is_minus_the_evidence_lower_bound(crowd: World, guide: str) -> None:
    """Enumerated: E_q[ln q - ln p(t) - ln p(votes | t)], item by item, in plain floats."""
    votes, model = crowd.votes, model_of(crowd, guide, beta=1.0)
    here = DeviceVotes.on(CPU, votes, np.full(40, -1))
    index = torch.arange(5)
    batch = here.batch(index)
    q = model.network(batch).softmax(1).detach().numpy()
    confusion = model.guide.confusion().detach().numpy()
    prior = model.log_prior.exp().numpy()
    total = 0.0
    for i in range(5):
        for k in range(3):
            joint = prior[k]
            for v in range(votes.item_offsets[i], votes.item_offsets[i + 1]):
                joint *= confusion[votes.worker[v], k, votes.label[v]]
            total += q[i, k] * (math.log(q[i, k]) - math.log(joint))
    assert_allclose(model(batch).item(), total / 5, rtol=0, atol=1e-10)


def test_no_loss_lies_below_minus_the_evidence(crowd: World, batch: ItemVotes) -> None:
    """And it is reached where the network is the guide's posterior."""
    model = model_of(crowd, "confusion")
    free = torch.full((9,), -1)
    log_votes = batch.sum_by_item(model.guide.log_vote(batch))
    evidence = torch.logsumexp(model.log_prior + log_votes, 1).mean()
    exact = (model.log_prior + log_votes).log_softmax(1)
    best = consensus_loss(exact, log_votes, model.log_prior, 1.0, free)
    assert_allclose(best.item(), -evidence.item(), atol=1e-12)
    other = consensus_loss(
        model.network(batch).log_softmax(1), log_votes, model.log_prior, 1.0, free
    )
    assert other > best


def test_both_guides_give_every_label_its_share(crowd: World, batch: ItemVotes) -> None:
    for guide in GUIDES:
        model = model_of(crowd, guide)
        confusion = model.guide.confusion()
        assert_allclose(confusion.sum(2).detach().numpy(), 1, atol=1e-12)
        said = confusion[batch.worker, :, batch.label].log()
        torch.testing.assert_close(model.guide.log_vote(batch), said)


def test_a_guide_of_ones_own(crowd: World) -> None:
    fit = aggregator("consensus", guide=DifficultyGuide, n_epochs=200, left_out=0.0).fit(
        crowd.votes
    )
    assert (fit.labels == crowd.truth).mean() > 0.8
    assert fit.settings["guide"] == "DifficultyGuide"


class OwnNetwork(nn.Module):
    """Logits from the counts of labels alone."""

    def __init__(self, n_workers: int, n_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(n_classes))

    def forward(self, votes: ItemVotes) -> Tensor:
        shown = functional.one_hot(votes.label, votes.n_classes).float()
        return votes.sum_by_item(shown) @ self.weight


def test_a_network_of_ones_own_answers_but_is_not_saved(crowd: World, tmp_path: Any) -> None:
    method = aggregator(
        "consensus", network=OwnNetwork, readout="network", n_epochs=100, left_out=0.0
    )
    fit = method.fit(crowd.votes)
    assert (fit.labels == crowd.truth).mean() > 0.8
    assert_allclose(fit.predict_proba(crowd.votes), fit.posterior, atol=1e-6)
    with pytest.raises(OSError, match="network of your own"):
        fit.save(tmp_path / "fit")
    assert not (tmp_path / "fit").exists()


def test_bad_settings_are_refused(crowd: World) -> None:
    for settings, found in (
        ({"left_out": 1.0}, "left_out"),
        ({"readout": "both"}, "readout"),
        ({"prior": "flat"}, "prior"),
        ({"encoding": "sparse"}, "encoding"),
        ({"guide": "glad"}, "guide"),
        ({"clip": 0.0}, "clip must be positive"),
    ):
        with pytest.raises(SettingsError, match=found):
            Method(**settings)
    with pytest.raises(SettingsError, match="no torch module with log_vote"):
        Method(guide=lambda votes, start: nn.Linear(2, 2)).fit(crowd.votes)
    with pytest.raises(SettingsError, match="hidden must be"):
        Method(hidden=(4, 0)).fit(crowd.votes)
