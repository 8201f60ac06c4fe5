"""Image sets: digits always there, the others read from NumPy files; one test set that stays apart.

A set is split once, for every seed: `train` is what clients share among themselves, `test` is what
nobody trains on. A file is an `.npz` with `x_train`, `y_train`, `x_test` and `y_test`, of pixels
that are uint8, or floats in [0, 1], and optionally `classes`, the names. The shared CIFAR-10 holds
JPEG files (`train_jpeg`, `train_offsets`, ...) in place of the pixels.

`load_images` looks for `<name>.npz` in the folder it is given, and nowhere else; without one in the
folder that the environment variable FEDSEC_DATA names, then in the cache that `fetch_images` fills.
"""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from fedsec.data.fetching import cache_folder
from fedsec.errors import DataError

Pixels = Float[np.ndarray, "sample channel height width"]
Labels = Int[np.ndarray, " sample"]

DIGITS = tuple("0123456789")
GARMENTS = (
    "t-shirt", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
OBJECTS = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

IMAGE_SETS = {"digits": DIGITS, "mnist": DIGITS, "fashion-mnist": GARMENTS, "cifar10": OBJECTS}
"""Name -> the names of its classes."""

N_TEST_DIGITS = 500
MAX_CLASSES = 100_000  # a label above it is an id, not a class


@dataclass(frozen=True, eq=False)
class Images:
    """Images and their labels.

    x    float32, in [0, 1]
    y    class codes from 0
    """

    x: Float[Tensor, "sample channel height width"]
    y: Int[Tensor, " sample"]

    def __len__(self) -> int:
        return len(self.y)

    def to(self, device: torch.device | str) -> Images:
        """The same images on a device."""
        return Images(self.x.to(device), self.y.to(device))

    def subset(self, ids: Int[np.ndarray, " some"] | Int[Tensor, " some"]) -> Images:
        """A copy of these samples, in this order, on the same device."""
        where = torch.tensor(ids) if isinstance(ids, np.ndarray) else ids
        where = where.to(self.x.device)
        return Images(self.x[where], self.y[where])


@dataclass(frozen=True, eq=False)
class ImageData:
    """A set of images: what clients train on, and the one test set, which no client holds.

    name       of the set, or the path of the file
    classes    name of each class code
    """

    name: str
    train: Images
    test: Images
    classes: tuple[str, ...]


def load_images(name: str | Path, folder: str | Path | None = None) -> ImageData:
    """A set of the table IMAGE_SETS, or of a user's own `.npz` file (see the module).

    Nothing is drawn: the split is the published one, and for digits a fixed one of 1297 and 500.
    The JPEG form of CIFAR-10 is decoded anew in each call, in 5 to 20 seconds.

    Raises DataError where the set is unknown or not on this machine, and where the file is not as
    the module says; the message names file and array.
    """
    if str(name).endswith(".npz"):
        return read_images(name)
    if name not in IMAGE_SETS:
        raise DataError(
            f"there is no image set {str(name)!r}: choose from {', '.join(IMAGE_SETS)}, or give the"
            " path of an .npz file"
        )
    if name == "digits":
        return _digits()
    return read_images(_find(str(name), folder), name=str(name), classes=IMAGE_SETS[str(name)])


def read_images(
    path: str | Path, *, name: str | None = None, classes: tuple[str, ...] | None = None
) -> ImageData:
    """The set in an `.npz` file. `classes` are the names; without, the file's own, or the codes.

    Raises DataError as `load_images` does.
    """
    path = Path(path).expanduser()
    arrays = _arrays(path)
    train, test = _part(path, arrays, "train"), _part(path, arrays, "test")
    if train[0].shape[1:] != test[0].shape[1:]:
        raise DataError(
            f"{path}: images of train are {_form(train[0])} and of test {_form(test[0])}"
            " (channel x height x width): bring them to one form"
        )
    n = 1 + max(int(train[1].max()), int(test[1].max()))
    names = classes or _class_names(path, arrays, n)
    for part, (_, y) in (("train", train), ("test", test)):
        if y.max() >= len(names):
            raise DataError(
                f"{path}: y_{part} goes up to {y.max()}, where there are {len(names)} classes:"
                f" labels are 0 to {len(names) - 1}"
            )
    return ImageData(name or str(path), _images(*train), _images(*test), names)


def decode_jpegs(
    jpeg: UInt8[np.ndarray, " byte"], offsets: Int[np.ndarray, " border"]
) -> UInt8[np.ndarray, "sample height width colour"]:
    """The images whose files lie one after another: image i from offsets[i] to offsets[i + 1].

    Raises DataError where one is not an image, or not of the size of the first.
    """
    from PIL import Image

    decoded: np.ndarray | None = None
    n = len(offsets) - 1
    for i in range(n):
        try:
            with Image.open(io.BytesIO(jpeg[offsets[i] : offsets[i + 1]].tobytes())) as file:
                image = np.asarray(file.convert("RGB"))
        except OSError as error:  # UnidentifiedImageError is one
            raise DataError(f"image {i} cannot be decoded: {error}") from error
        if decoded is None:
            decoded = np.empty((n, *image.shape), dtype=np.uint8)
        if image.shape != decoded.shape[1:]:
            raise DataError(f"image {i} is {image.shape}, where the first is {decoded.shape[1:]}")
        decoded[i] = image
    if decoded is None:
        raise DataError("there are no images")
    return decoded


def _digits() -> ImageData:
    """Within each class every third or fourth image, evenly over the writers, is a test image."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    n = len(labels)
    by_class = np.argsort(labels, kind="stable")
    is_test = np.zeros(n, dtype=bool)
    is_test[by_class[(2 * np.arange(N_TEST_DIGITS) + 1) * n // (2 * N_TEST_DIGITS)]] = True
    x = (pixels / 16).astype(np.float32).reshape(n, 1, 8, 8)
    train, test = (_images(x[which], labels[which]) for which in (~is_test, is_test))
    return ImageData("digits", train, test, DIGITS)


def _find(name: str, folder: str | Path | None) -> Path:
    file = f"{name}.npz"
    if folder is not None:
        path = Path(folder).expanduser() / file
        if not path.is_file():
            raise DataError(
                f"{path}: there is no such file; fetch it by 'fedsec data fetch {name}'"
            )
        return path
    prepared = os.environ.get("FEDSEC_DATA")
    places = [Path(prepared).expanduser()] if prepared else []
    for place in [*places, cache_folder()]:
        if (place / file).is_file():
            return place / file
    raise DataError(
        f"{name} is not on this machine: run 'fedsec data fetch {name}', or name a folder that"
        f" holds {file} by --data-dir or in the environment variable FEDSEC_DATA"
    )


def _arrays(path: Path) -> Mapping[str, np.ndarray]:
    """The arrays that we know of in a file; objects, which could run code, are refused."""
    known = {f"{what}_{part}" for what in "xy" for part in ("train", "test")}
    known |= {f"{part}_{what}" for what in ("jpeg", "offsets") for part in ("train", "test")}
    found = {}
    try:
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise DataError(
                    f"{path}: holds one array: save x_train, y_train, x_test and y_test by"
                    " numpy.savez_compressed"
                )
            for key in sorted((known | {"classes"}) & set(file.files)):
                try:
                    found[key] = file[key]
                except ValueError as error:
                    raise DataError(
                        f"{path}: {key} cannot be read ({error}): save it as an array of numbers"
                    ) from error
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: not an .npz file, or not a whole one ({error})") from error
    return found


def _part(path: Path, arrays: Mapping[str, np.ndarray], part: str) -> tuple[Pixels, Labels]:
    x, y = f"x_{part}", f"y_{part}"
    jpeg, offsets = f"{part}_jpeg", f"{part}_offsets"
    as_jpeg = x not in arrays and jpeg in arrays
    needed = [jpeg, offsets, y] if as_jpeg else [x, y]
    for key in needed:
        if key not in arrays:
            raise DataError(
                f"{path}: has no array {key!r}, only {', '.join(arrays) or 'others'}: save x_train,"
                " y_train, x_test and y_test"
            )
    if as_jpeg:
        pixels = _decoded(f"{path}: {jpeg}", arrays[jpeg], arrays[offsets])
    else:
        pixels = _checked_pixels(f"{path}: {x}", arrays[x])
    labels = _checked_labels(f"{path}: {y}", arrays[y])
    if len(pixels) != len(labels):
        raise DataError(
            f"{path}: {len(pixels)} images of {part} have {len(labels)} labels ({y}): give one each"
        )
    return pixels, labels


def _checked_pixels(where: str, x: np.ndarray) -> Pixels:
    """As float32, with a channel axis."""
    if not (x.ndim == 3 or (x.ndim == 4 and x.shape[3] in (1, 3))) or 0 in x.shape:
        raise DataError(
            f"{where} has shape {x.shape}: give (sample, height, width), or (sample, height, width,"
            " 3) for colour"
        )
    if x.dtype == np.uint8:
        pixels = x.astype(np.float32)
        pixels /= 255
    elif np.issubdtype(x.dtype, np.floating):
        with np.errstate(over="ignore"):  # found below
            pixels = x.astype(np.float32)
        low, high = pixels.min(), pixels.max()  # NaN where there is one
        if not (np.isfinite(low) and np.isfinite(high)):
            bad = int(np.flatnonzero(~np.isfinite(pixels).reshape(len(x), -1).all(axis=1))[0])
            raise DataError(f"{where}, image {bad}: a pixel is NaN or infinite: mend or drop it")
        if low < 0 or high > 1:
            raise DataError(
                f"{where} goes from {low:g} to {high:g}: scale pixels to [0, 1], or save uint8"
            )
    else:
        raise DataError(f"{where} is {x.dtype}: save uint8, or floats in [0, 1]")
    if x.ndim == 3:
        return pixels[:, None]
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def _checked_labels(where: str, y: np.ndarray) -> Labels:
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        raise DataError(
            f"{where} is {y.dtype} of shape {y.shape}: give one whole number for each image"
        )
    if y.size and (y.min() < 0 or y.max() >= MAX_CLASSES):
        row = int(np.flatnonzero((y < 0) | (y >= MAX_CLASSES))[0])
        raise DataError(f"{where}, row {row}: label {y[row]}: number the classes from 0")
    return y.astype(np.int64)


def _decoded(where: str, jpeg: np.ndarray, offsets: np.ndarray) -> Pixels:
    if jpeg.dtype != np.uint8 or jpeg.ndim != 1:
        raise DataError(f"{where} is {jpeg.dtype} of shape {jpeg.shape}: save the bytes as uint8")
    whole = offsets.ndim == 1 and np.issubdtype(offsets.dtype, np.integer)
    if not whole or len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != len(jpeg):
        raise DataError(f"{where}: its offsets do not go from 0 to {len(jpeg)} in whole numbers")
    if (np.diff(offsets) <= 0).any():
        raise DataError(f"{where}: its offsets do not rise")
    try:
        return _checked_pixels(where, decode_jpegs(jpeg, offsets))
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _class_names(path: Path, arrays: Mapping[str, np.ndarray], n: int) -> tuple[str, ...]:
    if "classes" not in arrays:
        return tuple(str(code) for code in range(n))
    names = arrays["classes"]
    if names.ndim != 1 or names.dtype.kind != "U":
        raise DataError(f"{path}: classes is {names.dtype} of shape {names.shape}: save the names")
    return tuple(str(name) for name in names)


def _images(x: Pixels, y: Labels) -> Images:
    return Images(torch.from_numpy(x), torch.from_numpy(y.astype(np.int64)))


def _form(x: Pixels) -> str:
    return " x ".join(str(size) for size in x.shape[1:])
