"""Labels of one image are exact; counts of batches on untrained networks, local steps included."""

from itertools import product

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from fedsec.core.functional import Parameters
from fedsec.data.images import Images
from fedsec.errors import SettingsError, UpdateError
from fedsec.inversion.labels import (
    counts_from_slope,
    idlg_label,
    idlg_label_from_rows,
    labels_by_minima,
    last_layer,
    longest_row,
    nearest_counts,
    recover_labels,
    refined_counts,
    scale_of,
    slope_from_rows,
)
from fedsec.inversion.victim import Victim, classifier
from fedsec.nets import make_net
from tests.fedsec.inversion.cases import DIGITS, SHAPE, generator, local_steps

NETS = ["mlp", "cnn", "lenet-sigmoid"]
SEEDS = range(8)


def victim_of(name: str, seed: int) -> Victim:
    """An untrained network."""
    return classifier(make_net(name, DIGITS, seed))


def gradient_of(victim: Victim, images: Images) -> Parameters:
    """What a client of FedSGD sends."""
    leaves = {name: value.clone().requires_grad_() for name, value in victim.parameters.items()}
    found = torch.autograd.grad(victim.loss(leaves, images.x, images.y), tuple(leaves.values()))
    return dict(zip(leaves, found, strict=True))


def distinct(n: int, seed: int) -> Images:
    """n digits of n classes."""
    rng = generator(seed)
    classes = torch.randperm(10, generator=rng)[:n]
    order = torch.randperm(len(DIGITS.train), generator=rng)
    y = DIGITS.train.y[order]
    return DIGITS.train.subset(order[torch.stack([(y == c).nonzero()[0, 0] for c in classes])])


def any_digits(n: int, seed: int) -> Images:
    """n digits of any classes, drawn with replacement."""
    return DIGITS.train.subset(torch.randint(len(DIGITS.train), (n,), generator=generator(seed)))


def overlap(found: torch.Tensor, truth: torch.Tensor) -> float:
    """Share of the labels that are right, as multisets."""
    both = [torch.bincount(labels, minlength=10) for labels in (found, truth)]
    return float(torch.minimum(*both).sum() / len(truth))


# One image


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("without", ["nothing", "bias"])
def test_the_label_of_one_image_is_exact(name, without):
    for seed in SEEDS:
        victim, images = victim_of(name, seed), any_digits(1, seed)
        gradient = gradient_of(victim, images)
        if without == "bias":
            del gradient[last_layer(victim.net).bias]
        found = recover_labels(victim, gradient, 1, SHAPE)
        assert found.labels.tolist() == images.y.tolist()
        assert ("weight" if without == "bias" else "bias") in found.rule


@pytest.mark.parametrize("name", NETS)
def test_the_label_of_one_image_is_exact_after_local_steps(name):
    for seed in SEEDS:
        victim, images = victim_of(name, seed), any_digits(1, seed)
        after = local_steps(victim, images, 0.1, [[0]] * 5)
        change = {name: victim.parameters[name] - after[name] for name in after}  # times -1
        for tensors in (change, {n: v for n, v in change.items() if not n.endswith("bias")}):
            found = recover_labels(victim, tensors, 1, SHAPE, scaled=False)
            assert found.labels.tolist() == images.y.tolist()


@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_the_rules_for_one_image_hold_in_closed_form(n_classes):
    rng = generator()
    for label in range(n_classes):
        h = torch.randn(7, generator=rng, dtype=torch.float64)
        db = torch.randn(n_classes, generator=rng, dtype=torch.float64).softmax(0)
        db[label] -= 1
        assert idlg_label(db) == label
        assert idlg_label_from_rows(torch.outer(db, h.abs())) == label
        if n_classes > 2:
            assert longest_row(torch.outer(db, h)) == label  # h of both signs


# Batches


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("without", ["nothing", "bias", "weight"])
def test_eight_distinct_labels_are_recovered_from_untrained_networks(name, without):
    right = []
    for seed in range(16):
        victim, images = victim_of(name, seed), distinct(8, seed)
        gradient = gradient_of(victim, images)
        layer = last_layer(victim.net)
        if without != "nothing":
            del gradient[layer.bias if without == "bias" else layer.weight]
        right.append(overlap(recover_labels(victim, gradient, 8, SHAPE).labels, images.y))
    assert sum(right) / len(right) >= 0.95


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("n", [8, 10, 32])
def test_repeated_labels_are_recovered_from_untrained_networks(name, n):
    right = []
    for seed in SEEDS:
        victim, images = victim_of(name, seed), any_digits(n, seed)
        found = recover_labels(victim, gradient_of(victim, images), n, SHAPE)
        assert found.labels.tolist() == sorted(found.labels.tolist())
        right.append(overlap(found.labels, images.y))
    assert sum(right) / len(right) >= 0.95


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("scaled", [True, False])
def test_labels_are_recovered_from_local_steps(name, scaled):
    right = []
    for seed in SEEDS:
        victim, images = victim_of(name, seed), distinct(8, seed)
        after = local_steps(victim, images, 0.01, [[0, 1], [2, 3], [4, 5], [6, 7]])
        factor = 0.01 * 4 if scaled else 1.0
        mean = {name: (value - after[name]) / factor for name, value in victim.parameters.items()}
        right.append(
            overlap(recover_labels(victim, mean, 8, SHAPE, scaled=scaled).labels, images.y)
        )
    assert sum(right) / len(right) >= 0.95


