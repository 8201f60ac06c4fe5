"""Image sets: the split is what was published, pixels are exact, bad files are named."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from fedsec.data.images import (
    IMAGE_SETS,
    MAX_CLASSES,
    ImageData,
    Images,
    decode_jpegs,
    load_images,
    read_images,
)
from fedsec.errors import DataError

ImageFile = Callable[[str], Path]


def pictures(images: Images) -> set[bytes]:
    """Each image by its content."""
    return {image.numpy().tobytes() for image in images.x}


def small(**changes: object) -> dict[str, object]:
    """Arrays of a good file with 6 train and 3 test images of 5 x 5; some changed or left out."""
    rng = np.random.default_rng(0)
    arrays: dict[str, object] = {
        "x_train": rng.integers(0, 256, (6, 5, 5), dtype=np.uint8),
        "y_train": np.array([0, 1, 2, 0, 1, 2], dtype=np.uint8),
        "x_test": rng.integers(0, 256, (3, 5, 5), dtype=np.uint8),
        "y_test": np.array([0, 1, 2], dtype=np.uint8),
    }
    return {key: value for key, value in (arrays | changes).items() if value is not None}


def saved(path: Path, arrays: dict[str, object]) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def as_jpegs(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The files one after another, and where they begin."""
    from PIL import Image

    files = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=95, subsampling=0)
        files.append(buffer.getvalue())
    offsets = np.cumsum([0] + [len(file) for file in files])
    return np.frombuffer(b"".join(files), dtype=np.uint8), offsets


