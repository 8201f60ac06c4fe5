"""What is added has the law and the deviation of the settings, and nothing is clipped."""

import pytest
import torch
from scipy.stats import kstest

from fedsec.core.functional import flatten
from fedsec.core.record import Update
from fedsec.core.rng import torch_stream
from fedsec.errors import SettingsError
from fedsec.federated.privacy.laws import laplace
from fedsec.federated.privacy.unclipped_noise import (
    AbsoluteNoise,
    RelativeNoise,
    root_mean_square,
)


@pytest.fixture
def update() -> Update:
    """20,000 entries whose squares average 10, far longer than one."""
    tensors = {"a": torch.full((100, 100), 4.0), "b": torch.full((10_000,), -2.0)}
    return Update("delta", tensors, round=1, client=0, n=1)


def added(sent: Update, update: Update) -> torch.Tensor:
    return flatten(sent.tensors) - flatten(update.tensors)


def test_the_rms_is_over_all_entries(update: Update) -> None:
    assert root_mean_square(update.tensors) == pytest.approx(10**0.5)
    assert root_mean_square({}) == 0


def test_absolute_noise_has_its_deviation(update: Update) -> None:
    sent = AbsoluteNoise(deviation=0.3)(update, torch_stream(0, "noise"))
    assert kstest(added(sent, update).numpy(), "norm", args=(0, 0.3)).pvalue > 0.01


def test_relative_noise_is_measured_in_the_rms(update: Update) -> None:
    sent = RelativeNoise(scale=0.5, law=laplace)(update, torch_stream(0, "noise"))
    scale = 0.5 * 10**0.5 / 2**0.5
    assert kstest(added(sent, update).numpy(), "laplace", args=(0, scale)).pvalue > 0.01


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_relative_noise_scales_with_the_update(update: Update, factor: float) -> None:
    scaled = {name: factor * value.double() for name, value in update.tensors.items()}
    other = Update("delta", scaled, round=1, client=0, n=1)
    plain = Update("delta", {k: v.double() for k, v in update.tensors.items()}, 1, 0, 1)
    first, second = (RelativeNoise()(one, torch_stream(0, "noise")) for one in (plain, other))
    torch.testing.assert_close(
        added(second, other) / factor, added(first, plain), rtol=1e-6, atol=0
    )


def test_no_noise_and_no_signal_leave_the_update_as_it_is(update: Update) -> None:
    zero = Update("delta", {"a": torch.zeros(3)}, round=1, client=0, n=1)
    for defence, one in [
        (AbsoluteNoise(deviation=0.0), update),
        (RelativeNoise(scale=0.0), update),
        (RelativeNoise(), zero),
    ]:
        sent = defence(one, torch_stream(0, "noise"))
        assert torch.equal(flatten(sent.tensors), flatten(one.tensors))


def test_buffers_are_sent_as_they_are() -> None:
    buffers = {"norm.running_mean": torch.ones(3)}
    update = Update("delta", {"a": torch.ones(5)}, round=1, client=0, n=1, buffers=buffers)
    assert RelativeNoise()(update, torch_stream(0, "noise")).buffers is buffers


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_settings_out_of_range_are_refused(value: float) -> None:
    with pytest.raises(SettingsError, match="noise: deviation"):
        AbsoluteNoise(deviation=value)
    with pytest.raises(SettingsError, match="noise: scale"):
        RelativeNoise(scale=value)
