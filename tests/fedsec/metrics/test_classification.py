"""Evaluation against counts done by hand, and the first round that reaches a reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from fedsec.core.functional import State, state_of
from fedsec.data.images import ImageData, Images
from fedsec.errors import DataError, SettingsError
from fedsec.metrics.classification import evaluate, rounds_to
from fedsec.nets import NETS, make_net


@pytest.fixture
def told() -> tuple[nn.Module, State, Images]:
    """A network whose logits are the four pixels of an image, and five images."""
    net = nn.Flatten()
    logits = torch.log(
        torch.tensor(
            [
                [0.7, 0.1, 0.1, 0.1],
                [0.2, 0.6, 0.1, 0.1],
                [0.4, 0.3, 0.2, 0.1],
                [0.1, 0.1, 0.1, 0.7],
                [0.1, 0.1, 0.1, 0.7],
            ]
        )
    )
    images = Images(logits.reshape(5, 1, 2, 2), torch.tensor([0, 0, 1, 3, 3]))
    return net, State({}, {}), images


def test_loss_accuracy_and_recall_are_those_counted_by_hand(
    told: tuple[nn.Module, State, Images],
) -> None:
    found = evaluate(*told)
    assert found.n == 5
    assert found.accuracy == pytest.approx(3 / 5)
    assert found.loss == pytest.approx(-np.log([0.7, 0.2, 0.3, 0.7, 0.7]).mean(), rel=1e-6)
    assert_allclose(found.recall, [1 / 2, 0, np.nan, 1])


@pytest.mark.parametrize("name", NETS)
def test_batches_change_nothing_and_recall_averages_to_accuracy(
    name: str, digits: ImageData
) -> None:
    net = make_net(name, digits, 0)
    whole = evaluate(net, state_of(net), digits.test)
    for batch in (1000, 499, 64):
        found = evaluate(net, state_of(net), digits.test, batch)
        assert found.loss == pytest.approx(whole.loss, rel=1e-6)
        assert abs(found.accuracy - whole.accuracy) <= 1 / 500  # a tie may fall otherwise
    counts = np.bincount(digits.test.y.numpy())
    assert (whole.recall * counts).sum() / 500 == pytest.approx(whole.accuracy)


def test_the_state_decides_and_the_network_stays_as_it_was(digits: ImageData) -> None:
    net, other = make_net("cnn-bn", digits, 0), make_net("cnn-bn", digits, 1)
    other(digits.train.x)  # running statistics of its own
    net[1].eval()  # type: ignore[index]
    before, modes = state_of(net), [module.training for module in net.modules()]
    state = state_of(other)
    found = evaluate(net, state, digits.test)
    other.eval()
    with torch.no_grad():
        right = other(digits.test.x).argmax(dim=1) == digits.test.y
    assert found.accuracy == pytest.approx(right.double().mean().item())
    assert [module.training for module in net.modules()] == modes
    for kept, now in ((before, state_of(net)), (state_of(other), state)):
        for part in ("parameters", "buffers"):
            for key, value in getattr(kept, part).items():
                assert torch.equal(value, getattr(now, part)[key])


def test_modes_are_restored_after_an_error(digits: ImageData) -> None:
    net = make_net("cnn-bn", digits, 0)
    with pytest.raises(RuntimeError):
        evaluate(net, state_of(net), Images(digits.test.x[:, :, :4], digits.test.y))
    assert all(module.training for module in net.modules())


def test_no_graph_is_kept(told: tuple[nn.Module, State, Images]) -> None:
    net, state, images = told
    evaluate(net, state, Images(images.x.clone().requires_grad_(), images.y))
    weights = {"weight": torch.ones(4, 4, requires_grad=True)}
    linear = nn.Sequential(nn.Flatten(), nn.Linear(4, 4, bias=False))
    evaluate(linear, State({f"1.{key}": value for key, value in weights.items()}, {}), images)
    assert weights["weight"].grad is None


def test_a_network_that_is_not_finite_has_a_loss_that_is_not(
    told: tuple[nn.Module, State, Images],
) -> None:
    net, state, images = told
    assert np.isnan(evaluate(net, state, Images(images.x * float("nan"), images.y)).loss)


def test_what_cannot_be_evaluated_is_refused(told: tuple[nn.Module, State, Images]) -> None:
    net, state, images = told
    with pytest.raises(DataError, match="there are no images to evaluate on"):
        evaluate(net, state, images.subset(np.array([], dtype=np.int64)))
    with pytest.raises(DataError, match="label 4 is not one of the network's 4 classes"):
        evaluate(net, state, Images(images.x, images.y + 1))
    with pytest.raises(SettingsError, match="batch = 0: give at least 1"):
        evaluate(net, state, images, batch=0)


@pytest.mark.parametrize(
    ("accuracies", "reference", "share", "expected"),
    [
        ([0.5, 0.98, 0.99, 1.0], 1.0, 0.99, 3),
        ([0.5, 0.98, 0.99, 1.0], 0.98, 0.99, 2),
        ([0.5, 0.6], 0.9, 0.99, 3),
        ([0.5, 0.6], 0.9, 0.5, 1),
        ([np.nan, 0.9, 0.2], 0.9, 1.0, 2),
        ([], 0.9, 0.99, 1),
    ],
)
def test_the_first_round_that_reaches_the_reference(
    accuracies: list[float], reference: float, share: float, expected: int
) -> None:
    assert rounds_to(np.array(accuracies, dtype=float), reference, share) == expected


@pytest.mark.parametrize(
    ("reference", "share", "says"),
    [(0.9, 0.0, "share = 0"), (0.9, 1.5, "share = 1.5"), (float("nan"), 0.99, "max = nan"),
     (0.0, 0.99, "reference_max = 0")],
)  # fmt: skip
def test_references_out_of_range_are_refused(reference: float, share: float, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        rounds_to(np.array([0.5]), reference, share)