def test_digits_are_split_once_and_by_class(digits: ImageData) -> None:
    assert (digits.train.x.shape, digits.test.x.shape) == ((1297, 1, 8, 8), (500, 1, 8, 8))
    assert digits.train.x.dtype == torch.float32 and digits.train.y.dtype == torch.int64
    assert digits.classes == tuple("0123456789")
    train, test = (torch.bincount(part.y).numpy() for part in (digits.train, digits.test))
    assert_array_equal(train + test, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    assert (np.abs(test - (train + test) * 500 / 1797) < 1).all()
    again = load_images("digits")
    assert torch.equal(again.test.x, digits.test.x) and torch.equal(again.train.y, digits.train.y)


def test_digits_are_those_of_scikit_learn_each_in_one_part_only(digits: ImageData) -> None:
    from sklearn.datasets import load_digits

    pixels = load_digits().images[:, None].astype(np.float32) / 16
    train, test = pictures(digits.train), pictures(digits.test)
    assert train | test == {image.tobytes() for image in pixels}
    assert not train & test
    assert (len(train), len(test)) == (1297, 500)  # no two images of the set are equal


@pytest.mark.parametrize(("name", "mean"), [("mnist", 0.1307), ("fashion-mnist", 0.2860)])
def test_prepared_grey_sets(image_file: ImageFile, name: str, mean: float) -> None:
    data = load_images(name, image_file(name).parent)
    assert data.train.x.shape == (60000, 1, 28, 28) and data.test.x.shape == (10000, 1, 28, 28)
    assert data.train.x.dtype == torch.float32
    assert data.train.x.mean().item() == pytest.approx(mean, abs=1e-4)
    assert (data.train.x.min().item(), data.train.x.max().item()) == (0, 1)
    of_class = {
        "mnist": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        "fashion-mnist": [6000] * 10,
    }
    assert_array_equal(torch.bincount(data.train.y), of_class[name])
    assert data.classes == IMAGE_SETS[name]


def test_prepared_cifar_decodes_to_nearly_the_pixels_of_the_lossless_one(
    image_file: ImageFile,
) -> None:
    with np.load(image_file("cifar10")) as file:
        n = 200
        jpeg, offsets = file["train_jpeg"], file["train_offsets"][: n + 1]
        assert tuple(file["classes"]) == IMAGE_SETS["cifar10"]
    with np.load(image_file("cifar10_lossless4k")) as file:
        exact = file["x_train"][:n].astype(float)
    error = ((decode_jpegs(jpeg, offsets) - exact) ** 2).mean(axis=(1, 2, 3))
    psnr = 10 * np.log10(255**2 / error)
    assert psnr.min() > 20 and psnr.mean() == pytest.approx(30.5, abs=0.5)


def test_a_file_of_jpegs_is_read(tmp_path: Path) -> None:
    flat = np.repeat(np.arange(0, 250, 50, dtype=np.uint8), 8 * 8 * 3).reshape(5, 8, 8, 3)
    train, test = as_jpegs(flat), as_jpegs(flat[:2])
    arrays: dict[str, object] = {
        "train_jpeg": train[0], "train_offsets": train[1], "y_train": np.arange(5),
        "test_jpeg": test[0], "test_offsets": test[1], "y_test": np.arange(2),
    }  # fmt: skip
    saved(tmp_path / "cifar10.npz", arrays)
    data = load_images("cifar10", tmp_path)
    expected = torch.from_numpy(flat).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(data.train.x, expected, atol=1.5 / 255, rtol=0)
    assert data.test.x.shape == (2, 3, 8, 8)


def test_grey_colour_and_float_files_keep_their_pixels(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    colour = rng.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
    data = load_images(
        saved(tmp_path / "own.npz", small(x_train=colour, x_test=colour[:3] / 255.0))
    )
    expected = torch.from_numpy(colour).permute(0, 3, 1, 2).float() / 255
    assert torch.equal(data.train.x, expected) and torch.equal(data.test.x, expected[:3])
    assert data.train.x.is_contiguous() and data.train.x.shape == (6, 3, 5, 4)
    grey = small()
    data = load_images(saved(tmp_path / "grey.npz", grey))
    assert_array_equal(data.train.x[:, 0] * 255, grey["x_train"])
    assert data.name == str(tmp_path / "grey.npz") and data.classes == ("0", "1", "2")


def test_a_file_names_its_classes(tmp_path: Path) -> None:
    path = saved(tmp_path / "own.npz", small(classes=np.array(["ant", "bee", "cat", "dog"])))
    assert read_images(path).classes == ("ant", "bee", "cat", "dog")


LATE_NAN = np.zeros((6, 5, 5))
LATE_NAN[4, 2, 2] = np.nan
ROUND_TRIP = as_jpegs(np.zeros((6, 5, 5, 3), dtype=np.uint8))
JPEG = {"x_train": None, "train_jpeg": ROUND_TRIP[0]}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"y_train": None}, "has no array 'y_train', only x_test, x_train, y_test"),
        ({"x_test": None}, "has no array 'x_test'"),
        ({"x_train": np.zeros((6, 25), np.uint8)}, "x_train has shape (6, 25): give (sample, "),
        ({"x_train": np.zeros((6, 3, 5, 5), np.uint8)}, "x_train has shape (6, 3, 5, 5)"),
        ({"x_train": np.zeros((0, 5, 5), np.uint8)}, "x_train has shape (0, 5, 5)"),
        ({"x_train": np.zeros((6, 5, 5), int)}, "x_train is int64: save uint8, or floats in"),
        ({"x_train": np.full((6, 5, 5), 255.0)}, "x_train goes from 255 to 255: scale pixels"),
        ({"x_train": np.full((6, 5, 5), -0.5)}, "x_train goes from -0.5 to -0.5"),
        ({"x_train": LATE_NAN}, "x_train, image 4: a pixel is NaN or infinite"),
        ({"x_train": np.full((6, 5, 5), -1e300)}, "x_train, image 0: a pixel is NaN or infinite"),
        ({"x_train": np.zeros((4, 5, 5), np.uint8)}, "4 images of train have 6 labels (y_train)"),
        ({"x_test": np.zeros((3, 6, 5), np.uint8)}, "train are 1 x 5 x 5 and of test 1 x 6 x 5"),
        ({"y_train": np.array([0, 1, 2, -1, 1, 2])}, "y_train, row 3: label -1: number the"),
        ({"y_test": np.array([0, MAX_CLASSES, 1])}, f"y_test, row 1: label {MAX_CLASSES}"),
        ({"y_train": np.zeros(6)}, "y_train is float64 of shape (6,): give one whole number"),
        ({"y_train": np.eye(6, dtype=int)}, "y_train is int64 of shape (6, 6)"),
        ({"y_train": np.array(["a"] * 6)}, "y_train is <U1 of shape (6,)"),
        ({"y_train": np.array([None] * 6)}, "y_train cannot be read (Object arrays cannot be"),
        ({"classes": np.array(["ant", "bee"])}, "y_train goes up to 2, where there are 2 classes"),
        ({"classes": np.arange(3)}, "classes is int64 of shape (3,): save the names"),
        (JPEG, "has no array 'train_offsets'"),
        ({**JPEG, "train_offsets": np.arange(7)}, "train_jpeg: its offsets do not go from 0 to"),
        ({**JPEG, "train_offsets": ROUND_TRIP[1][[0, 2, 1, 3, 4, 5, 6]]}, "do not rise"),
        ({**JPEG, "train_offsets": ROUND_TRIP[1] * 1.0}, "in whole numbers"),
        (
            {**JPEG, "train_offsets": ROUND_TRIP[1] + [0, 9, 0, 0, 0, 0, 0]},
            "train_jpeg: image 1 cannot be decoded",
        ),
    ],
)  # fmt: skip
def test_bad_arrays_are_named(tmp_path: Path, changes: dict[str, object], says: str) -> None:
    path = saved(tmp_path / "bad.npz", small(**changes))
    with pytest.raises(DataError, match=re.escape(f"{path}: ") + ".*" + re.escape(says)):
        load_images(path)


