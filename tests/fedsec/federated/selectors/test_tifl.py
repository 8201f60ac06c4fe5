"""TiFL: tiers of accuracy, worked out by hand on six clients."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fedsec.errors import SettingsError
from fedsec.federated.rounds import Probe, Round, View
from fedsec.federated.selectors import Tifl
from fedsec.federated.selectors.tifl import profiles, tier_of
from tests.fedsec.federated.selectors.histories import played, probes, viewed

ACCURACY = [0.9, 0.1, 0.5, 0.2, 0.8, 0.4]  # tiers of two: {1, 3}, {5, 2}, {4, 0}
COUNTS = np.ones((6, 1), np.int64)
THREE = Tifl(n_tiers=3, interval=4, credits=2)


def odds(view: View) -> np.ndarray:
    return THREE.tier_probabilities(view, profiles(view))


def test_tiers_are_of_like_accuracy_and_equal_size() -> None:
    assert_array_equal(tier_of(np.array(ACCURACY), 3), [2, 0, 1, 0, 2, 1])
    assert_array_equal(tier_of(np.zeros(5), 2), [0, 0, 0, 1, 1])
    assert_array_equal(tier_of(np.array([0.3, 0.1]), 5), [1, 0])


def test_a_round_stays_in_one_tier() -> None:
    view, drawn = viewed(COUNTS, 2, accuracy=ACCURACY), set()
    for seed in range(40):
        drawn.add(tuple(sorted(THREE(view, np.random.default_rng(seed)).tolist())))
    assert drawn == {(1, 3), (2, 5), (0, 4)}


def test_a_small_tier_is_filled_up_from_its_neighbours_lower_ones_first() -> None:
    view = viewed(COUNTS, 3, accuracy=ACCURACY)
    for seed in range(40):
        chosen = THREE(view, np.random.default_rng(seed)).tolist()
        tier = tier_of(np.array(ACCURACY), 3)[chosen]
        assert tier.tolist() in ([0, 0, 1], [1, 1, 0], [2, 2, 1])


def test_all_clients_are_probed_when_a_profile_is_due_and_only_then() -> None:
    asked: list[int] = []

    def probe(ids: np.ndarray) -> list[Probe]:
        asked.append(len(ids))
        return [Probe(1.0, ACCURACY[i]) for i in ids]

    rounds: list[Round] = []
    for number in range(1, 10):
        view = View(number=number, per_round=2, counts=COUNTS, rounds=tuple(rounds), probe=probe)
        before = len(asked)
        chosen = THREE(view, np.random.default_rng(number)).tolist()
        found = probes(ACCURACY) if len(asked) > before else {}
        rounds.append(played(number, chosen, probed=found))
    assert asked == [6, 6, 6]
    assert [number for number, _ in profiles(view)] == [1, 5]


def test_all_tiers_are_as_likely_until_the_one_in_use_stops_improving() -> None:
    """Rounds 1 to 4 end in tier 0, clients 1 and 3; other tiers do not matter."""
    first = [played(1, [0, 4], probed=probes(ACCURACY))]
    first += [played(number, [3, 1]) for number in (2, 3, 4)]
    worse, better = [0.0, 0.1, 0.0, 0.2, 0.0, 0.0], [0.0, 0.15, 0.0, 0.2, 0.0, 0.0]
    for accuracy, expected in ((better, [1 / 3] * 3), (worse, [3 / 6, 2 / 6, 1 / 6])):
        rounds = [*first, played(5, [4, 0], probed=probes(accuracy))]
        assert_allclose(odds(viewed(COUNTS, 2, rounds)), expected)
    once_worse = [*first, played(5, [4, 0], probed=probes(worse))]
    once_worse += [played(9, [4, 0], probed=probes([1.0] * 6))]
    assert_allclose(odds(viewed(COUNTS, 2, once_worse)), [3 / 6, 2 / 6, 1 / 6])


def test_a_tier_without_credits_is_closed_until_the_next_profile() -> None:
    rounds = [played(1, [3, 1], probed=probes(ACCURACY)), played(2, [1, 3])]
    assert_allclose(odds(viewed(COUNTS, 2, rounds)), [0, 1 / 2, 1 / 2])
    rounds += [played(3, [2, 5]), played(4, [0, 4])]
    assert_allclose(odds(viewed(COUNTS, 2, rounds)), [0, 1 / 2, 1 / 2])
    rounds += [played(5, [0, 4], probed=probes([1.0] * 6))]
    assert_allclose(odds(viewed(COUNTS, 2, rounds)), [1 / 3] * 3)


def test_where_every_credit_is_spent_no_tier_is_closed() -> None:
    rounds = [played(1, [3, 1], probed=probes(ACCURACY))]
    rounds += [played(n, [c]) for n, c in enumerate([1, 2, 2, 4, 4], start=2)]
    assert_allclose(odds(viewed(COUNTS, 2, rounds)), [1 / 3] * 3)


def test_a_profile_that_is_due_needs_a_probe() -> None:
    early = [played(1, [3, 1], probed=probes(ACCURACY))]
    THREE(viewed(COUNTS, 2, early), np.random.default_rng(0))
    with pytest.raises(SettingsError, match="round 5: this selector probes clients"):
        THREE(viewed(COUNTS, 2, early, number=5), np.random.default_rng(0))
