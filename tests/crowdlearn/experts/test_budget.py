"""A budget is never exceeded, whatever is asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdlearn.errors import SettingsError
from crowdlearn.experts import Budget, DynamicBudget

AMOUNTS = st.floats(0, 1e4)


@given(AMOUNTS, st.floats(0.01, 10), AMOUNTS, st.none() | st.integers(0, 50),
       st.lists(st.integers(0, 200), max_size=30))  # fmt: skip
def test_a_budget_is_never_exceeded(
    total: float, item_cost: float, batch_cost: float, most: int | None, wishes: list[int]
) -> None:
    budget, cost = (
        Budget(total=total, item_cost=item_cost, batch_cost=batch_cost, most_a_batch=most),
        0.0,
    )
    for wish in wishes:
        n = budget.affordable(wish)
        assert 0 <= n <= wish and (most is None or n <= most)
        with pytest.raises(SettingsError, match="exceeds the budget"):
            budget.after(n + 1 if n < wish or wish == 0 and n == budget.affordable(10**9)
                         else budget.affordable(10**9) + 1)  # fmt: skip
        budget = budget.after(n)
        cost += n * item_cost + batch_cost * (n > 0)
    assert cost <= total * (1 + 1e-6)
    assert budget.left == pytest.approx(max(total - cost, 0), abs=1e-6 * (1 + total))


def test_a_budget_of_tenths_can_be_spent_in_full() -> None:
    budget = Budget(total=1.0, item_cost=0.1)
    for _ in range(10):
        budget = budget.after(1)
    assert budget.affordable(1) == 0


@given(st.integers(0, 200), st.integers(0, 30), st.lists(st.floats(0, 1e6), max_size=40))
def test_a_dynamic_budget_is_never_exceeded(total: int, base: int, losses: list[float]) -> None:
    budget, asked = DynamicBudget(total=total, base=base), 0
    for loss in losses:
        n = budget.affordable(100, loss)
        budget, asked = budget.after(n, loss), asked + n
    assert asked == budget.spent <= total


def test_a_harder_batch_gets_more_answers() -> None:
    budget = DynamicBudget(total=1000, base=10, least=2, most=25).after(10, 1.0)
    assert [budget.affordable(100, loss) for loss in (0.01, 0.5, 1.0, 2.0, 9.0)] == [
        2, 5, 10, 20, 25,
    ]  # fmt: skip
    assert budget.after(5, 3.0).mean_loss == 2.0


def test_a_loss_beside_one_near_zero_asks_for_all_that_is_left_or_for_none() -> None:
    for base, expected in ((0, 0), (1, 50)):
        budget = DynamicBudget(total=50, base=base).after(0, 5e-324)
        assert budget.affordable(100, 1.0) == expected


@pytest.mark.parametrize("settings", [
    {"total": -1.0}, {"total": 1.0, "item_cost": 0.0}, {"total": 1.0, "batch_cost": -1.0},
])  # fmt: skip
def test_impossible_budgets_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        Budget(**settings)


def test_impossible_dynamic_budgets_are_refused() -> None:
    with pytest.raises(SettingsError, match="at least 0"):
        DynamicBudget(total=-1, base=0)
    with pytest.raises(SettingsError, match="below its least"):
        DynamicBudget(total=9, base=3, least=4, most=2)
    with pytest.raises(SettingsError, match="exceeds the budget: 9 can"):
        DynamicBudget(total=9, base=3).after(10)
