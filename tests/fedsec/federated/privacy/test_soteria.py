"""Soteria cuts the features that the formula says, of one weight, and reads nothing else."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev

from fedsec.core.functional import call, flatten, gradient, state_of
from fedsec.core.record import Update
from fedsec.core.rng import torch_stream
from fedsec.errors import DataError, SettingsError, UpdateError
from fedsec.federated.privacy.soteria import CutFeatures, Soteria, answers

UNUSED = torch_stream(0, "unused")


def seeded(make: type[nn.Module] | object, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make().double()


@pytest.fixture
def x() -> torch.Tensor:
    """Three images (1, 6, 6)."""
    return torch.rand(3, 1, 6, 6, generator=torch_stream(0, "x"), dtype=torch.float64)


def smooth() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(64, 40), nn.Tanh(),
        nn.Linear(40, 3),
    )  # fmt: skip


def test_where_features_are_pixels_the_brightest_are_cut() -> None:
    """|d x_i / dx| = 1, so the answer is 1 / x_i."""
    net = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))
    x = torch.tensor([[[[0.5, 0.25], [1.0, 0.0]]]], dtype=torch.float64)
    name, answer = answers(net, state_of(net), x)
    assert name == "1.weight"
    expected = torch.tensor([2.0, 4.0, 1.0, float("inf")], dtype=torch.float64)
    torch.testing.assert_close(answer, expected)
    for share, kept in [(0.25, [1, 1, 0, 1]), (0.3, [0, 1, 0, 1]), (1.0, [0, 0, 0, 0])]:
        cut = Soteria(share=share)(net, state_of(net), x)
        assert cut.kept.int().tolist() == kept


def test_answers_agree_with_the_jacobian(x: torch.Tensor) -> None:
    net = seeded(smooth)
    features = net[:-1]
    _, found = answers(net, state_of(net), x)
    ratios = []
    for one in x:
        jacobian = jacrev(lambda image: features(image[None])[0])(one).flatten(1)
        ratios.append(jacobian.norm(dim=1) / features(one[None])[0].abs())
    torch.testing.assert_close(found, torch.stack(ratios).mean(dim=0).detach())


def test_features_that_are_off_come_last_and_do_not_count() -> None:
    """Of ReLU features only images that switch one on have a say."""
    net = seeded(lambda: nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 2)))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0], [2.0, 1.0]]))
    x = torch.tensor([[1.0, 1.0], [-4.0, 2.0]], dtype=torch.float64)
    _, answer = answers(net, state_of(net), x)
    expected = torch.tensor([1.0, float("inf"), 5**0.5 / 3], dtype=torch.float64)
    torch.testing.assert_close(answer, expected)


def test_only_columns_of_the_last_dense_weight_are_cut(x: torch.Tensor) -> None:
    net, y = seeded(smooth), torch.tensor([0, 2, 1])
    state = state_of(net)
    leaves = {name: value.requires_grad_() for name, value in state.clone().parameters.items()}
    logits = functional_call(net, (leaves, {}), (x,))
    slopes = gradient(nn.functional.cross_entropy(logits, y), leaves)
    update = Update("gradient", {k: v.detach() for k, v in slopes.items()}, 1, 0, 3)
    own = Soteria(share=0.1)(net, state, x)
    sent = own(update, UNUSED)
    assert own.tensor == "5.weight" and int((~own.kept).sum()) == 4
    for name, value in update.tensors.items():
        expected = value * own.kept if name == "5.weight" else value
        assert torch.equal(sent.tensors[name], expected)


def test_network_state_and_images_are_left_alone(x: torch.Tensor) -> None:
    """With batch normalisation too: what counts is the running statistics."""
    net = seeded(
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(32, 3))
    )
    state, before = state_of(net), state_of(net)
    _, alone = answers(net, state, x[:1])
    _, together = answers(net, state, torch.cat([x[:1], x[:1]]))
    torch.testing.assert_close(alone, together)
    for now in (state, state_of(net)):
        assert torch.equal(flatten(now.parameters), flatten(before.parameters))
        assert torch.equal(flatten(now.buffers), flatten(before.buffers))
    assert net.training and not x.requires_grad
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert not any(module._forward_pre_hooks for module in net.modules())


def test_the_parameters_sent_count_and_not_the_networks_own(x: torch.Tensor) -> None:
    net, other = seeded(smooth), seeded(smooth, seed=1)
    _, expected = answers(other, state_of(other), x)
    _, found = answers(net, state_of(other), x)
    assert torch.equal(found, expected)
    assert call(net, state_of(net), x).shape == (3, 3)


def test_networks_without_a_fitting_layer_are_refused(x: torch.Tensor) -> None:
    bare = seeded(lambda: nn.Sequential(nn.Conv2d(1, 3, 6), nn.Flatten()))
    with pytest.raises(SettingsError, match="no dense layer"):
        Soteria()(bare, state_of(bare), x)
    rows = seeded(lambda: nn.Sequential(nn.Flatten(2), nn.Linear(36, 4)))
    with pytest.raises(SettingsError, match=r"layer '1' is given \(3, 1, 36\) for 3 images"):
        Soteria()(rows, state_of(rows), x)


def test_bad_input_is_refused(x: torch.Tensor) -> None:
    net = seeded(smooth)
    with pytest.raises(DataError, match="no images"):
        Soteria()(net, state_of(net), x[:0])
    for share in (0.0, 1.1, float("nan")):
        with pytest.raises(SettingsError, match="Soteria: share"):
            Soteria(share=share)
    cut = CutFeatures("head.weight", torch.ones(4, dtype=torch.bool))
    for tensors in ({"a": torch.ones(2)}, {"head.weight": torch.ones(2, 3)}):
        with pytest.raises(UpdateError, match=r"client 7, round 3: there is no weight 'head"):
            cut(Update("delta", tensors, round=3, client=7, n=1), UNUSED)
