"""Every network of the table: shapes, second derivatives, and randomness that stays its own."""

from __future__ import annotations

import re
import threading

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from fedsec.core.functional import State, call, flatten, gradient, has_batch_statistics, state_of
from fedsec.data.images import ImageData, Images
from fedsec.errors import DataError, SettingsError
from fedsec.nets import NETS, make_net

every_net = pytest.mark.parametrize("name", NETS)


def blank(channels: int, height: int, width: int, n_classes: int) -> ImageData:
    """A set of one image of this form."""
    one = Images(torch.zeros(1, channels, height, width), torch.zeros(1, dtype=torch.int64))
    return ImageData("blank", one, one, tuple(str(code) for code in range(n_classes)))


def n_parameters(net: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@every_net
@pytest.mark.parametrize(
    ("channels", "size", "n_classes"), [(1, 8, 10), (1, 28, 10), (3, 32, 4), (2, 19, 3), (1, 20, 2)]
)
def test_logits_are_sample_by_class(name: str, channels: int, size: int, n_classes: int) -> None:
    net = make_net(name, blank(channels, size, size, n_classes), seed=0)
    assert net.training
    assert net(torch.rand(5, channels, size, size)).shape == (5, n_classes)


@every_net
@pytest.mark.parametrize("training", [True, False])
def test_the_gradient_can_be_differentiated(name: str, training: bool) -> None:
    """Along a random direction, d |grad|^2 equals its central difference, in float64."""
    net = make_net(name, blank(1, 8, 8, 3), seed=1).double().train(training)
    state = state_of(net)
    rng = torch.Generator().manual_seed(2)
    x = torch.rand(4, 1, 8, 8, generator=rng, dtype=torch.float64)
    y = torch.tensor([0, 1, 2, 1])

    def squared_norm(parameters: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        buffers = {key: value.clone() for key, value in state.buffers.items()}
        loss = cross_entropy(call(net, State(parameters, buffers), x), y)
        return flatten(gradient(loss, parameters, differentiable=True)).square().sum()

    parameters = {key: value.requires_grad_() for key, value in state.parameters.items()}
    x.requires_grad_()
    value = squared_norm(parameters, x)
    slopes = torch.autograd.grad(value, (*parameters.values(), x))
    along = [torch.randn(s.shape, generator=rng, dtype=torch.float64) for s in slopes]

    def shifted(step: float) -> float:
        moved = [
            (value + step * direction).detach().requires_grad_()
            for value, direction in zip((*parameters.values(), x), along, strict=True)
        ]
        return squared_norm(dict(zip(parameters, moved, strict=False)), moved[-1]).item()

    expected = (shifted(1e-6) - shifted(-1e-6)) / 2e-6
    found = sum((s * d).sum().item() for s, d in zip(slopes, along, strict=True))
    assert value.item() > 0
    assert found == pytest.approx(expected, rel=1e-5)


@every_net
def test_the_seed_decides_and_torch_keeps_its_own_generator(name: str, digits: ImageData) -> None:
    before = torch.random.get_rng_state()
    first, again, other = (make_net(name, digits, seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(7)  # what others draw changes nothing
    later = make_net(name, digits, 3).state_dict()
    for key, value in first.items():
        assert torch.equal(value, again[key]) and torch.equal(value, later[key])
    weights = [key for key in first if key.endswith("weight") and first[key].ndim > 1]
    assert all(not torch.equal(first[key], other[key]) for key in weights)


def test_networks_made_in_several_threads_are_the_same(digits: ImageData) -> None:
    alone = [flatten(state_of(make_net("cnn", digits, seed)).parameters) for seed in range(8)]
    found: dict[int, torch.Tensor] = {}

    def make(seed: int) -> None:
        found[seed] = flatten(state_of(make_net("cnn", digits, seed)).parameters)

    threads = [threading.Thread(target=make, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[seed], alone[seed]) for seed in range(8))


@every_net
def test_docstrings_count_parameters_rightly(name: str) -> None:
    forms = {"digits": (1, 8), "28 x 28": (1, 28), "CIFAR-10": (3, 32)}
    said = re.findall(r"(\d[\d,]*)(?: parameters)? for (digits|28 x 28|CIFAR-10)", _doc(name))
    assert said
    for count, form in said:
        channels, size = forms[form]
        assert n_parameters(NETS[name](channels, size, 10)) == int(count.replace(",", ""))


def _doc(name: str) -> str:
    """The docstring, or that of the network which it compares itself with."""
    text = NETS[name].__doc__ or ""
    return (NETS["cnn-bn"].__doc__ or "") if "as `cnn_bn`" in text else text


def test_the_hidden_layer_is_the_one_that_was_measured(digits: ImageData) -> None:
    net = make_net("mlp", digits, 0)
    assert [tuple(value.shape) for value in net.parameters()] == [
        (32, 64), (32,), (10, 32), (10,),
    ]  # fmt: skip


def test_the_networks_of_the_paper_have_its_layers() -> None:
    def layers(name: str, channels: int, size: int) -> list[str]:
        kinds = [type(module).__name__ for module in NETS[name](channels, size, 10)]  # type: ignore[arg-type]
        return [kind for kind in kinds if kind in ("Conv2d", "Linear")]

    assert layers("cnn", 1, 28) == ["Conv2d"] * 2 + ["Linear"]
    assert layers("cnn6", 3, 32) == ["Conv2d"] * 6 + ["Linear"] * 2
    assert layers("cnn3", 3, 96) == ["Conv2d"] * 3 + ["Linear"] * 2
    assert NETS["cnn"](1, 28, 10)[-1].in_features == 1024  # type: ignore[index]
    assert NETS["lenet-sigmoid"](3, 32, 100)[-1].in_features == 768  # type: ignore[index]


def test_the_sigmoid_network_starts_wide() -> None:
    values = flatten(state_of(make_net("lenet-sigmoid", blank(3, 32, 32, 10), 0)).parameters)
    assert values.abs().max() <= 0.5
    assert values.std().item() == pytest.approx(1 / np.sqrt(12), rel=0.02)


def test_only_batch_normalisation_mixes_samples(digits: ImageData) -> None:
    x = digits.test.x[:6]
    for name in NETS:
        net = make_net(name, digits, 0)
        together = net(x)
        alone = torch.cat([make_net(name, digits, 0)(one[None]) for one in x])
        mixes = not torch.allclose(together, alone, atol=1e-5)
        assert mixes == has_batch_statistics(net) == (name in ("cnn-bn", "resnet"))


@pytest.mark.parametrize(
    ("name", "size", "least"), [("cnn", 3, 4), ("cnn-gn", 3, 4), ("cnn3", 7, 8), ("cnn6", 7, 8)]
)
def test_images_that_are_too_small_are_refused(name: str, size: int, least: int) -> None:
    with pytest.raises(DataError, match=f"{size} x {size}: this network needs {least} x {least}"):
        make_net(name, blank(1, size, size, 2), 0)
    assert make_net(name, blank(1, least, least, 2), 0)(torch.zeros(1, 1, least, least)).shape == (
        1,
        2,
    )


def test_unknown_networks_and_oblong_images_are_refused() -> None:
    with pytest.raises(SettingsError, match="no network 'vgg': choose from linear, mlp, cnn"):
        make_net("vgg", blank(1, 8, 8, 2), 0)
    with pytest.raises(DataError, match="blank: images are 8 x 9: .* so pad to 9 x 9"):
        make_net("cnn", blank(1, 8, 9, 2), 0)
