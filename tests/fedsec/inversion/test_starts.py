"""Starts draw from the generator alone, and have the shape that is asked for."""

import pytest
import torch

from fedsec.errors import SettingsError
from fedsec.inversion.starts import STARTS, grey, mean_image, noise, uniform
from tests.fedsec.inversion.cases import generator

CPU = torch.device("cpu")


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_a_seed_is_a_start(start):
    shape = (2, 3, 5, 4)
    first, again = (start(shape, generator(1), CPU) for _ in range(2))
    assert first.shape == shape and first.dtype == torch.float32
    assert torch.equal(first, again)


def test_the_laws_of_the_draws():
    shape = (100, 1, 10, 10)
    x = noise(shape, generator(), CPU)
    assert abs(float(x.mean())) < 0.04 and abs(float(x.var()) - 1) < 0.06
    x = uniform(shape, generator(), CPU)
    assert 0 <= float(x.min()) and float(x.max()) <= 1
    assert abs(float(x.mean()) - 0.5) < 0.012 and abs(float(x.var()) - 1 / 12) < 0.004
    assert (grey(shape, generator(), CPU) == 0.5).all()


def test_the_mean_image_is_that_of_every_start_and_no_two_share_memory():
    images = torch.rand(7, 1, 2, 3, generator=generator())
    x = mean_image(images)((2, 1, 2, 3), generator(), CPU)
    torch.testing.assert_close(x, images.mean(0).expand(2, -1, -1, -1))
    x[0].zero_()
    assert x[1].any()


def test_images_that_do_not_fit_are_refused():
    with pytest.raises(SettingsError, match="1 x 2 x 3.*1 x 8 x 8"):
        mean_image(torch.zeros(7, 1, 2, 3))((2, 1, 8, 8), generator(), CPU)
    with pytest.raises(SettingsError, match="no images"):
        mean_image(torch.zeros(0, 1, 2, 3))
