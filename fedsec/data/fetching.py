"""Image sets over the network: fetched, checked against published checksums, kept as one file.

The MD5 checksums are those that the sources publish (Fashion-MNIST in its README, CIFAR-10 on its
page) or, for MNIST, those that torchvision checks. CIFAR-10 is fetched in its binary form, which
holds the same images in the same order as the Python form but no pickle, whose reading runs code.
"""

from __future__ import annotations

import gzip
import math
import os
import tarfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import UInt8

from fedsec.errors import DataError

Bytes = UInt8[np.ndarray, "..."]
Arrays = dict[str, Bytes]

UINT8 = b"\x00\x00\x08"  # how an IDX file of bytes begins; the number of axes follows


def idx_arrays(paths: Sequence[Path]) -> Arrays:
    """The arrays of four gzipped IDX files: train images and labels, test images and labels."""
    names = ("x_train", "y_train", "x_test", "y_test")
    return {name: read_idx(path) for name, path in zip(names, paths, strict=True)}


def read_idx(path: Path) -> Bytes:
    """The bytes of a gzipped IDX file, in its shape. Raises DataError where it is something else.

    The format: two zero bytes, the type, the number of axes, their lengths as big-endian 32-bit
    numbers, the values (yann.lecun.com/exdb/mnist).
    """
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path.name}: not a gzip file, or not a whole one ({error})") from error
    if content[:3] != UINT8 or len(content) < 4 + 4 * content[3]:
        raise DataError(f"{path.name}: not an IDX file of bytes; it begins with {content[:4]!r}")
    start = 4 + 4 * content[3]
    shape = tuple(int(length) for length in np.frombuffer(content[4:start], dtype=">u4"))
    if len(content) - start != math.prod(shape):
        raise DataError(f"{path.name}: {len(content) - start} bytes do not fill the shape {shape}")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def cifar_arrays(paths: Sequence[Path]) -> Arrays:
    """The arrays of CIFAR-10's binary archive: records of one label and 3 x 32 x 32 pixels.

    Raises DataError where it is something else.
    """
    (path,) = paths
    names = [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]
    records = []
    try:
        with tarfile.open(path) as archive:
            for name in names:
                member = archive.extractfile(f"cifar-10-batches-bin/{name}")
                content = member.read() if member else b""
                records.append(np.frombuffer(content, dtype=np.uint8).reshape(-1, 1 + 3 * 32 * 32))
    except (tarfile.TarError, OSError, EOFError, zlib.error, KeyError, ValueError) as error:
        raise DataError(f"{path.name}: not CIFAR-10's binary archive ({error})") from error
    arrays = {}
    for part, rows in (("train", np.concatenate(records[:-1])), ("test", records[-1])):
        colours_last = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        arrays[f"x_{part}"] = np.ascontiguousarray(colours_last)
        arrays[f"y_{part}"] = rows[:, 0].copy()
    return arrays


@dataclass(frozen=True)
class Source:
    """Where the files of a set lie, their MD5 checksums by name, and what makes arrays of them."""

    base_url: str
    md5: Mapping[str, str]
    arrays: Callable[[Sequence[Path]], Arrays]


SOURCES = {
    "fashion-mnist": Source(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
        {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
        idx_arrays,
    ),
    "mnist": Source(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
        idx_arrays,
    ),
    "cifar10": Source(
        "https://www.cs.toronto.edu/~kriz",
        {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
        cifar_arrays,
    ),
}
"""What can be fetched."""


def fetch_images(
    name: str,
    *,
    base_url: str | None = None,
    cache: str | Path | None = None,
    md5: Mapping[str, str] | None = None,
) -> Path:
    """Get a set from its public source, check it, and keep it as `<name>.npz`; the path of that.

    A set that is there already is not fetched again. `base_url` names another server that has the
    same files, `cache` another folder, `md5` other checksums by file name. The file appears whole
    or not at all.

    Raises DataError where the set is none of SOURCES, cannot be fetched or kept, or is not what the
    checksums say.
    """
    if name not in SOURCES:
        raise DataError(f"{name!r} cannot be fetched: choose from {', '.join(SOURCES)}")
    source = SOURCES[name]
    folder = Path(cache).expanduser() if cache else cache_folder()
    target = folder / f"{name}.npz"
    if target.exists():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=f".{name}-") as temporary:
            expected = source.md5 if md5 is None else md5
            for file in source.md5:
                _download(
                    f"{base_url or source.base_url}/{file}", Path(temporary) / file, expected[file]
                )
            whole = Path(temporary) / target.name
            arrays = source.arrays([Path(temporary) / file for file in source.md5])
            np.savez_compressed(whole, allow_pickle=False, **arrays)
            os.replace(whole, target)
    except OSError as error:
        raise DataError(f"{target}: cannot be written: {error}") from error
    return target


def cache_folder() -> Path:
    """Where `fetch_images` keeps what it got."""
    import pooch

    return Path(pooch.os_cache("fedsec"))


def _download(url: str, path: Path, md5: str) -> None:
    import pooch

    try:
        pooch.HTTPDownloader(chunk_size=1 << 20)(url, str(path), None)
    except OSError as error:  # what requests raises, too
        raise DataError(
            f"{url}: cannot be fetched: {error}; is this machine on the network? A folder that"
            " holds the set can be named in FEDSEC_DATA instead"
        ) from error
    found = pooch.file_hash(str(path), alg="md5")
    if found != md5:
        raise DataError(
            f"{url}: its MD5 checksum is {found}, where {md5} was published: it was changed, or did"
            " not arrive whole; try again later"
        )
