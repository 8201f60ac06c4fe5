"""The images, and who holds which: from options to an image set and a partition of it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from fedsec.cli.checks import first, goes_with, one_of
from fedsec.cli.flags import PARTITIONS, Flags
from fedsec.core.rng import stream
from fedsec.data.images import ImageData, Images, load_images
from fedsec.data.partitions import (
    Partition,
    dirichlet,
    exclusive_mavericks,
    iid,
    quantity_skew,
    shards,
    shared_mavericks,
)
from fedsec.errors import DataError, SettingsError

Divide = partial[Partition]
"""`(labels, rng=...)` -> partition; the keywords are its settings."""


@dataclass(frozen=True)
class Mavericks:
    """The first clients, and the classes that they alone hold; none for other partitions."""

    ids: tuple[int, ...] = ()
    classes: tuple[int, ...] = ()


def images_of(flags: Flags) -> tuple[ImageData, Images | None]:
    """The image set, or so much of it as was asked for; and what the server holds out of it.

    Raises DataError.
    """
    found = load_images(flags.data, flags.data_dir)
    train, _ = _drawn(found.train, flags.limit, "--limit", "training")
    test, _ = _drawn(found.test, flags.test_limit, "--test-limit", "test")
    if flags.hold_out is None:
        return replace(found, train=train, test=test), None
    held_out, rest = _drawn(train, flags.hold_out, "--hold-out", "training")
    return replace(found, train=rest, test=test), held_out


def fingerprint(images: Images) -> dict[str, Any]:
    """What tells one set of images from another."""
    check = zlib.crc32(images.y.numpy().data, zlib.crc32(images.x.contiguous().numpy().data))
    return {"n": len(images), "crc32": f"{check:08x}"}


def check_partition(flags: Flags) -> None:
    """Raises SettingsError for another name, and for options of another partition."""
    name = flags.partition
    one_of("--partition", name, PARTITIONS)
    ours = name == "mavericks"
    goes_with("--mavericks", flags.mavericks, ours, "--partition mavericks")
    goes_with("--maverick-class", flags.maverick_class, ours, "--partition mavericks")
    goes_with("--shared", flags.shared or None, ours, "--partition mavericks")
    skewed = name in ("dirichlet", "quantity")
    goes_with("--partition-alpha", flags.partition_alpha, skewed, "dirichlet and quantity")
    goes_with("--shards-per-client", flags.shards_per_client, name == "shards", "shards")


def mavericks_of(flags: Flags, images: ImageData) -> Mavericks:
    """Who they are and what they hold.

    Raises SettingsError where numbers do not fit each other, DataError for a class that is none.
    """
    if flags.partition != "mavericks":
        return Mavericks()
    given, n_classes = flags.maverick_class or [], len(images.classes)
    n = first(flags.mavericks, 1 if flags.shared else max(len(given), 1))
    if n < 1:
        raise SettingsError(f"--mavericks is {n}: give at least 1, or take --partition iid")
    n_held = 1 if flags.shared else n
    if n_held > n_classes:
        raise SettingsError(
            f"--mavericks is {n}, and there are {n_classes} classes: give each a class of its own,"
            " or let them share one by --shared"
        )
    if given and len(given) != n_held:
        raise SettingsError(
            f"--maverick-class was given {len(given)} times, for {n_held}: name one class for each"
            " Maverick, or a single one with --shared"
        )
    usual = [1, 0, *range(2, n_classes)] if n_classes > 1 else [0]
    classes = [_class(text, images) for text in given] or usual[:n_held]
    return Mavericks(tuple(range(n)), tuple(classes))


def divide_by(flags: Flags, mavericks: Mavericks) -> Divide:
    """The partition, but for the labels and the generator."""
    n, alpha = flags.clients, first(flags.partition_alpha, 0.5)
    if flags.shared:
        return partial(
            shared_mavericks,
            n_clients=n, class_=mavericks.classes[0], n_mavericks=len(mavericks.ids),
        )  # fmt: skip
    if flags.partition == "mavericks":
        return partial(exclusive_mavericks, n_clients=n, classes=list(mavericks.classes))
    if flags.partition == "shards":
        return partial(shards, n_clients=n, shards_per_client=first(flags.shards_per_client, 2))
    if flags.partition == "dirichlet":
        return partial(dirichlet, n_clients=n, alpha=alpha)
    if flags.partition == "quantity":
        return partial(quantity_skew, n_clients=n, alpha=alpha)
    return partial(iid, n_clients=n)


def _drawn(images: Images, n: int | None, option: str, part: str) -> tuple[Images, Images]:
    """`n` images at random, the same for every seed, and those that are left."""
    if n is not None and not 1 <= n <= len(images):
        raise DataError(f"{option} is {n}: there are {len(images)} {part} images, so give 1 to all")
    if n is None or n == len(images):
        return images, images.subset(np.arange(0))
    order = stream(0, option).permutation(len(images))
    return images.subset(np.sort(order[:n])), images.subset(np.sort(order[n:]))


def _class(text: str, images: ImageData) -> int:
    """A class by its name or its code."""
    if text in images.classes:
        return images.classes.index(text)
    if text.isdecimal() and int(text) < len(images.classes):
        return int(text)
    shown = ", ".join(images.classes[:20]) + (", ..." if len(images.classes) > 20 else "")
    raise DataError(
        f"Maverick class {text!r} does not exist: give 0 to {len(images.classes) - 1}, or a name of"
        f" {shown}"
    )
