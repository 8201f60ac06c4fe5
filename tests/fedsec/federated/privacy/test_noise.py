"""Noise is what the formula says: clipped update plus N(0, (multiplier norm)^2)."""

import pytest
import torch
from scipy.stats import kstest

from fedsec.core.record import Update
from fedsec.core.rng import torch_stream
from fedsec.errors import SettingsError, UpdateError
from fedsec.federated.privacy.clip import Clip
from fedsec.federated.privacy.noise import GaussianNoise


def test_what_is_added_to_the_clipped_update_is_gaussian():
    tensors = {"a": torch.full((100, 100), 3.0), "b": torch.full((5000,), -1.0)}
    update = Update("delta", tensors, round=1, client=0, n=1)
    clipped = Clip(norm=0.5)(update, torch_stream(0, "noise"))
    sent = GaussianNoise(multiplier=4.0, norm=0.5)(update, torch_stream(0, "noise"))
    added = torch.cat([(sent.tensors[k] - clipped.tensors[k]).flatten() for k in tensors])
    assert kstest(added.numpy(), "norm", args=(0, 2.0)).pvalue > 0.01


def test_without_noise_it_clips():
    update = Update("delta", {"a": torch.arange(5.0)}, round=1, client=0, n=1)
    sent = GaussianNoise(multiplier=0.0, norm=0.5)(update, torch_stream(0, "noise"))
    clipped = Clip(norm=0.5)(update, torch_stream(0, "noise"))
    assert torch.equal(sent.tensors["a"], clipped.tensors["a"])


def test_buffers_that_would_go_without_noise_are_refused():
    buffers = {"norm.running_mean": torch.zeros(3)}
    update = Update("delta", {"a": torch.zeros(5)}, round=4, client=2, n=1, buffers=buffers)
    with pytest.raises(UpdateError, match=r"client 2, round 4.*'norm.running_mean'.*GroupNorm"):
        GaussianNoise()(update, torch_stream(0, "noise"))


@pytest.mark.parametrize(
    "settings", [{"multiplier": -1.0}, {"multiplier": float("nan")}, {"norm": 0.0}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(SettingsError):
        GaussianNoise(**settings)
