"""Features against a network cut by hand, the scale against all pairs, and what they are for."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor, nn

from fedsec.core.functional import state_of
from fedsec.data.images import ImageData, Images
from fedsec.errors import DataError, SettingsError
from fedsec.metrics.features import FeatureNet, penultimate, train_features
from fedsec.nets import NETS, make_net


@pytest.fixture(scope="module")
def trained(digits: ImageData) -> FeatureNet:
    return train_features(digits, 0)


@pytest.fixture(scope="module")
def few(digits: ImageData) -> ImageData:
    """60 images to train on."""
    return replace(digits, train=digits.train.subset(torch.arange(60)))


@pytest.mark.parametrize("name", NETS)
def test_features_enter_the_last_linear_layer(name: str, digits: ImageData) -> None:
    net = make_net(name, digits, 0).eval()
    state, x = state_of(net), digits.test.x[:20]
    features = penultimate(net, state, x)
    *body, last = net
    assert isinstance(last, nn.Linear)
    assert torch.equal(features, nn.Sequential(*body)(x))
    assert torch.equal(last(features), net(x))
    assert not any(module._forward_pre_hooks for module in net.modules())


def test_the_last_layer_is_the_one_called_last() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(5, 3)
            self.body = nn.Linear(4, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(x.flatten(1)).relu())

    net, x = Backwards(), torch.rand(6, 1, 2, 2)
    assert torch.equal(penultimate(net, state_of(net), x), net.body(x.flatten(1)).relu())


def test_networks_without_such_features_are_refused() -> None:
    x = torch.rand(2, 3, 4)
    for net, says in ((nn.Flatten(), "calls no Linear"), (nn.Linear(4, 2), "takes")):
        with pytest.raises(DataError, match=says):
            penultimate(net, state_of(net), x)


def test_the_classifier_is_a_good_one(trained: FeatureNet) -> None:
    assert trained.accuracy > 0.95
    training = "400 steps of 64, lr 0.005, seed 0"
    assert trained.name == f"penultimate features of cnn, digits, {training}"
    assert trained.features(torch.zeros(3, 1, 8, 8)).shape == (3, 128)


def test_a_seed_gives_one_set_of_features_and_draws_from_no_global_generator(
    few: ImageData, digits: ImageData
) -> None:
    before = torch.get_rng_state()
    first, second, other = (train_features(few, seed, steps=5) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    x = digits.test.x[:10]
    assert torch.equal(first.features(x), second.features(x))
    assert first.scale == second.scale
    assert not torch.allclose(first.features(x), other.features(x))


def test_the_scale_is_the_root_mean_square_distance_of_two_training_images(few: ImageData) -> None:
    net = train_features(few, 0, steps=20)
    features = net.features(few.train.x).double()
    apart = torch.pdist(features)
    assert net.scale == pytest.approx(apart.square().mean().sqrt().item(), rel=1e-6)
    pairs = torch.combinations(torch.arange(60))
    distance = net.distance(few.train.x[pairs[:, 0]], few.train.x[pairs[:, 1]])
    assert_allclose(distance, apart / net.scale, rtol=1e-4, atol=1e-6)
    assert distance.square().mean().item() == pytest.approx(1, rel=1e-6)


def test_batches_change_nothing_and_pixels_are_clamped(
    trained: FeatureNet, digits: ImageData
) -> None:
    x = digits.test.x[:50]
    whole = trained.features(x)
    assert_allclose(trained.features(x, batch=7), whole, rtol=1e-5, atol=1e-5)
    wide = torch.where(x == 1, 3.0, torch.where(x == 0, -2.0, x)).requires_grad_()
    assert torch.equal(trained.features(wide), whole)
    assert not trained.features(wide).requires_grad


def test_a_shift_by_a_pixel_is_nearer_than_another_class_where_pixels_see_it_farther(
    trained: FeatureNet, digits: ImageData
) -> None:
    """What features are for."""
    x = digits.test.x[:200]
    shifted = x.roll(1, dims=3)
    other = x.roll(1, dims=0)
    differs = digits.test.y[:200] != digits.test.y[:200].roll(1)
    assert trained.distance(x, x).max() == 0
    by_features = trained.distance(x, shifted)[differs] < trained.distance(x, other)[differs]
    pixels = [(x - y).square().flatten(1).mean(dim=1)[differs] for y in (shifted, other)]
    by_pixels = pixels[0] < pixels[1]
    assert by_features.double().mean() > by_pixels.double().mean() + 0.1


def test_normalisation_has_its_running_statistics(few: ImageData) -> None:
    net = train_features(few, 0, net="cnn-bn", steps=30)
    x = few.test.x[:5]
    alone = torch.cat([net.features(image[None]) for image in x])
    assert_allclose(net.features(x), alone, rtol=1e-4, atol=1e-5)


def test_training_leaves_the_images_alone(few: ImageData) -> None:
    before = few.train.x.clone()
    train_features(few, 0, steps=3)
    assert torch.equal(few.train.x, before)


def test_what_cannot_be_trained_or_looked_at_is_refused(
    trained: FeatureNet, few: ImageData
) -> None:
    for settings, says in (
        ({"steps": 0}, "steps = 0"), ({"batch": 0}, "batch = 0"), ({"lr": 0.0}, "lr = 0"),
        ({"net": "none"}, "no network 'none'"),
    ):  # fmt: skip
        with pytest.raises(SettingsError, match=says):
            train_features(few, 0, **settings)
    for x in (torch.zeros(2, 3, 8, 8), torch.zeros(2, 1, 9, 8), torch.zeros(0, 1, 8, 8)):
        with pytest.raises(DataError, match=r"features are of \(sample, 1, 8, 8\)"):
            trained.features(x)
    with pytest.raises(SettingsError, match="batch = 0"):
        trained.features(torch.zeros(1, 1, 8, 8), batch=0)
    alike = Images(torch.zeros(20, 1, 8, 8), torch.zeros(20, dtype=torch.int64))
    with pytest.raises(
        DataError, match="digits: the features of the training images are all alike"
    ):
        train_features(replace(few, train=alike), 0, steps=2)
    with pytest.raises(DataError, match="all alike, or not finite"):
        train_features(few, 0, steps=5, lr=1e30)
