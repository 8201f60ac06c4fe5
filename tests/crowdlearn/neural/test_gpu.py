"""Training on a GPU: votes stay there, answers are those of the CPU."""

from __future__ import annotations

import pytest
import torch
from numpy.testing import assert_allclose

from crowdlearn.aggregators import aggregator
from crowdlearn.errors import SettingsError
from crowdlearn.simulate import World

NONE = not torch.cuda.is_available()
SHORT = {
    "consensus": {"n_epochs": 20, "left_out": 0.0},
    "consensus-onecoin": {"n_epochs": 20, "left_out": 0.0},
    "bila": {"n_epochs": 10},
    "laa": {"n_epochs": 20, "n_pretrain_epochs": 10},
}


@pytest.mark.gpu
@pytest.mark.skipif(NONE, reason="torch sees no GPU")
@pytest.mark.parametrize("encoding", ["bag", "one-hot"])
@pytest.mark.parametrize("name", SHORT)
def test_the_answer_is_that_of_the_cpu(crowd: World, name: str, encoding: str) -> None:
    """Sums run in another order there, so single precision is all that can agree."""
    settings = SHORT[name] | ({"encoding": encoding} if "consensus" in name else {})
    here, there = (aggregator(name, device=d, **settings).fit(crowd.votes) for d in ("cpu", "gpu"))
    assert_allclose(there.posterior, here.posterior, atol=1e-3)
    assert_allclose(there.confusion, here.confusion, atol=1e-3)
    assert_allclose(there.predict_proba(crowd.votes), there.posterior, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(NONE, reason="torch sees no GPU")
def test_early_stopping_on_the_gpu(crowd: World) -> None:
    fit = aggregator("consensus", device="gpu", patience=3).fit(crowd.votes)
    assert fit.history.converged and (fit.labels == crowd.truth).mean() > 0.8


@pytest.mark.skipif(not NONE, reason="torch sees a GPU")
@pytest.mark.parametrize("name", SHORT)
def test_without_a_gpu_it_says_so(crowd: World, name: str) -> None:
    with pytest.raises(SettingsError, match="torch sees no GPU: take device='cpu'"):
        aggregator(name, device="gpu").fit(crowd.votes)
