"""Knockoff nets ask about the surrogate set alone, each image once; the bandit by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fedsec.core.functional import state_of
from fedsec.data.images import ImageData, Images
from fedsec.errors import SettingsError
from fedsec.nets import make_net
from fedsec.stealing.knockoff import AdaptiveKnockoff, Knockoff, as_laws
from fedsec.stealing.oracle import ModelOracle, QueryLog, digests
from fedsec.stealing.surrogate import Surrogate

SHAPE = (1, 8, 8)


def pictures(n: int, n_classes: int = 4) -> Images:
    generator = torch.Generator().manual_seed(0)
    return Images(
        torch.rand(n, *SHAPE, generator=generator),
        torch.randint(n_classes, (n,), generator=generator),
    )


@pytest.fixture(scope="module")
def victim(digits: ImageData) -> nn.Module:
    return make_net("linear", digits, 0).eval()


@pytest.mark.parametrize("kind", [Knockoff, AdaptiveKnockoff])
def test_it_asks_about_the_surrogate_set_alone_and_once(
    kind: type[Knockoff], victim: nn.Module, digits: ImageData
) -> None:
    images = pictures(530)
    known = digests(images.x)
    log = QueryLog(10, hashes=True)
    oracle = ModelOracle(victim, state_of(victim), SHAPE, 10, budget=10_000, log=log)
    method = kind(surrogate=Surrogate(images), pool=100, batch=50, epochs=4, held_out=0)
    stolen = method(oracle, make_net("cnn-bn", digits, 1), seed=0)
    assert stolen.stopped == "done" and oracle.queries == 530
    assert log.hashes is not None and sorted(log.hashes) == sorted(known)
    assert log.hashes != known
    assert 4 * 530 / 50 <= stolen.substitute_steps <= 4 * 530 / 50 + oracle.log.calls


def test_within_a_budget_the_images_are_a_draw(victim: nn.Module, digits: ImageData) -> None:
    images = pictures(400)
    asked = []
    for seed in (0, 0, 1):
        log = QueryLog(10, hashes=True)
        oracle = ModelOracle(victim, state_of(victim), SHAPE, 10, budget=150, log=log)
        method = Knockoff(surrogate=Surrogate(images), pool=100, batch=50, epochs=1)
        assert method(oracle, make_net("cnn-bn", digits, 1), seed=seed).stopped == "budget"
        asked.append(log.hashes)
    assert asked[0] == asked[1] != asked[2]
    assert len(set(asked[0])) == 150 and set(asked[0]) <= set(digests(images.x))


def test_the_rate_falls_along_a_cosine(victim: nn.Module, digits: ImageData) -> None:
    oracle = ModelOracle(victim, state_of(victim), SHAPE, 10, budget=300)
    method = Knockoff(surrogate=Surrogate(pictures(500)), pool=60, batch=30, epochs=1)
    parts = method.begin(oracle, make_net("cnn-bn", digits, 1), 0)
    for number in range(5):
        method.step(oracle, parts)
        rate = 0.1 * (1 + math.cos(math.pi * number / 5)) / 2
        assert parts.optimisers["substitute"].param_groups[0]["lr"] == pytest.approx(rate)


def test_the_bandit_is_that_of_a_loop(victim: nn.Module, digits: ImageData) -> None:
    """Preferences after one batch, written out with the rewards of labels."""
    images = pictures(200)
    oracle = ModelOracle(victim, state_of(victim), SHAPE, 10)
    method = AdaptiveKnockoff(surrogate=Surrogate(images), pool=40)
    parts = method.begin(oracle, make_net("cnn", digits, 1), 0)
    rows = torch.arange(40)
    answers = oracle(images.x[rows])
    surprise = torch.rand(40, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    method._weigh(parts, rows, answers, surprise, 10)
    preference, times, mean = [0.0] * 4, [0] * 4, 0.0
    for i in range(40):
        reward = (1 + 1 + float(surprise[i] / surprise.max())) / 3  # certain, new, surprising
        action = int(images.y[i])
        times[action] += 1
        mean = (mean * i + reward) / (i + 1)
        weights = [math.exp(value) for value in preference]
        for other in range(4):
            chance = weights[other] / sum(weights)
            rise = (reward - mean) / times[action]
            preference[other] += rise * ((1 - chance) if other == action else -chance)
    assert parts.tensors["preference"].tolist() == pytest.approx(preference)
    assert parts.tensors["chosen"].tolist() == times
    shares = torch.bincount(answers, minlength=10) / 40
    assert torch.allclose(parts.tensors["mean_answer"], shares.double())


def test_the_bandit_comes_to_choose_what_pays(victim: nn.Module, digits: ImageData) -> None:
    images = pictures(4000)
    oracle = ModelOracle(victim, state_of(victim), SHAPE, 10)
    method = AdaptiveKnockoff(surrogate=Surrogate(images), pool=50)
    parts = method.begin(oracle, make_net("cnn", digits, 1), 0)
    for _ in range(20):
        rows = method._choose(parts)
        surprise = (images.y[rows] == 2).double()  # class 2 alone surprises
        method._weigh(parts, rows, torch.zeros(len(rows), dtype=torch.int64), surprise, 10)
    chances = parts.tensors["preference"].softmax(dim=0)
    assert chances.argmax() == 2 and chances[2] > 0.4


def test_choosing_takes_images_out_until_none_is_left(victim: nn.Module, digits: ImageData) -> None:
    oracle = ModelOracle(victim, state_of(victim), SHAPE, 10)
    method = AdaptiveKnockoff(surrogate=Surrogate(pictures(90)), pool=30)
    parts = method.begin(oracle, make_net("cnn", digits, 1), 0)
    parts.tensors["preference"][1] = 3.0  # so its images run out first
    seen: list[int] = []
    while len(parts.tensors["waiting"]):
        rows = method._choose(parts)
        assert 0 < len(rows) <= 30
        seen += rows.tolist()
    assert sorted(seen) == list(range(90))


def test_images_of_another_shape_are_refused(victim: nn.Module, digits: ImageData) -> None:
    oracle = ModelOracle(victim, state_of(victim), SHAPE, 10)
    large = Surrogate(Images(torch.rand(3, 1, 28, 28), torch.zeros(3, dtype=torch.int64)), "large")
    with pytest.raises(
        SettingsError, match=r"large: images are \(1, 28, 28\), the victim's \(1, 8"
    ):
        Knockoff(surrogate=large).begin(oracle, make_net("cnn", digits, 1), 0)


def test_labels_are_certain_laws() -> None:
    assert as_laws(torch.tensor([1, 0]), 3).tolist() == [[0, 1, 0], [1, 0, 0]]
    law = torch.tensor([[0.2, 0.8]])
    assert as_laws(law, 2) is law