def test_images_of_two_sizes_in_jpegs_are_refused() -> None:
    (one, first), (two, second) = (as_jpegs(np.zeros((1, n, n, 3), np.uint8)) for n in (8, 9))
    with pytest.raises(DataError, match=r"image 1 is \(9, 9, 3\), where the first is \(8, 8, 3\)"):
        decode_jpegs(np.concatenate([one, two]), np.array([0, first[1], first[1] + second[1]]))
    with pytest.raises(DataError, match="there are no images"):
        decode_jpegs(one, np.array([0]))


def test_files_that_are_no_archives_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    with pytest.raises(DataError, match="bad.npz: there is no such file"):
        load_images(path)
    path.write_bytes(b"label,pixels\n")
    with pytest.raises(DataError, match="bad.npz: not an .npz file, or not a whole one"):
        load_images(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="bad.npz: not an .npz file, or not a whole one"):
        load_images(path)
    whole = saved(tmp_path / "whole.npz", small()).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="bad.npz: not an .npz file, or not a whole one"):
        load_images(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match="bad.npz: holds one array: save x_train"):
        load_images(path)


def test_where_a_set_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, prepared, cache = (tmp_path / name for name in ("given", "prepared", "cache"))
    for folder in (given, prepared, cache):
        folder.mkdir()
    monkeypatch.setattr("fedsec.data.images.cache_folder", lambda: cache)
    monkeypatch.delenv("FEDSEC_DATA", raising=False)
    with pytest.raises(DataError, match="mnist is not on this machine: run 'fedsec data fetch mn"):
        load_images("mnist")

    def put(folder: Path, label: int) -> None:
        saved(folder / "mnist.npz", small(y_test=np.array([label, 0, 0])))

    put(cache, 3)
    assert load_images("mnist").test.y[0] == 3
    monkeypatch.setenv("FEDSEC_DATA", str(prepared))
    assert load_images("mnist").test.y[0] == 3
    put(prepared, 4)
    assert load_images("mnist").test.y[0] == 4
    with pytest.raises(DataError, match="given/mnist.npz: there is no such file"):
        load_images("mnist", given)
    put(given, 5)
    data = load_images("mnist", str(given))
    assert data.test.y[0] == 5 and data.name == "mnist" and len(data.classes) == 10
    put(given, 10)
    with pytest.raises(DataError, match="y_test goes up to 10, where there are 10 classes"):
        load_images("mnist", given)


def test_an_unknown_set_is_refused() -> None:
    with pytest.raises(DataError, match="no image set 'svhn': choose from digits, mnist, fash"):
        load_images("svhn")


def test_a_subset_is_a_copy_in_the_order_asked_for(digits: ImageData) -> None:
    ids = np.array([5, 2, 1000])
    ids.setflags(write=False)  # as the parts of a memory-mapped partition would be
    some = digits.test.to("cpu").subset(ids[:2])
    assert torch.equal(some.x, digits.test.x[[5, 2]]) and torch.equal(some.y, digits.test.y[[5, 2]])
    again = digits.train.subset(torch.tensor([5, 2, 1000]))
    assert torch.equal(again.x, digits.train.subset(ids).x) and len(again) == 3
    again.x.zero_()
    assert digits.train.x[5].any()
