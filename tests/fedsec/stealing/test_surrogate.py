"""Surrogate images: brought to a form, and known by their pixels."""

from __future__ import annotations

import json

import pytest
import torch

from fedsec.data.images import Images
from fedsec.errors import DataError
from fedsec.federated.history import described
from fedsec.stealing.surrogate import Surrogate, resized


def pictures(n: int, channels: int, side: int) -> Images:
    generator = torch.Generator().manual_seed(0)
    return Images(torch.rand(n, channels, side, side, generator=generator), torch.arange(n))


def test_sizes_and_channels_become_those_asked_for() -> None:
    for given, wanted in [((1, 28), (1, 8, 8)), ((3, 32), (1, 28, 28)), ((1, 8), (3, 32, 32))]:
        found = resized(pictures(5, *given), wanted)
        assert found.x.shape == (5, *wanted) and torch.equal(found.y, torch.arange(5))
        assert found.x.min() >= 0 and found.x.max() <= 1


def test_flat_images_stay_flat_and_colour_becomes_its_mean() -> None:
    flat = Images(torch.full((2, 3, 12, 12), 0.3), torch.zeros(2, dtype=torch.int64))
    assert torch.allclose(resized(flat, (1, 8, 8)).x, torch.tensor(0.3))
    images = pictures(4, 3, 8)
    assert torch.allclose(resized(images, (1, 8, 8)).x, images.x.mean(dim=1, keepdim=True))
    grey = pictures(4, 1, 8)
    assert torch.equal(resized(grey, (3, 8, 8)).x, grey.x.repeat(1, 3, 1, 1))
    assert torch.equal(resized(grey, (1, 8, 8)).x, grey.x)


def test_reducing_by_whole_steps_keeps_the_mean() -> None:
    images = pictures(6, 1, 16)
    found = resized(images, (1, 8, 8))
    assert torch.allclose(found.x.mean(dim=(1, 2, 3)), images.x.mean(dim=(1, 2, 3)), atol=0.01)


def test_the_record_tells_the_pixels_apart() -> None:
    first, again = (Surrogate(pictures(3, 1, 8), "some") for _ in range(2))
    other = Surrogate(Images(pictures(3, 1, 8).x.flip(0), torch.arange(3)), "some")
    assert first.digest == again.digest != other.digest
    assert json.loads(json.dumps(described(first))) == {
        "is": "Surrogate", "name": "some", "digest": first.digest,
    }  # fmt: skip
    assert len(first.images) == 3


def test_no_images_and_impossible_channels_are_refused() -> None:
    with pytest.raises(DataError, match="surrogate: there are no images"):
        Surrogate(pictures(0, 1, 8))
    with pytest.raises(DataError, match="images have 3 channels: 2 cannot be made of them"):
        resized(pictures(2, 3, 8), (2, 8, 8))
