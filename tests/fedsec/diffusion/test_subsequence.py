"""Sequences increase, stay within the teacher's steps and end where they say."""

from __future__ import annotations

import pytest
import torch

from fedsec.diffusion.subsequence import (
    SEQUENCES,
    custom,
    leading,
    linspace,
    subsequence,
    trailing,
)
from fedsec.errors import SettingsError


def test_leading_is_as_released() -> None:
    assert leading(1024, 4).tolist() == [0, 256, 512, 768]
    assert leading(1024, 100)[-1] == 990  # int(T / T') leaves the tail out


def test_trailing_ends_at_the_noisiest_step() -> None:
    assert trailing(1024, 4).tolist() == [255, 511, 767, 1023]
    assert trailing(10, 3).tolist() == [3, 6, 9]


def test_linspace_has_both_ends() -> None:
    assert linspace(10, 4).tolist() == [0, 3, 6, 9]
    assert linspace(10, 1).tolist() == [9]


@pytest.mark.parametrize("kind", SEQUENCES)
def test_every_sequence_increases_within_the_steps(kind: str) -> None:
    for steps in (1, 2, 7, 16, 100):
        for n in range(1, steps + 1):
            found = subsequence(steps, n, kind)
            assert len(found) == n and found.dtype == torch.int64
            assert torch.equal(custom(steps, found), found)
        assert torch.equal(subsequence(steps, steps, kind), torch.arange(steps))


@pytest.mark.parametrize(
    ("indices", "said"),
    [
        ([0, 5, 5], "must increase, and index 2, 5, comes after 5"),
        ([0, 7, 5], "must increase, and index 2, 5, comes after 7"),
        ([-1, 3], "index -1 is no step of the teacher: give indices of 0 to 9"),
        ([3, 10], "index 10 is no step of the teacher: give indices of 0 to 9"),
        ([], "at least one index"),
    ],
)
def test_what_is_no_sub_sequence_is_refused(indices: list[int], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        custom(10, indices)


def test_too_many_steps_and_other_names_are_refused() -> None:
    with pytest.raises(SettingsError, match="a student of 11 steps: give 1 to 10"):
        leading(10, 11)
    with pytest.raises(SettingsError, match="'odd' is not one of leading, trailing, linspace"):
        subsequence(10, 2, "odd")
