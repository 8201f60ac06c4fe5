"""Clipping never exceeds the norm, is idempotent, and leaves short updates bit-equal."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedsec.core.record import Update
from fedsec.core.rng import torch_stream
from fedsec.errors import SettingsError
from fedsec.federated.privacy.clip import Clip, total_norm

UNUSED = torch_stream(0, "unused")
DTYPES = [np.float16, np.float32, np.float64]
NORMS = st.floats(1e-3, 1e3)


@st.composite
def updates(draw) -> Update:
    """One or two tensors of one precision or two, entries up to 1000."""
    tensors = {}
    for name in draw(st.sampled_from([["a"], ["a", "b"]])):
        dtype = draw(st.sampled_from(DTYPES))
        values = st.floats(-1000, 1000, width=np.dtype(dtype).itemsize * 8)
        tensors[name] = torch.from_numpy(draw(arrays(dtype, st.integers(1, 6), elements=values)))
    return Update("delta", tensors, round=1, client=0, n=1)


@given(updates(), NORMS)
def test_the_norm_is_never_exceeded(update, norm):
    assert total_norm(Clip(norm=norm)(update, UNUSED).tensors) <= norm


@given(updates(), NORMS)
def test_twice_is_once_bit_for_bit(update, norm):
    once = Clip(norm=norm)(update, UNUSED)
    twice = Clip(norm=norm)(once, UNUSED)
    assert all(torch.equal(once.tensors[name], twice.tensors[name]) for name in once.tensors)


@given(updates())
def test_a_short_update_comes_back_bit_for_bit(update):
    sent = Clip(norm=1e4)(update, UNUSED)
    assert all(torch.equal(sent.tensors[name], value) for name, value in update.tensors.items())


def test_a_long_update_keeps_its_direction_and_gets_the_norm():
    tensors = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([[-4.0]])}  # of norm 5
    sent = Clip(norm=1.0)(Update("delta", tensors, round=1, client=0, n=1), UNUSED)
    torch.testing.assert_close(sent.tensors["a"], torch.tensor([0.6, 0.0]))
    torch.testing.assert_close(sent.tensors["b"], torch.tensor([[-0.8]]))


@pytest.mark.parametrize("norm", [0.0, -1.0, float("nan"), float("inf")])
def test_a_norm_that_is_not_positive_is_refused(norm):
    with pytest.raises(SettingsError, match="not a positive number"):
        Clip(norm=norm)