def test_images_alike_help_with_a_trained_network():
    net = make_net("mlp", DIGITS, 0)
    adam, rng = torch.optim.Adam(net.parameters(), 1e-3), generator()
    for _ in range(150):
        ids = torch.randint(len(DIGITS.train), (64,), generator=rng)
        adam.zero_grad()
        cross_entropy(net(DIGITS.train.x[ids]), DIGITS.train.y[ids]).backward()
        adam.step()
    victim, kept, alone, told = classifier(net), DIGITS.test.x[:200], [], []
    for seed in SEEDS:
        images = any_digits(16, seed)
        gradient = gradient_of(victim, images)
        alone.append(overlap(recover_labels(victim, gradient, 16, SHAPE).labels, images.y))
        found = recover_labels(victim, gradient, 16, SHAPE, images=kept)
        told.append(overlap(found.labels, images.y))
    assert sum(told) >= sum(alone) >= 0.8 * len(SEEDS)


def test_minima_give_distinct_labels():
    right = []
    for seed in SEEDS:
        victim, images = victim_of("cnn", seed), distinct(8, seed)
        dw = gradient_of(victim, images)[last_layer(victim.net).weight]
        right.append(overlap(labels_by_minima(dw, 8), images.y))
    assert sum(right) / len(right) >= 0.95
    with pytest.raises(SettingsError, match="11 images"):
        labels_by_minima(dw, 11)


# The parts


def test_counts_are_exact_where_the_softmax_is_known():
    logits = torch.randn(12, 5, generator=generator(), dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0, 0, 0, 1, 1, 3, 3, 3, 3, 3, 3, 4])
    (slopes,) = torch.autograd.grad(cross_entropy(logits, y), logits)
    mean = logits.detach().softmax(1).mean(0)
    estimate = counts_from_slope(slopes.sum(0), mean, 12)
    torch.testing.assert_close(estimate, torch.bincount(y, minlength=5).double())


def test_nearest_counts_are_those_of_an_enumeration():
    rng = generator()
    for n, scale in product(range(1, 6), (0.5, 3.0)):
        estimate = n / 4 + scale * torch.randn(4, generator=rng, dtype=torch.float64)
        worlds = [k for k in product(range(n + 1), repeat=4) if sum(k) == n]
        distance = (torch.tensor(worlds) - estimate).square().sum(dim=1)
        assert nearest_counts(estimate, n).tolist() == list(worlds[int(distance.argmin())])


def test_the_scale_is_exact_where_a_class_has_no_image():
    softmax = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    counts = torch.tensor([2, 0, 1, 0])
    db = softmax - counts / 3
    assert scale_of(0.02 * db, softmax, 3) == pytest.approx(50)
    with pytest.raises(UpdateError, match="no positive entry"):
        scale_of(-db.abs(), softmax, 3)


def test_a_slope_from_rows_is_the_bias_gradient_where_features_are_alike():
    db = torch.tensor([0.3, -0.5, 0.2])
    h = torch.tensor([1.0, -2.0, 0.5, 0.0])
    torch.testing.assert_close(slope_from_rows(torch.outer(db, h), h), db)


def test_refining_is_exact_where_images_of_a_class_are_alike():
    rng = generator()
    features = torch.randn(3, 40, generator=rng, dtype=torch.float64)  # of classes 0, 1, 2
    weight = 0.3 * torch.randn(5, 40, generator=rng, dtype=torch.float64)
    bias = torch.randn(5, generator=rng, dtype=torch.float64)
    truth = torch.tensor([3, 1, 4, 0, 0])
    y = torch.arange(5).repeat_interleave(truth)
    residual = (features[y] @ weight.T + bias).softmax(1) - torch.eye(5, dtype=torch.float64)[y]
    dw, db, h = residual.T @ features[y] / 8, residual.mean(0), features.mean(0)
    flat = nearest_counts(counts_from_slope(db, (weight @ h + bias).softmax(0), 8), 8)
    assert flat.tolist() != truth.tolist()
    assert refined_counts(dw, db, weight, bias, h, flat).tolist() == truth.tolist()


# What cannot be read


def test_the_last_layer_is_found_by_name():
    layer = last_layer(make_net("mlp", DIGITS, 0))
    assert (layer.name, layer.weight, layer.bias) == ("3", "3.weight", "3.bias")
    assert last_layer(nn.Linear(3, 2, bias=False)).weight == "weight"
    assert last_layer(nn.Linear(3, 2, bias=False)).bias is None


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), "'1', is BatchNorm1d"),
        (nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten()), "'0', is Conv2d"),
        (nn.Flatten(), "no parameters"),
    ],
)
def test_a_network_that_does_not_end_in_a_linear_layer_is_refused(net, said):
    with pytest.raises(SettingsError, match=said):
        last_layer(net)


def test_an_activation_after_the_last_layer_is_refused_but_not_log_softmax():
    images = distinct(4, 0)
    for after, fine in ((nn.Softmax(dim=1), False), (nn.LogSoftmax(dim=1), True)):
        victim = classifier(nn.Sequential(*make_net("cnn", DIGITS, 0), after))
        gradient = gradient_of(victim, images)
        if fine:
            found = recover_labels(victim, gradient, 4, SHAPE)
            assert found.labels.tolist() == sorted(images.y.tolist())
        else:
            with pytest.raises(SettingsError, match="not the output of '7'"):
                recover_labels(victim, gradient, 4, SHAPE)


def test_no_gradient_of_the_last_layer_and_no_image_are_refused():
    victim = victim_of("cnn", 0)
    gradient = gradient_of(victim, distinct(2, 0))
    nothing = gradient | {name: torch.zeros_like(gradient[name]) for name in ("7.weight", "7.bias")}
    for n in (1, 2):
        with pytest.raises(UpdateError, match="'7', is missing or zero"):
            recover_labels(victim, nothing, n, SHAPE)
    with pytest.raises(SettingsError, match="n = 0"):
        recover_labels(victim, gradient, 0, SHAPE)
