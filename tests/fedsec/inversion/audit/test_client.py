"""A client that is made sends what SGD on its images gives, and the facts about it are true."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from fedsec.core.record import Knowledge
from fedsec.errors import DataError, SettingsError
from fedsec.federated.local import FullGradient, LocalTraining
from fedsec.inversion.audit.client import Recipe, make_client
from fedsec.inversion.victim import classifier
from tests.fedsec.inversion.audit.audits import DIGITS, client, victim
from tests.fedsec.inversion.cases import local_steps


def test_the_update_is_that_of_the_steps_that_the_facts_tell() -> None:
    subject = client(5, LocalTraining(epochs=2, batch=2, lr=0.05))
    facts, truth = subject.facts, subject.truth
    assert truth is not None and facts.order is not None and facts.lr == 0.05
    assert facts.steps == len(facts.order) == 6 and facts.batch == 2
    assert sorted(facts.order[0] + facts.order[1] + facts.order[2]) == [0, 1, 2, 3, 4]
    assert facts.labels == tuple(truth.y.tolist())
    after = local_steps(subject.victim, truth, 0.05, facts.order)
    (seen,) = subject.observed
    assert seen.update.kind == subject.kind == "delta"
    expected = {name: after[name] - value for name, value in seen.parameters.items()}
    assert_close(seen.update.tensors, expected, rtol=1e-4, atol=1e-7)


def test_a_gradient_is_that_of_the_mean_loss() -> None:
    subject = client(3, FullGradient())
    truth = subject.truth
    assert truth is not None and subject.kind == "gradient"
    assert subject.facts == Knowledge(labels=tuple(truth.y.tolist()), batch=3)
    leaves = {
        name: value.clone().requires_grad_() for name, value in subject.victim.parameters.items()
    }
    subject.victim.loss(leaves, truth.x, truth.y).backward()
    slopes = {name: value.grad for name, value in leaves.items()}
    assert_close(subject.observed[0].update.tensors, slopes, rtol=1e-4, atol=1e-7)


def test_the_seed_decides_and_nothing_outside_is_touched() -> None:
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 10)
    )
    attacked = classifier(net)
    before, drawn = attacked.net.training, torch.random.get_rng_state()
    recipe = Recipe(images=4, local=LocalTraining(batch=2))
    one, two, other = (make_client(attacked, DIGITS, recipe, seed) for seed in (1, 1, 2))
    first, second, third = (subject.observed[0].update.tensors for subject in (one, two, other))
    assert_close(first, second, rtol=0, atol=0)
    assert not torch.equal(first["4.weight"], third["4.weight"])
    assert attacked.net.training == before
    assert torch.equal(torch.random.get_rng_state(), drawn)


def test_recipes_say_what_they_are() -> None:
    assert str(Recipe(images=1, local=FullGradient())) == "1 image, one gradient"
    local = LocalTraining(epochs=2, batch=3, lr=0.1)
    assert str(Recipe(images=7, local=local)) == "7 images, 6 local steps of 3 at a rate of 0.1"
    assert Recipe(images=7, local=local).n_steps == 6
    with pytest.raises(SettingsError, match="images = 0: give at least 1"):
        Recipe(images=0)
    with pytest.raises(DataError, match="a client of 2000 images: digits has 1297"):
        make_client(victim(), DIGITS, Recipe(images=2000), 0)
