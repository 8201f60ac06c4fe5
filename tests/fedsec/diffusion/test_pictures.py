"""Tiles of images, pixel by pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fedsec.diffusion.pictures import tiled, write_png
from fedsec.errors import DataError


def test_images_stand_row_by_row_with_white_between() -> None:
    x = torch.tensor([0.0, 0.25, 2.0]).view(3, 1, 1, 1).expand(3, 1, 40, 40)
    page = tiled(x, columns=2)
    assert page.shape == (81, 81, 3)
    assert (page[:40, :40] == 0).all() and (page[:40, 41:] == 64).all()
    assert (page[40] == 255).all() and (page[:, 40] == 255).all()
    assert (page[41:, :40] == 255).all()  # held in [0, 1]


def test_small_images_are_enlarged_and_colours_kept() -> None:
    x = torch.zeros(4, 3, 8, 8)
    x[0, 1] = 1
    page = tiled(x)
    assert page.shape == (17 * 5, 17 * 5, 3)
    assert (page[:40, :40] == np.array([0, 255, 0])).all()


def test_a_png_reads_back(tmp_path: Path) -> None:
    from matplotlib.image import imread

    x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    write_png(tmp_path / "x.png", x)
    read = imread(tmp_path / "x.png")[:, :, :3]
    assert np.array_equal((read * 255).round().astype(np.uint8), tiled(x))


def test_other_images_are_refused() -> None:
    with pytest.raises(DataError, match="1 or 3 channels"):
        tiled(torch.zeros(2, 2, 4, 4))
