from __future__ import annotations

from numpy.testing import assert_array_equal

from crowdlearn.inference.sweeping import sweep_until_still


def halve(x: float) -> tuple[float, float, float]:
    return x / 2, -x, x / 2


def test_it_ends_when_nothing_moves_any_more() -> None:
    x, history = sweep_until_still(
        halve, 1.0, max_sweeps=100, tolerance=0.1, bound_name="b", on_sweep=None
    )
    assert x == 1 / 16
    assert_array_equal(history.change, [1 / 2, 1 / 4, 1 / 8, 1 / 16])
    assert_array_equal(history.bound, [-1, -1 / 2, -1 / 4, -1 / 8])
    assert history.converged and not history.stopped


def test_it_ends_after_max_sweeps_and_when_told() -> None:
    _, history = sweep_until_still(
        halve, 1.0, max_sweeps=2, tolerance=0.0, bound_name="b", on_sweep=lambda sweep: None
    )
    assert history.n_sweeps == 2 and not history.converged and not history.stopped
    _, history = sweep_until_still(
        halve, 1.0, max_sweeps=9, tolerance=0.0, bound_name="b", on_sweep=lambda s: s.number == 4
    )
    assert history.n_sweeps == 4 and history.stopped
