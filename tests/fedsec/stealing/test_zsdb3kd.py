"""ZSDB3KD-style: soft labels of a victim whose boundaries are known, and what an image may cost."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fedsec.core.functional import state_of
from fedsec.errors import SettingsError
from fedsec.stealing.oracle import ModelOracle
from fedsec.stealing.parts import Parts
from fedsec.stealing.zsdb3kd import Zsdb3kd, _bank, _even, distilled, noise_images

SHAPE = (1, 2, 2)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Shade(nn.Module):
    """Class 0, 1 or 2 by the mean grey of an image: below 1/3, below 2/3, above."""

    def __init__(self) -> None:
        super().__init__()
        self.none = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        grey = x.flatten(1).mean(dim=1, keepdim=True)
        return -(grey - torch.tensor([1 / 6, 3 / 6, 5 / 6])).abs()


def copy() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3))


def shades(budget: int | None = None) -> ModelOracle:
    return ModelOracle(Shade(), state_of(Shade()), SHAPE, 3, budget=budget)


def greys(*values: float) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, *SHAPE).clone()


def begun(method: Zsdb3kd) -> Parts:
    return method.begin(shades(), copy(), 0)


def test_soft_labels_are_inverse_distances_to_the_boundaries() -> None:
    """Flat images lie on one line, so a distance is |grey - boundary| times the root of 4."""
    method, oracle = Zsdb3kd(bisections=14), shades()
    parts = begun(method)
    _bank(parts, greys(0.1, 0.5, 0.9), torch.tensor([0, 1, 2]), 3)
    x, labels = greys(0.05, 0.4, 0.95), torch.tensor([0, 1, 2])
    found = method._soft(oracle, parts, x, labels)
    near = torch.tensor([[0.0, 1 / 3, 2 / 3], [1 / 3, 0.0, 2 / 3], [1 / 3, 2 / 3, 0.0]])
    grey = torch.tensor([0.05, 0.4, 0.95])
    expected = 1 / (2 * (near - grey[:, None]).abs())
    expected[torch.arange(3), labels] = 0
    expected[torch.arange(3), labels] = expected.sum(dim=1)
    assert torch.allclose(found, expected, rtol=2e-3)
    assert oracle.queries == 3 * 2 * 14


def test_a_class_that_is_not_known_is_infinitely_far() -> None:
    method, parts = Zsdb3kd(), begun(Zsdb3kd())
    _bank(parts, greys(0.1, 0.5), torch.tensor([0, 1]), 3)
    found = method._soft(shades(), parts, greys(0.2), torch.tensor([0]))
    assert found[0, 2] == 0 and found[0, 0] == found[0, 1] > 0


def test_images_move_away_from_the_boundary_and_keep_their_label() -> None:
    method, oracle = Zsdb3kd(moves=2, move=0.2, bisections=10, turns=0), shades()
    parts = begun(method)
    _bank(parts, greys(0.1, 0.5, 0.9), torch.tensor([0, 1, 2]), 3)
    x, labels = greys(0.3, 0.35, 0.7), torch.tensor([0, 1, 2])
    found = method._moved(oracle, parts, x, labels)
    # a move of length 0.2 is 0.1 in each of 4 pixels, away from 1/3, 1/3 and 2/3
    assert torch.allclose(found, greys(0.1, 0.55, 0.9), atol=1e-5)
    assert torch.equal(Shade()(found).argmax(dim=1), labels)


def test_a_move_that_would_change_the_label_is_halved() -> None:
    """From 0.64 in class 1, away from 2/3: 0.5 in grey leaves the class, half of that does not."""
    method = Zsdb3kd(moves=1, move=1.0, bisections=10, turns=0)
    parts = begun(method)
    _bank(parts, greys(0.1, 0.9), torch.tensor([0, 2]), 3)
    found = method._moved(shades(), parts, greys(0.64), torch.tensor([1]))
    assert torch.allclose(found, greys(0.39), atol=1e-5)


def test_no_image_costs_more_than_it_says() -> None:
    method = Zsdb3kd(images=6, moves=2, turns=2, signs=3)
    oracle = shades()
    parts = method.begin(oracle, copy(), 0)
    asked = 0
    for _ in range(4):
        method.step(oracle, parts)
        assert oracle.queries - asked <= 6 * method.queries_per_image(3)
        asked = oracle.queries
    assert parts.numbers["remembered"] == 24


def test_images_are_taken_evenly_and_the_bank_keeps_the_latest() -> None:
    labels = torch.tensor([0, 0, 0, 0, 1, 2, 2, 0])
    assert sorted(labels[_even(labels, 5, 3)].tolist()) == [0, 0, 1, 2, 2]
    parts = begun(Zsdb3kd())
    for start in range(0, 120, 40):
        _bank(parts, torch.arange(start, start + 40.0).view(-1, 1, 1, 1).expand(-1, *SHAPE),
              torch.arange(40) % 2, 3)  # fmt: skip
    known, of_class = parts.tensors["bank_x"][:, 0, 0, 0], parts.tensors["bank_y"]
    for label in (0, 1):
        assert known[of_class == label].tolist() == list(range(20 + label, 120, 2))


def test_noise_is_in_range_and_of_many_contrasts() -> None:
    parts = begun(Zsdb3kd())
    x = noise_images(500, SHAPE, parts)
    assert x.min() >= 0 and x.max() <= 1
    assert x.flatten(1).std(dim=1).min() < 0.05 and x.flatten(1).std(dim=1).max() > 0.4


def test_the_loss_is_cross_entropy_and_summed_divergence() -> None:
    logits = torch.randn(5, 3, generator=seeded(1))
    soft = torch.rand(5, 3, generator=seeded(2)) * 9
    labels = torch.tensor([0, 1, 2, 1, 0])
    p, q = (soft / 20).softmax(dim=1), (logits / 20).softmax(dim=1)
    expected = cross_entropy(logits, labels) + (p * (p / q).log()).sum()
    told = torch.cat([labels[:, None].float(), soft], dim=1)
    assert torch.allclose(distilled(logits, told, 20), expected, atol=1e-6)


def test_a_budget_without_an_image_in_it_is_refused() -> None:
    method = Zsdb3kd()
    each = method.queries_per_image(3)
    with pytest.raises(SettingsError, match=f"leaves {each - 1} queries, and an image takes up to"):
        method.begin(shades(each - 1), copy(), 0)
