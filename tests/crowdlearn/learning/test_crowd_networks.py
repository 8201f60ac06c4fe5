"""Networks on votes: they find the classes in spite of the workers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from crowdlearn.errors import SettingsError, VotesError
from crowdlearn.learning import Conal, CrowdLayer, NetworkClassifier
from crowdlearn.learning.crowd_networks import _CommonConfusion, _WorkerLayer
from crowdlearn.simulate import fixed_per_item, given_workers

N = 600


def crowd() -> tuple[object, np.ndarray]:
    """Six workers, two of whom call class 1 a 2; and features that hold the truth."""
    good = 0.7 * np.eye(3) + 0.1
    biased = good.copy()
    biased[1] = [0.1, 0.1, 0.8]
    world = given_workers(
        np.stack([good] * 4 + [biased] * 2), n_items=N, assign=fixed_per_item(3), seed=1
    )
    noise = np.random.default_rng(0).normal(size=(N, 3))
    return world, 3 * np.eye(3)[world.truth] + noise


@pytest.mark.parametrize("method", [CrowdLayer, Conal])
def test_the_classifier_beats_the_majority_it_was_trained_on(method: type) -> None:
    world, features = crowd()
    fit = method(n_epochs=30).fit(world.votes, features)
    found = fit.predict_proba(features).argmax(axis=1)
    majority = world.votes.shares().argmax(axis=1)
    assert (found == world.truth).mean() > (majority == world.truth).mean()
    assert_array_equal(found, method(n_epochs=30).fit(world.votes, features)
                       .predict_proba(features).argmax(axis=1))  # fmt: skip


def test_heads_start_as_the_papers_say() -> None:
    world, features = crowd()
    p, worker = torch.tensor([[0.2, 0.5, 0.3]]), torch.tensor([4])
    layer = _WorkerLayer(world.votes)
    torch.testing.assert_close(layer(torch.ones(1, 3), p, worker), torch.log_softmax(p, dim=1))
    assert layer.apart().item() == 0
    mixed = _CommonConfusion(world.votes, 3)
    rows = torch.softmax(6 * torch.eye(3), dim=1)
    found = mixed(torch.ones(1, 3), p, worker)
    torch.testing.assert_close(found, torch.log(p @ rows), atol=1e-5, rtol=1e-5)
    assert mixed.apart().item() == 0


def test_features_must_fit() -> None:
    world, features = crowd()
    with pytest.raises(VotesError, match="5 rows of features for 600 items"):
        CrowdLayer().fit(world.votes, features[:5])


@pytest.mark.parametrize("settings", [
    {"held_out": 0.0}, {"dropout": 1.0}, {"n_hidden": 0}, {"patience": 0},
])  # fmt: skip
def test_impossible_networks_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        NetworkClassifier(**settings)  # type: ignore[arg-type]
