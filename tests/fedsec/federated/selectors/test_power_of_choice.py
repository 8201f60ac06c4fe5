"""Power of choice."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fedsec.errors import SettingsError
from fedsec.federated.rounds import Probe, View
from fedsec.federated.selectors import PowerOfChoice
from tests.fedsec.federated.selectors.histories import viewed

LOSS = [0.3, 0.9, 0.1, 0.8, 0.5, 0.7]


def test_of_all_clients_the_highest_losses_are_chosen() -> None:
    view = viewed(np.ones((6, 1), np.int64), 3, loss=LOSS)
    for method in (PowerOfChoice(n_candidates=6), PowerOfChoice()):
        assert_array_equal(method(view, np.random.default_rng(0)), [1, 3, 5])


def recorded(view: View) -> tuple[View, list[list[int]]]:
    """The view, and what it has been asked to probe."""
    asked: list[list[int]] = []

    def probe(ids: np.ndarray) -> list[Probe]:
        asked.append(ids.tolist())
        return [Probe(LOSS[i], 0.0) for i in ids]

    return View(number=1, per_round=view.per_round, counts=view.counts, probe=probe), asked


def test_only_candidates_are_probed_and_they_are_drawn_by_size() -> None:
    """One candidate of one place: client i with probability n_i / n."""
    sizes = np.array([[1], [2], [3], [4], [5], [5]])
    view, asked = recorded(viewed(sizes, 1))
    rng, n = np.random.default_rng(0), 2000
    chosen = [PowerOfChoice(n_candidates=1)(view, rng).tolist() for _ in range(n)]
    assert chosen == asked
    expected = sizes[:, 0] / 20
    found = np.bincount(np.ravel(chosen)) / n
    assert (np.abs(found - expected) <= 3.5 * np.sqrt(expected * (1 - expected) / n)).all()


def test_the_highest_losses_of_the_candidates_are_chosen() -> None:
    view, asked = recorded(viewed(np.ones((6, 1), np.int64), 2))
    for seed in range(20):
        chosen = PowerOfChoice(n_candidates=4)(view, np.random.default_rng(seed))
        assert chosen.tolist() == sorted(asked[-1], key=lambda i: -LOSS[i])[:2]
        assert len(set(asked[-1])) == 4


def test_by_default_four_times_as_many_are_probed_as_chosen() -> None:
    view, asked = recorded(viewed(np.ones((6, 1), np.int64), 1))
    PowerOfChoice()(view, np.random.default_rng(0))
    assert len(asked[0]) == 4


@pytest.mark.parametrize("n", [2, 7])
def test_candidates_must_be_enough_and_exist(n: int) -> None:
    view = viewed(np.ones((6, 1), np.int64), 3, loss=LOSS)
    with pytest.raises(SettingsError, match=f"n_candidates is {n}: .* take 3 to 6"):
        PowerOfChoice(n_candidates=n)(view, np.random.default_rng(0))
