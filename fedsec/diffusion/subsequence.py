"""Which of a teacher's steps a student takes: increasing indices within 0..T-1.

Story       a student of n steps is given n of the teacher's T noise levels as its own. Any
            increasing choice will do; where it ends decides what the first step starts from.
Choices     `leading` 0, c, 2c, ... with c = T // n, as SFDDM's authors released it. Its last index
            is T - c or less, where a little of the image is left, yet sampling starts from pure
            noise. `trailing` ends at T - 1, where nothing is left; its first step sees next to no
            signal and is nearly wasted. `linspace` has both ends.
Trap        a student on one sequence and a teacher on another are not to be compared.
Paper       Hong et al., "SFDDM" (2024), arXiv 2405.14961: any increasing index set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from fedsec.errors import SettingsError

Indices = Int[Tensor, " step"]


def leading(steps: int, n: int) -> Indices:
    """0, c, 2c, ..., (n-1)c with c = steps // n. Where n does not divide, the tail is left out."""
    _check(steps, n)
    return torch.arange(n) * (steps // n)


def trailing(steps: int, n: int) -> Indices:
    """..., T-1-2c, T-1-c, T-1 with c = steps // n: the same spacing, aligned at the noisy end."""
    _check(steps, n)
    return steps - 1 - torch.arange(n).flip(0) * (steps // n)


def linspace(steps: int, n: int) -> Indices:
    """n indices from 0 to T-1, both among them, as even as whole numbers can be; T-1 for n = 1."""
    _check(steps, n)
    if n == 1:
        return torch.tensor([steps - 1])
    return torch.arange(n) * (steps - 1) // (n - 1)


def custom(steps: int, indices: Sequence[int] | Indices) -> Indices:
    """The given indices, checked.

    Raises SettingsError where there are none, they do not increase, or leave 0..steps-1.
    """
    found = torch.as_tensor(indices, dtype=torch.int64, device="cpu").clone()
    if found.ndim != 1 or not len(found):
        raise SettingsError("a sub-sequence needs at least one index, and one row of them")
    for place, (before, after) in enumerate(zip(found[:-1], found[1:], strict=True)):
        if after <= before:
            raise SettingsError(
                f"indices must increase, and index {place + 1}, {int(after)}, comes after"
                f" {int(before)}: sort them, each once"
            )
    if found[0] < 0 or found[-1] >= steps:
        wrong = found[0] if found[0] < 0 else found[-1]
        raise SettingsError(
            f"index {int(wrong)} is no step of the teacher: give indices of 0 to {steps - 1}"
        )
    return found


SEQUENCES: dict[str, Callable[[int, int], Indices]] = {
    "leading": leading,
    "trailing": trailing,
    "linspace": linspace,
}
"""Name -> (teacher's steps, student's steps) -> indices."""


def subsequence(steps: int, n: int, kind: str = "leading") -> Indices:
    """The sequence of this name. Raises SettingsError for another, or n outside 1..steps."""
    if kind not in SEQUENCES:
        raise SettingsError(f"sequence {kind!r} is not one of {', '.join(SEQUENCES)}")
    return SEQUENCES[kind](steps, n)


def _check(steps: int, n: int) -> None:
    if not 1 <= n <= steps:
        raise SettingsError(f"a student of {n} steps: give 1 to {steps}, the teacher's")
