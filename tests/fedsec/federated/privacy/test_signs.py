"""One bit an entry: signs are kept, magnitudes averaged, zeros thrown."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedsec.core.record import Update
from fedsec.core.rng import torch_stream
from fedsec.federated.privacy.signs import Signs, signs


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=20), st.integers(0, 100))
def test_two_values_of_the_mean_magnitude_with_the_signs(values: list[float], seed: int) -> None:
    value = torch.tensor(values)
    found = signs(value, torch_stream(seed, "signs"))
    size = value.double().abs().mean().float()
    torch.testing.assert_close(found.abs(), size.expand_as(found), rtol=1e-6, atol=0)
    off = value != 0
    assert torch.equal(found[off].sign(), value[off].sign()) or size == 0


def test_zeros_get_either_sign_alike() -> None:
    value = torch.cat([torch.zeros(10_000), torch.ones(1)])
    up = (signs(value, torch_stream(0, "signs")) > 0)[:-1].double().mean()
    assert float(up) == pytest.approx(0.5, abs=4 * 0.5 / 100)


def test_each_tensor_has_its_own_size_and_zeros_alone_stay() -> None:
    tensors = {
        "a": torch.tensor([[3.0, -1.0]]), "b": torch.tensor([-1e-3, 2e-3, 3e-3]),
        "c": torch.zeros(2), "d": torch.empty(0),
    }  # fmt: skip
    sent = Signs()(Update("delta", tensors, round=1, client=0, n=1), torch_stream(0, "s")).tensors
    assert torch.equal(sent["a"], torch.tensor([[2.0, -2.0]]))
    assert torch.equal(sent["b"], torch.tensor([-2e-3, 2e-3, 2e-3]))
    assert torch.equal(sent["c"], torch.zeros(2)) and sent["d"].shape == (0,)
