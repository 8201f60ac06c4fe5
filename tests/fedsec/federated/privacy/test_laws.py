"""Laws are what they say, at a standard deviation of one."""

from math import sqrt

import pytest
import torch
from scipy.stats import kstest

from fedsec.core.rng import torch_stream
from fedsec.federated.privacy.laws import Law, gaussian, laplace, with_noise

LAWS = pytest.mark.parametrize("law", [gaussian, laplace], ids=["gaussian", "laplace"])


@pytest.mark.parametrize(
    ("law", "name", "scale"),
    [(gaussian, "norm", 1.0), (laplace, "laplace", 1 / sqrt(2))],
    ids=["gaussian", "laplace"],
)
def test_draws_follow_the_law(law: Law, name: str, scale: float) -> None:
    drawn = law(torch.empty(100, 150), torch_stream(0, "law"))
    assert kstest(drawn.flatten().numpy(), name, args=(0, scale)).pvalue > 0.01
    assert float(drawn.std()) == pytest.approx(1, rel=0.03)


@LAWS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_are_like_the_tensor_and_by_the_stream(law: Law, dtype: torch.dtype) -> None:
    like = torch.full((3, 4), 7.0, dtype=dtype)
    first, again, other = (law(like, torch_stream(seed, "law")) for seed in (0, 0, 1))
    assert (first.shape, first.dtype) == (like.shape, dtype)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert (like == 7).all()


@LAWS
def test_noise_is_a_multiple_of_the_draws_in_turn(law: Law) -> None:
    tensors = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4)}
    stream = torch_stream(0, "law")
    expected = {name: value + 0.5 * law(value, stream) for name, value in tensors.items()}
    found = with_noise(tensors, 0.5, law, torch_stream(0, "law"))
    assert all(torch.equal(found[name], expected[name]) for name in tensors)
    assert with_noise(tensors, 0.0, law, torch_stream(0, "law")) is tensors
