"""True images in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from fedsec.errors import DataError
from fedsec.inversion.true_images import UNKNOWN, read_truth, to_arrays

SHAPE = (3, 4, 5)


def images(n: int = 2) -> torch.Tensor:
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(0))


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    path, x = tmp_path / "images.npz", images()
    np.savez(path, x=to_arrays(x), y=np.array([1, 0]))
    found = read_truth(path, SHAPE, 2)
    assert_close(found.x, x, rtol=0, atol=0)
    assert found.y.tolist() == [1, 0]
    grey = x[:, :1]
    np.savez(path, x=to_arrays(grey))
    found = read_truth(path, (1, 4, 5), 2)
    assert_close(found.x, grey, rtol=0, atol=0)
    assert found.y.tolist() == [UNKNOWN, UNKNOWN]


def test_bytes_are_scaled(tmp_path: Path) -> None:
    path = tmp_path / "images.npz"
    np.savez(path, x=np.full((1, 4, 5), 51, np.uint8))
    assert_close(read_truth(path, (1, 4, 5), 2).x, torch.full((1, 1, 4, 5), 0.2))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"images": np.zeros((1, 4, 5))}, "has no array 'x', only images: save the images by"),
        ({"x": np.zeros((4, 5))}, r"x has shape \(4, 5\): give"),
        ({"x": np.zeros((1, 4, 5), np.int64)}, "x is int64: save uint8"),
        ({"x": np.full((1, 4, 5), 1.5)}, r"pixels are not all in \[0, 1\]"),
        ({"x": np.full((1, 4, 5), np.nan)}, r"pixels are not all in \[0, 1\]"),
        ({"x": np.zeros((1, 5, 5))}, "images of 1 x 5 x 5, and the data set of 1 x 4 x 5"),
        ({"x": np.zeros((1, 4, 5)), "y": np.zeros(2, np.int64)}, "give 1 classes"),
        ({"x": np.zeros((1, 4, 5)), "y": np.array([7])}, "y goes from 7 to 7: classes are 0 to 1"),
    ],
)
def test_what_cannot_be_scored_against_is_refused(
    arrays: dict[str, np.ndarray], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "images.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=f"images.npz: .*{said}"):
        read_truth(path, (1, 4, 5), 2)
