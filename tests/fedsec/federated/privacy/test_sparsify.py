"""Top-k keeps exactly so many entries, the largest ones, the first of equals."""

from decimal import ROUND_CEILING, Decimal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedsec.core.functional import flatten
from fedsec.core.record import Update
from fedsec.core.rng import torch_stream
from fedsec.errors import SettingsError
from fedsec.federated.privacy.sparsify import TopK, largest

UNUSED = torch_stream(0, "unused")
MAGNITUDES = st.lists(st.integers(0, 4), min_size=1, max_size=30)  # small: many are equal


@given(MAGNITUDES, st.data())
def test_exactly_k_are_kept_by_size_and_then_by_place(values, data):
    k = data.draw(st.integers(1, len(values)))
    kept = largest(torch.tensor(values, dtype=torch.float32), k).nonzero().squeeze(1).tolist()
    by_size = sorted(range(len(values)), key=lambda i: (-values[i], i))
    assert kept == sorted(by_size[:k])


@given(st.integers(1, 200), st.integers(1, 100))
def test_the_share_is_rounded_up(n, percent):
    update = Update("delta", {"a": torch.arange(1.0, n + 1)}, round=1, client=0, n=1)
    sent = TopK(share=percent / 100)(update, UNUSED)
    expected = (Decimal(percent) * n / 100).to_integral_value(ROUND_CEILING)
    assert int((sent.tensors["a"] != 0).sum()) == expected


def test_the_ranking_is_over_all_tensors_and_values_are_kept_bit_for_bit():
    tensors = {"a": torch.tensor([[0.1, -9.0], [0.2, 0.3]]), "b": torch.tensor([5.0, -0.4])}
    sent = TopK(share=0.5)(Update("delta", tensors, round=1, client=0, n=1), UNUSED)
    expected = torch.tensor([0.0, -9.0, 0.0, 0.0, 5.0, -0.4])
    assert torch.equal(flatten(sent.tensors), expected)


def test_a_share_of_one_keeps_all():
    update = Update("delta", {"a": torch.tensor([0.0, -1.0, 1.0])}, round=1, client=0, n=1)
    assert torch.equal(TopK(share=1.0)(update, UNUSED).tensors["a"], update.tensors["a"])


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, float("nan")])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(SettingsError, match="share"):
        TopK(share=share)
