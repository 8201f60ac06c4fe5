"""Encodings agree with each other and with the same network without torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from crowdlearn.neural.batches import DeviceVotes
from crowdlearn.neural.fitting import as_arrays
from crowdlearn.neural.network import ENCODINGS, VoteNetwork, constant_plus_noise
from crowdlearn.simulate import World
from crowdlearn.votes import Votes

CPU = torch.device("cpu")


def everything(votes: Votes) -> DeviceVotes:
    return DeviceVotes.on(CPU, votes, np.full(votes.n_items, -1))


def test_a_bag_is_the_dense_row(crowd: World) -> None:
    """Value and gradients, also where a worker votes twice on an item."""
    votes = Votes.from_codes(
        np.append(crowd.votes.item, 5), np.append(crowd.votes.worker, 1),
        np.append(crowd.votes.label, 2), items=40, workers=6, classes=3,
    )  # fmt: skip
    here = everything(votes)
    batch = here.batch(torch.tensor([5, 1, 17]))
    bag, dense = (VoteNetwork(6, 3, encoding=kind, seed=3) for kind in ("bag", "one-hot"))
    torch.testing.assert_close(bag(batch), dense(batch))
    for network in (bag, dense):
        network(batch).square().sum().backward()
    grad = bag.weights[0].grad
    assert grad is not None and grad.is_sparse
    torch.testing.assert_close(grad.to_dense(), dense.weights[0].grad)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_predictor_is_the_network(
    crowd: World, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crowdlearn.predictors.network.ROWS_AT_ONCE", 700)  # several parts
    votes = crowd.votes.only_items(np.arange(40) % 7 != 3)
    network = VoteNetwork(6, 3, encoding=encoding, fill=constant_plus_noise, seed=1)
    here = everything(votes)
    with torch.no_grad():
        expected = network(here.batch(here.in_order())).softmax(1).numpy()
    found = as_arrays(network, np.full(3, 1 / 3)).predict(votes)
    assert_allclose(found, expected, atol=1e-6)


def test_an_item_without_votes_gets_the_prior(crowd: World) -> None:
    votes = Votes.from_codes(np.array([0, 2]), np.array([0, 1]), np.array([1, 2]), workers=6)
    prior = np.array([0.2, 0.3, 0.5])
    found = as_arrays(VoteNetwork(6, 3), prior).predict(votes)
    assert_allclose(found[1], prior)
    assert np.abs(found[0] - prior).max() > 1e-3


def test_batches_hold_the_votes_of_their_items(crowd: World) -> None:
    votes = crowd.votes
    batch = everything(votes).batch(torch.tensor([9, 0, 33]))
    for place, item in enumerate((9, 0, 33)):
        own = votes.votes_of(item)
        at = batch.item.numpy() == place
        assert_allclose(batch.worker.numpy()[at], votes.worker[own])
        assert_allclose(batch.label.numpy()[at], votes.label[own])
