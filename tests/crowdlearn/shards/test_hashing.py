import numpy as np
import pyarrow as pa

from crowdlearn.shards.hashing import buckets, hashes


def test_hash_is_fnv_1a_with_the_finaliser_of_splitmix64():
    def by_hand(text, salt):
        h = 0xCBF29CE484222325 ^ (salt * 0x9E3779B97F4A7C15 % 2**64)
        for byte in text.encode():
            h = (h ^ byte) * 0x100000001B3 % 2**64
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            h = (h ^ (h >> shift)) * factor % 2**64
        return h ^ (h >> 31)

    names = ["", "a", "item 17", "größe", "x" * 300]
    for salt in (0, 1, 2):
        assert hashes(pa.array(names), salt).tolist() == [by_hand(name, salt) for name in names]


def test_a_slice_and_integers_hash_as_their_text():
    names = pa.array(["a", "b", "c", "d"])
    assert np.array_equal(hashes(names.slice(1, 2)), hashes(names)[1:3])
    assert np.array_equal(hashes(pa.array([3, -14])), hashes(pa.array(["3", "-14"])))


def test_buckets_are_equal_ranges_of_hashes():
    own = np.sort(hashes(pa.array([str(k) for k in range(20_000)])))
    for n in (1, 3, 16):
        place = buckets(own, n)
        assert (np.diff(place) >= 0).all() and place.min() == 0 and place.max() == n - 1
        expected = 20_000 / n
        assert abs(np.bincount(place) - expected).max() < 5 * np.sqrt(expected)
