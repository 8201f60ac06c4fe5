"""Who holds which samples: the ways in which experiments divide a training set among clients.

Every function uses each sample exactly once, leaves no client without any, and draws from the
generator alone. The Maverick partitions are those of "Maverick Matters" (arXiv 2106.10734): some
classes are held by Mavericks only, and everybody else is balanced over the remaining ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int, Int64

from fedsec.errors import DataError, SettingsError

Labels = Int[np.ndarray, " sample"]
Ids = Int64[np.ndarray, "_"]  # of some samples; parts differ in length

MAX_DRAWS = 1000
MAX_ALPHA = 1e12  # all shares are equal long before; the sampler overflows far above


@dataclass(frozen=True, eq=False)
class Partition:
    """The samples of each client.

    parts       for each client the indices of its samples, rising
    mavericks   clients that alone hold some class

    Raises DataError where a client holds nothing, an index is negative or held twice, or a Maverick
    is not a client.
    """

    parts: tuple[Ids, ...] = field(repr=False)
    mavericks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.parts:
            raise DataError("a partition has at least one client")
        for client, part in enumerate(self.parts):
            if not len(part):
                raise DataError(f"client {client} holds no samples: leave it out")
            if part.min() < 0:
                raise DataError(f"client {client} holds sample {part.min()}: count from 0")
        held, times = np.unique(np.concatenate(self.parts), return_counts=True)
        if (times > 1).any():
            twice = held[times > 1][0]
            holders = [client for client, part in enumerate(self.parts) if twice in part]
            raise DataError(f"sample {twice} is held twice, by {holders}: give it to one client")
        for maverick in self.mavericks:
            if not 0 <= maverick < self.n_clients:
                raise DataError(f"Maverick {maverick} is not a client: 0 to {self.n_clients - 1}")

    @property
    def n_clients(self) -> int:
        """N."""
        return len(self.parts)

    @property
    def sizes(self) -> Int64[np.ndarray, " client"]:
        """Samples of each client."""
        return np.array([len(part) for part in self.parts], dtype=np.int64)


def iid(labels: Labels, n_clients: int, rng: np.random.Generator) -> Partition:
    """Samples at random; sizes differ by one at most.

    Raises SettingsError for less than one client, DataError for more clients than samples.
    """
    _check_clients(labels, n_clients)
    return _partition(np.array_split(rng.permutation(len(labels)), n_clients))


def dirichlet(
    labels: Labels,
    n_clients: int,
    alpha: float,
    rng: np.random.Generator,
    min_samples: int = 1,
) -> Partition:
    """Each class is divided in shares drawn from Dirichlet(alpha, ..., alpha), class by class.

    alpha > 0: towards 0 each class goes to one client, towards infinity to all alike. Shares are
    drawn anew until every client holds `min_samples`. Hsu, Qi and Brown (2019), arXiv 1909.06335,
    in the form of Li et al. (2021), arXiv 2102.02079, section IV.

    Raises as `iid`, and SettingsError where `alpha` or `min_samples` is out of range, or no draw
    of 1000 gave every client enough.
    """
    _check_clients(labels, n_clients)
    _check_alpha(alpha)
    if not 1 <= min_samples <= len(labels) // n_clients:
        raise SettingsError(
            f"min_samples = {min_samples}: {n_clients} clients share {len(labels)} samples, so give"
            f" 1 to {len(labels) // n_clients}"
        )
    groups = _by_class(labels, rng)
    for _ in range(MAX_DRAWS):
        borders = [_borders(len(group), n_clients, alpha, rng) for group in groups]
        if np.diff(np.array(borders), axis=1).sum(axis=0).min() >= min_samples:
            pieces = [
                np.split(group, border[1:-1]) for group, border in zip(groups, borders, strict=True)
            ]
            return _partition([np.concatenate(own) for own in zip(*pieces, strict=True)])
    raise SettingsError(
        f"alpha = {alpha:g}: none of {MAX_DRAWS} draws gave each of {n_clients} clients"
        f" {min_samples} or more of {len(labels)} samples: raise alpha, or lower n_clients or"
        " min_samples"
    )


def shards(
    labels: Labels, n_clients: int, shards_per_client: int, rng: np.random.Generator
) -> Partition:
    """Samples sorted by class are cut in equal shards, and each client gets some at random.

    So a client sees few classes. Sizes of shards differ by one at most. McMahan et al. (2017),
    arXiv 1602.05629, section 3 (with two shards a client).

    Raises as `iid`; DataError for more shards than samples.
    """
    _check_clients(labels, n_clients)
    n_shards = n_clients * shards_per_client
    if shards_per_client < 1:
        raise SettingsError(f"shards_per_client = {shards_per_client}: give at least 1")
    if n_shards > len(labels):
        raise DataError(
            f"{n_clients} clients with {shards_per_client} shards each need {n_shards} samples, and"
            f" there are {len(labels)}: lower n_clients or shards_per_client"
        )
    cut = np.array_split(np.concatenate(_by_class(labels, rng)), n_shards)
    dealt = rng.permutation(n_shards).reshape(n_clients, shards_per_client)
    return _partition([np.concatenate([cut[shard] for shard in own]) for own in dealt])


def quantity_skew(
    labels: Labels, n_clients: int, alpha: float, rng: np.random.Generator
) -> Partition:
    """Samples at random, in sizes by shares drawn from Dirichlet(alpha, ..., alpha).

    alpha > 0; towards infinity sizes are equal. Each client gets one sample first, and the shares
    divide the rest. Li et al. (2021), arXiv 2102.02079, section IV ("quantity skew").

    Raises as `iid`, and SettingsError where `alpha` is out of range.
    """
    _check_clients(labels, n_clients)
    _check_alpha(alpha)
    borders = _borders(len(labels) - n_clients, n_clients, alpha, rng) + np.arange(n_clients + 1)
    return _partition(np.split(rng.permutation(len(labels)), borders[1:-1]))


def exclusive_mavericks(
    labels: Labels, n_clients: int, classes: Sequence[int], rng: np.random.Generator
) -> Partition:
    """Client i alone holds all samples of classes[i]; the others are balanced over the rest.

    Of every remaining class, and in all, what the other clients hold differs by one at most.

    Raises as `iid`; SettingsError where no class is named, one is named twice, or there are not
    enough clients; DataError where a class has no samples or the others would get none.
    """
    if not classes:
        raise SettingsError("name at least one class that a Maverick holds")
    for class_ in classes:
        if list(classes).count(class_) > 1:
            raise SettingsError(f"Maverick class {class_} is named twice: use shared_mavericks")
        _check_class(labels, class_)
    owned = [np.flatnonzero(labels == class_) for class_ in classes]
    return _with_mavericks(labels, n_clients, owned, list(classes), rng)


def shared_mavericks(
    labels: Labels, n_clients: int, class_: int, n_mavericks: int, rng: np.random.Generator
) -> Partition:
    """Clients 0 to n_mavericks - 1 alone hold one class, in parts that differ by one at most.

    The others are balanced over the rest as in `exclusive_mavericks`. Raises as it does;
    SettingsError for less than one Maverick, DataError for more than samples of the class.
    """
    _check_class(labels, class_)
    own = rng.permutation(np.flatnonzero(labels == class_))
    if n_mavericks < 1:
        raise SettingsError(f"n_mavericks = {n_mavericks}: give at least 1")
    if n_mavericks > len(own):
        raise DataError(
            f"{n_mavericks} Mavericks cannot share the {len(own)} samples of class {class_}: ask"
            f" for at most {len(own)}"
        )
    return _with_mavericks(labels, n_clients, np.array_split(own, n_mavericks), [class_], rng)


def label_counts(
    labels: Labels, partition: Partition, n_classes: int
) -> Int64[np.ndarray, "client class"]:
    """How many samples of each class each client holds.

    Raises DataError where a label is not a class, or a client holds a sample that is not there.
    """
    if labels.size and not 0 <= labels.min() <= labels.max() < n_classes:
        raise DataError(
            f"labels go from {labels.min()} to {labels.max()}, where there are {n_classes} classes:"
            f" use 0 to {n_classes - 1}"
        )
    for client, part in enumerate(partition.parts):
        if part.max() >= len(labels):
            raise DataError(
                f"client {client} holds sample {part.max()}, where there are {len(labels)}: the"
                " partition is of another set"
            )
    return np.stack([np.bincount(labels[part], minlength=n_classes) for part in partition.parts])


def _with_mavericks(
    labels: Labels,
    n_clients: int,
    owned: Sequence[Ids],
    classes: Sequence[int],
    rng: np.random.Generator,
) -> Partition:
    """Mavericks come first. Dealing the rest one by one, class after class, balances the others."""
    _check_clients(labels, n_clients)
    n_others = n_clients - len(owned)
    order = np.concatenate(_by_class(labels, rng))
    rest = order[~np.isin(labels[order], classes)]
    if n_others < 0 or (n_others == 0 and len(rest)):
        raise SettingsError(
            f"{len(owned)} Mavericks of {n_clients} clients leave nobody for the other classes:"
            f" ask for at least {len(owned) + 1} clients, or fewer Mavericks"
        )
    if n_others > len(rest):
        raise DataError(
            f"{n_others} clients cannot share the {len(rest)} samples that Mavericks do not hold:"
            f" ask for at most {len(owned) + len(rest)} clients"
        )
    others = [rest[client::n_others] for client in range(n_others)]
    return _partition([*owned, *others], mavericks=tuple(range(len(owned))))


def _partition(parts: Sequence[Ids], mavericks: tuple[int, ...] = ()) -> Partition:
    return Partition(tuple(np.sort(part).astype(np.int64) for part in parts), mavericks)


def _by_class(labels: Labels, rng: np.random.Generator) -> list[Ids]:
    """The samples of each class that has any, in random order."""
    return [rng.permutation(np.flatnonzero(labels == class_)) for class_ in np.unique(labels)]


def _borders(
    n: int, n_clients: int, alpha: float, rng: np.random.Generator
) -> Int64[np.ndarray, " border"]:
    """Where to cut n samples into shares drawn from a Dirichlet distribution: 0, ..., n."""
    shares: Float[np.ndarray, " client"] = rng.dirichlet(np.full(n_clients, alpha))
    borders = np.zeros(n_clients + 1, dtype=np.int64)
    borders[1:] = np.rint(np.minimum(shares.cumsum(), 1) * n)
    borders[-1] = n
    return borders


def _check_clients(labels: Labels, n_clients: int) -> None:
    if n_clients < 1:
        raise SettingsError(f"n_clients = {n_clients}: give at least 1")
    if n_clients > len(labels):
        raise DataError(
            f"{n_clients} clients cannot share {len(labels)} samples: ask for at most {len(labels)}"
            " clients, or load more data"
        )


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha <= MAX_ALPHA:
        raise SettingsError(f"alpha = {alpha:g}: give a number above 0, up to {MAX_ALPHA:g}")


def _check_class(labels: Labels, class_: int) -> None:
    if class_ not in labels:
        there = ", ".join(str(one) for one in np.unique(labels))
        raise DataError(f"Maverick class {class_} has no samples: choose from {there}")
