"""Plans cover every sample once an epoch, and learning rates fall when they should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsec.errors import SettingsError
from fedsec.federated.local import (
    ClientSteps,
    FullGradient,
    GlobalSteps,
    LocalTraining,
    Plan,
    constant,
)


@given(st.integers(1, 40), st.integers(1, 15), st.integers(1, 3))
def test_each_epoch_visits_each_sample_once(n: int, batch: int, epochs: int) -> None:
    part = np.arange(100, 100 + n)
    made = Plan(
        LocalTraining(epochs=epochs, batch=batch), part, seed=0, number=1, client=0, times=0
    )
    assert made.batches.shape == (epochs * -(-n // min(batch, n)), min(batch, n))
    for epoch in range(epochs):
        rows = made.batches[epoch * made.first : (epoch + 1) * made.first]
        np.testing.assert_array_equal(np.sort(rows[rows >= 0]), part)
        assert ((rows >= 0).sum(axis=1) > 0).all()


def test_the_order_depends_on_round_client_and_seed_alone() -> None:
    part, local = np.arange(50), LocalTraining(batch=5)
    base = {"seed": 0, "number": 1, "client": 2, "times": 0}
    one = Plan(local, part, **base).batches
    np.testing.assert_array_equal(one, Plan(local, part, **base | {"times": 7}).batches)
    for change in ({"seed": 1}, {"number": 2}, {"client": 3}):
        assert (Plan(local, part, **base | change).batches != one).any()


def test_a_gradient_takes_all_samples_at_once() -> None:
    made = Plan(FullGradient(), np.arange(7), seed=0, number=1, client=0, times=0)
    np.testing.assert_array_equal(made.batches, np.arange(7)[None])


def test_schedules() -> None:
    assert constant(99, 99) == 1.0
    by_round, by_client = GlobalSteps(10, 0.1), ClientSteps(10, 0.1)
    assert [by_round(number, 0) for number in (1, 10, 11)] == [1.0, 1.0, 0.1]
    assert [by_client(500, times) for times in (0, 9, 10)] == [1.0, 1.0, 0.1]
    local = LocalTraining(lr=0.5, schedule=by_client)
    made = Plan(local, np.arange(3), seed=0, number=4, client=0, times=20)
    assert made.lr == pytest.approx(0.005)


@pytest.mark.parametrize(
    "bad",
    [{"epochs": 0}, {"batch": 0}, {"lr": 0.0}, {"lr": float("nan")}, {"momentum": -0.1},
     {"prox": -1.0}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=next(iter(bad))):
        LocalTraining(**bad)
