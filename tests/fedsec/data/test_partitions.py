"""Partitions: laws that hold for any labels, and the shares that each kind promises."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from fedsec.data.images import ImageData
from fedsec.data.partitions import (
    Partition,
    dirichlet,
    exclusive_mavericks,
    iid,
    label_counts,
    quantity_skew,
    shards,
    shared_mavericks,
)
from fedsec.errors import DataError, SettingsError

Rng = np.random.Generator
Make = Callable[[np.ndarray, int, Rng], Partition]

MAKERS: dict[str, Make] = {
    "iid": iid,
    "dirichlet": lambda labels, n, rng: dirichlet(labels, n, 5.0, rng),
    "shards": lambda labels, n, rng: shards(labels, n, 2, rng),
    "quantity-skew": lambda labels, n, rng: quantity_skew(labels, n, 0.3, rng),
    "exclusive": lambda labels, n, rng: exclusive_mavericks(labels, n, [2, 0], rng),
    "shared": lambda labels, n, rng: shared_mavericks(labels, n, 1, 2, rng),
}

all_kinds = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)

# Three classes or more with 4 samples each or more, in any order, for 5 clients
some_labels = st.lists(
    st.integers(4, 40), min_size=3, max_size=6
).flatmap(lambda sizes: st.permutations(np.repeat(np.arange(len(sizes)), sizes).tolist())).map(
    np.array
)  # fmt: skip
seeds = st.integers(0, 2**32)


def spread(counts: np.ndarray) -> int:
    """The largest difference between clients, in any column."""
    return int(np.ptp(counts, axis=0).max(initial=0))


@all_kinds
@given(labels=some_labels, seed=seeds)
def test_every_sample_is_used_once_and_nobody_is_left_out(
    make: Make, labels: np.ndarray, seed: int
) -> None:
    found = make(labels, 5, np.random.default_rng(seed))
    assert found.n_clients == 5 and found.sizes.min() >= 1
    assert_array_equal(np.sort(np.concatenate(found.parts)), np.arange(len(labels)))
    assert all((np.diff(part) > 0).all() for part in found.parts)
    counts = label_counts(labels, found, 6)
    assert_array_equal(counts.sum(axis=0), np.bincount(labels, minlength=6))
    assert_array_equal(counts.sum(axis=1), found.sizes)


@all_kinds
def test_the_seed_decides(make: Make) -> None:
    labels = np.repeat(np.arange(4), 30)
    first, again, other = (make(labels, 5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    for one, two in zip(first.parts, again.parts, strict=True):
        assert_array_equal(one, two)
    assert any(
        not np.array_equal(one, two) for one, two in zip(first.parts, other.parts, strict=True)
    )
    assert_array_equal(labels, np.repeat(np.arange(4), 30))


@all_kinds
def test_no_test_image_is_in_a_training_shard(make: Make, digits: ImageData) -> None:
    parts = make(digits.train.y.numpy(), 20, np.random.default_rng(0)).parts
    held = {
        image.numpy().tobytes() for part in parts for image in digits.train.subset(part).x
    }  # by content, not by index
    assert len(held) == 1297
    assert not held & {image.numpy().tobytes() for image in digits.test.x}


@given(labels=some_labels, seed=seeds, n_clients=st.integers(1, 12))
def test_iid_sizes_differ_by_one_at_most(labels: np.ndarray, seed: int, n_clients: int) -> None:
    assert spread(iid(labels, n_clients, np.random.default_rng(seed)).sizes) <= 1


def test_iid_gives_every_sample_to_every_client_alike() -> None:
    rng = np.random.default_rng(3)
    owner = np.zeros((6, 3))
    for _ in range(1000):
        for client, part in enumerate(iid(np.zeros(6, int), 3, rng).parts):
            owner[part, client] += 1
    assert_allclose(owner / 1000, 1 / 3, atol=3 * np.sqrt(2 / 9 / 1000) * 1.3)


@given(labels=some_labels, seed=seeds)
def test_dirichlet_with_large_alpha_balances_every_class(labels: np.ndarray, seed: int) -> None:
    found = dirichlet(labels, 4, 1e12, np.random.default_rng(seed))
    assert spread(label_counts(labels, found, 6)) <= 1


def test_dirichlet_shares_have_the_variance_of_the_distribution() -> None:
    labels = np.repeat(np.arange(50), 1000)
    counts = label_counts(labels, dirichlet(labels, 40, 0.5, np.random.default_rng(0)), 50)
    mean = 1 / 40
    variance = mean * (1 - mean) / (40 * 0.5 + 1)
    assert (counts / 1000).var() == pytest.approx(variance, rel=0.15)


def test_dirichlet_with_small_alpha_gives_each_class_to_one_client() -> None:
    labels = np.repeat(np.arange(40), 25)
    counts = label_counts(labels, dirichlet(labels, 4, 1e-3, np.random.default_rng(0)), 40)
    assert (counts.max(axis=0) == 25).mean() > 0.9


def test_dirichlet_draws_until_every_client_has_enough() -> None:
    labels = np.repeat(np.arange(3), 20)
    for seed in range(20):
        found = dirichlet(labels, 4, 0.5, np.random.default_rng(seed), min_samples=8)
        assert found.sizes.min() >= 8
    with pytest.raises(SettingsError, match="alpha = 1e-09: none of 1000 draws gave each of 4"):
        dirichlet(labels, 4, 1e-9, np.random.default_rng(0))


@given(labels=some_labels, seed=seeds, per_client=st.integers(1, 4), n_clients=st.integers(1, 3))
def test_shards_are_equal_and_of_few_classes(
    labels: np.ndarray, seed: int, per_client: int, n_clients: int
) -> None:
    found = shards(labels, n_clients, per_client, np.random.default_rng(seed))
    assert spread(found.sizes) <= per_client
    counts = label_counts(labels, found, 6)
    n_pieces = n_clients * per_client + len(np.unique(labels)) - 1  # cuts of shards and of classes
    assert (counts > 0).sum() <= n_pieces


def test_one_shard_a_class_gives_each_client_one_class() -> None:
    labels = np.tile(np.arange(5), 8)
    counts = label_counts(labels, shards(labels, 5, 1, np.random.default_rng(0)), 5)
    assert sorted(counts.max(axis=1)) == [8] * 5


def test_quantity_skew_changes_sizes_but_not_class_shares() -> None:
    labels = np.tile(np.arange(4), 5000)
    made = [quantity_skew(labels, 50, 0.5, np.random.default_rng(seed)) for seed in range(50)]
    shares = np.array([(found.sizes - 1) / (len(labels) - 50) for found in made])
    assert shares.var() == pytest.approx(0.02 * 0.98 / (50 * 0.5 + 1), rel=0.15)
    n = made[0].sizes[:, None]
    off = (label_counts(labels, made[0], 4) - n / 4) ** 2 / (n * 3 / 16)
    assert off.mean() == pytest.approx(1, abs=0.5)  # chi-squared, some 150 degrees of freedom
    equal = quantity_skew(labels, 7, 1e12, np.random.default_rng(0))
    assert spread(equal.sizes) <= 1


@given(labels=some_labels, seed=seeds, n_clients=st.integers(3, 8))
def test_an_exclusive_maverick_holds_its_class_and_the_rest_is_balanced(
    labels: np.ndarray, seed: int, n_clients: int
) -> None:
    assume((labels > 1).sum() >= n_clients - 2)
    found = exclusive_mavericks(labels, n_clients, (1, 0), np.random.default_rng(seed))
    counts = label_counts(labels, found, 6)
    assert found.mavericks == (0, 1)
    assert_array_equal(counts[0], np.bincount(labels, minlength=6) * [0, 1, 0, 0, 0, 0])
    assert_array_equal(counts[1], np.bincount(labels, minlength=6) * [1, 0, 0, 0, 0, 0])
    assert spread(counts[2:]) <= 1 and spread(found.sizes[2:]) <= 1


@given(labels=some_labels, seed=seeds, n_clients=st.integers(5, 8), n_mavericks=st.integers(1, 4))
def test_shared_mavericks_split_their_class_and_the_rest_is_balanced(
    labels: np.ndarray, seed: int, n_clients: int, n_mavericks: int
) -> None:
    found = shared_mavericks(labels, n_clients, 2, n_mavericks, np.random.default_rng(seed))
    counts = label_counts(labels, found, 6)
    assert found.mavericks == tuple(range(n_mavericks))
    assert counts[:, 2].sum() == counts[:n_mavericks].sum() == (labels == 2).sum()
    assert spread(counts[:n_mavericks]) <= 1
    assert spread(counts[n_mavericks:]) <= 1 and spread(found.sizes[n_mavericks:]) <= 1


def test_the_partition_of_the_paper() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 6000))
    counts = label_counts(
        labels, exclusive_mavericks(labels, 50, [1], np.random.default_rng(1)), 10
    )
    assert_array_equal(counts[0], [0, 6000, 0, 0, 0, 0, 0, 0, 0, 0])
    others = np.delete(counts[1:], 1, axis=1)
    assert set(np.unique(others)) == {122, 123}
    assert set(np.unique(counts[1:].sum(axis=1))) == {1102, 1103}


def test_mavericks_may_be_everybody() -> None:
    labels = np.repeat(np.arange(2), 3)
    found = exclusive_mavericks(labels, 2, [1, 0], np.random.default_rng(0))
    assert [part.tolist() for part in found.parts] == [[3, 4, 5], [0, 1, 2]]


LABELS = np.repeat(np.arange(3), 4)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda rng: iid(LABELS, 13, rng), DataError,
         "13 clients cannot share 12 samples: ask for at most 12 clients"),
        (lambda rng: iid(LABELS, 0, rng), SettingsError, "n_clients = 0: give at least 1"),
        (lambda rng: dirichlet(LABELS, 13, 1.0, rng), DataError, "13 clients cannot share"),
        (lambda rng: dirichlet(LABELS, 2, 0.0, rng), SettingsError, "alpha = 0: give a number"),
        (lambda rng: dirichlet(LABELS, 2, float("nan"), rng), SettingsError, "alpha = nan"),
        (lambda rng: dirichlet(LABELS, 2, float("inf"), rng), SettingsError, "up to 1e.12"),
        (lambda rng: dirichlet(LABELS, 2, 1.0, rng, min_samples=7), SettingsError,
         "min_samples = 7: 2 clients share 12 samples, so give 1 to 6"),
        (lambda rng: dirichlet(LABELS, 2, 1.0, rng, min_samples=0), SettingsError, "samples = 0"),
        (lambda rng: shards(LABELS, 13, 1, rng), DataError, "13 clients cannot share"),
        (lambda rng: shards(LABELS, 4, 4, rng), DataError,
         "4 clients with 4 shards each need 16 samples, and there are 12"),
        (lambda rng: shards(LABELS, 4, 0, rng), SettingsError, "shards_per_client = 0"),
        (lambda rng: quantity_skew(LABELS, 13, 1.0, rng), DataError, "13 clients cannot share"),
        (lambda rng: quantity_skew(LABELS, 2, -1.0, rng), SettingsError, "alpha = -1"),
        (lambda rng: exclusive_mavericks(LABELS, 4, [3], rng), DataError,
         "Maverick class 3 has no samples: choose from 0, 1, 2"),
        (lambda rng: exclusive_mavericks(LABELS, 4, [], rng), SettingsError, "name at least one"),
        (lambda rng: exclusive_mavericks(LABELS, 4, [1, 1], rng), SettingsError, "1 is named twic"),
        (lambda rng: exclusive_mavericks(LABELS, 2, [0, 1], rng), SettingsError,
         "2 Mavericks of 2 clients leave nobody for the other classes: ask for at least 3 clients"),
        (lambda rng: exclusive_mavericks(LABELS, 12, [0, 1], rng), DataError,
         "10 clients cannot share the 4 samples that Mavericks do not hold: ask for at most 6"),
        (lambda rng: exclusive_mavericks(LABELS, 4, [0, 1, 2], rng), DataError,
         "1 clients cannot share the 0 samples"),
        (lambda rng: shared_mavericks(LABELS, 4, -1, 2, rng), DataError, "class -1 has no samp"),
        (lambda rng: shared_mavericks(LABELS, 4, 1, 0, rng), SettingsError, "n_mavericks = 0"),
        (lambda rng: shared_mavericks(LABELS, 9, 1, 5, rng), DataError,
         "5 Mavericks cannot share the 4 samples of class 1: ask for at most 4"),
        (lambda rng: shared_mavericks(LABELS, 3, 1, 4, rng), SettingsError, "4 Mavericks of 3"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(
    make: Callable[[Rng], Partition], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        make(np.random.default_rng(0))


@pytest.mark.parametrize(
    ("parts", "mavericks", "says"),
    [
        ([], (), "a partition has at least one client"),
        ([[0, 1], []], (), "client 1 holds no samples: leave it out"),
        ([[0, 1], [2, -1]], (), "client 1 holds sample -1"),
        ([[0, 1], [2, 0]], (), r"sample 0 is held twice, by \[0, 1\]"),
        ([[0, 1, 1], [2]], (), r"sample 1 is held twice, by \[0\]"),
        ([[0], [1]], (2,), "Maverick 2 is not a client: 0 to 1"),
    ],
)
def test_a_partition_checks_itself(
    parts: list[list[int]], mavericks: tuple[int, ...], says: str
) -> None:
    with pytest.raises(DataError, match=says):
        Partition(tuple(np.array(part, dtype=np.int64) for part in parts), mavericks)


def test_labels_of_another_set_are_refused() -> None:
    found = iid(LABELS, 3, np.random.default_rng(0))
    with pytest.raises(DataError, match="labels go from 0 to 2, where there are 2 classes: use 0"):
        label_counts(LABELS, found, 2)
    with pytest.raises(DataError, match="where there are 6: the partition is of another set"):
        label_counts(LABELS[:6], found, 3)
