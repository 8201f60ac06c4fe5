"""Quantisation is unbiased, moves an entry by less than a step, and uses the levels it has."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedsec.core.record import Update
from fedsec.core.rng import torch_stream
from fedsec.errors import SettingsError
from fedsec.federated.privacy.quantise import Quantise, quantised

VALUES = arrays(np.float32, st.integers(1, 20), elements=st.floats(-(2.0**100), 2.0**100, width=32))


@given(VALUES, st.integers(2, 16), st.integers(0, 1000))
def test_an_entry_moves_to_a_level_next_to_it(values, bits, seed):
    n_positive = 2 ** (bits - 1) - 1
    value = torch.from_numpy(values)
    found = quantised(value, n_positive, torch_stream(seed, "quantise")).double()
    largest = float(value.abs().max())
    step = largest / n_positive
    assert (found.abs() <= largest).all()
    assert ((found - value.double()).abs() <= step + 1e-7 * largest).all()
    if largest > 0:
        levels = found / largest * n_positive
        torch.testing.assert_close(levels, levels.round(), rtol=1e-6, atol=1e-9)


def test_it_is_unbiased():
    value = torch.tensor([1.0, -0.77, 0.5, 0.123, -1e-3, 0.0])
    n = 20_000
    many = quantised(value.repeat(n, 1), 3, torch_stream(1, "quantise")).double()
    deviation = (1 / 3) / 2 / n**0.5  # of the mean, at most: a step is 1/3
    assert ((many.mean(dim=0) - value.double()).abs() < 4 * deviation).all()


def test_levels_and_zero_stay():
    value = torch.tensor([-3.0, -1.0, 0.0, 2.0, 3.0])
    assert torch.equal(quantised(value, 3, torch_stream(0, "quantise")), value)
    assert torch.equal(quantised(torch.zeros(4), 3, torch_stream(0, "quantise")), torch.zeros(4))


def test_each_tensor_has_a_grid_of_its_own():
    tensors = {"small": torch.linspace(-1e-3, 1e-3, 100), "large": torch.linspace(-1e3, 1e3, 100)}
    update = Update("delta", tensors, round=1, client=0, n=1)
    sent = Quantise(bits=4)(update, torch_stream(0, "quantise"))
    assert {len(value.unique()) for value in sent.tensors.values()} == {15}


@pytest.mark.parametrize("bits", [0, 1, 17])
def test_bits_out_of_range_are_refused(bits):
    with pytest.raises(SettingsError, match="between 2 and 16"):
        Quantise(bits=bits)
