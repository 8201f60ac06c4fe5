"""Small networks are attacked on one thread, and what was set before comes back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fedsec.cli.threads import SMALL, few_threads


@pytest.mark.parametrize(
    ("width", "set_by_hand", "expected"), [(1, False, 1), (SMALL, False, 2), (1, True, 2)]
)
def test_threads(
    width: int, set_by_hand: bool, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if set_by_hand:
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with few_threads(nn.Linear(1, width)):
            assert torch.get_num_threads() == expected
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
