"""What is shown of speed and time left, from clocks and changes that are known."""

import io

import pytest
from rich.console import Console

from crowdlearn.aggregation import Sweep
from crowdlearn.cli import progress
from crowdlearn.cli.progress import Pace, amount, clock_time, coding_bar, fit_bar, pace_of_step
from crowdlearn.shards.coding import Step


def said(changes, of=1000, tolerance=1e-6, seconds=2.0):
    """The pace after the last of these changes, a sweep of 1,000 votes every two seconds."""
    ticks = iter(range(len(changes)))
    pace = Pace(1000, tolerance, clock=lambda: seconds * next(ticks))
    words = [pace.after(Sweep(k + 1, of, c, 0.0)) for k, c in enumerate(changes)]
    assert words[:3] == [""] * 3
    return words[-1]


def test_votes_a_second_and_the_time_to_the_tolerance_at_a_geometric_fall():
    changes = [10.0**-k for k in range(5)]  # 1e-4 now: two more sweeps of two seconds
    assert said(changes) == "500 votes/s  about 0:04 left"
    assert said([2.0**-k for k in range(40)], tolerance=2.0**-69) == "500 votes/s  about 1:00 left"


def test_what_is_left_at_most_where_the_change_does_not_fall_or_not_in_time():
    assert said([0.1] * 8, of=38) == "500 votes/s  at most 1:00 left"
    assert said([0.1 * 0.999**k for k in range(8)], of=38) == "500 votes/s  at most 1:00 left"
    assert said([10.0**-k for k in range(5)], of=105, tolerance=None).endswith("at most 3:20 left")


def test_a_sampler_makes_all_its_sweeps():
    assert said([float("nan")] * 6, of=36) == "500 votes/s  1:00 left"


def test_the_pace_of_a_pass_is_by_the_share_that_is_done():
    assert pace_of_step(Step("survey", 0, 12, 0, 0.0), 0.1) == "0/12 files"
    half = Step("survey", 3, 12, 6_000_000, 0.25)
    assert pace_of_step(half, 20.0) == "3/12 files  300 k rows/s  about 1:00 left"
    assert pace_of_step(Step("gather", 16, 16, 80, 1.0), 4.0) == "16/16 buckets  20 rows/s"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.5, "0.5"), (999, "999"), (1000, "1 k"), (12_345, "12.3 k"), (4.56e6, "4.56 M"),
     (2.5e9, "2.5 G"), (999_600, "1 M")],
)  # fmt: skip
def test_amounts(number, text):
    assert amount(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (7, "0:07"), (750, "12:30"), (10_930, "3:02:10")]
)
def test_times(seconds, text):
    assert clock_time(seconds) == text


def test_bars_show_it_and_nothing_is_shown_to_nobody(monkeypatch):
    out = io.StringIO()
    true = progress._progress

    def shown():
        bar = true()
        bar.live.console = Console(file=out, force_terminal=True, width=150)
        return bar

    monkeypatch.setattr(progress, "_progress", shown)
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    with coding_bar(True) as tell:
        tell(Step("scatter", 1, 2, 1000, 0.5))
    with fit_bar(True, 1000) as show:
        for k in range(1, 6):
            show(Sweep(k, 90, 0.1, 0.0))
    text = out.getvalue()
    assert "scatter" in text and "1/2 files" in text and "rows/s" in text
    assert "sweep 5 of at most 90" in text and "votes/s" in text and "at most" in text
    with coding_bar(False) as tell, fit_bar(False, 1) as show:
        assert tell is None and show(None) is None
