"""What is left out, when training ends, what is kept, and the optimiser against its formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import Tensor, nn

from crowdlearn.aggregation import Sweep
from crowdlearn.aggregators import aggregator
from crowdlearn.errors import ConvergenceWarning
from crowdlearn.neural.batches import DeviceVotes, ItemVotes
from crowdlearn.neural.clipped_rmsprop import ClippedRmsprop
from crowdlearn.neural.guides import ConfusionGuide
from crowdlearn.neural.training import (
    Score,
    choose_left_out,
    predicted,
    some_votes,
    told_after,
    train,
)
from crowdlearn.simulate import World

CPU = torch.device("cpu")


def test_no_item_loses_its_last_vote(crowd: World) -> None:
    votes = crowd.votes
    out = choose_left_out(votes, 0.9, np.random.default_rng(0))
    left = some_votes(votes, ~out)
    assert (left.votes_per_item[votes.votes_per_item > 0] >= 1).all()
    assert 0.5 < out.mean() < 0.9
    assert some_votes(votes, out).n_votes + left.n_votes == votes.n_votes
    assert not choose_left_out(votes, 0.0, np.random.default_rng(0)).any()


class Slope(nn.Module):
    """A loss whose value is its parameter."""

    def __init__(self, value: float = 1.0) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, votes: ItemVotes) -> Tensor:
        return self.value * 1.0


def run(model: nn.Module, crowd: World, **settings: Any) -> Any:
    here = DeviceVotes.on(CPU, crowd.votes, np.full(40, -1))
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
    defaults: dict[str, Any] = {"n_epochs": 30, "batch_items": 0, "learning_rate": 1.0}
    return train(model, optimiser, here, **defaults | settings)


def test_the_best_state_is_kept_after_patience(crowd: World) -> None:
    """The score peaks in epoch 4, where the value is 1 - 4."""
    model = Slope()
    done = run(model, crowd, score=lambda: Score(-abs(model.value.item() + 3), 0.0), patience=6)
    assert (done.best_epoch, len(done.loss), done.settled) == (4, 10, True)
    assert model.value.item() == -3
    assert done.problems == ()


def test_the_epoch_taken_is_the_first_within_the_error_of_the_best(crowd: World) -> None:
    """Scores -3 -2 -1 0 -1 ...: the best is epoch 4, with an error of 0.7."""
    model = Slope()
    done = run(model, crowd, score=lambda: Score(-abs(model.value.item() + 3), 0.7), patience=3)
    assert [done.epoch_within(n) for n in (0.0, 1.0, 1.5, 3.0, 9.0)] == [4, 4, 3, 2, 1]


def test_the_score_is_the_mean_log_probability_with_its_standard_error(crowd: World) -> None:
    votes = crowd.votes
    left_out = choose_left_out(votes, 0.3, np.random.default_rng(0))
    none = np.full(votes.n_items, -1)
    rest, out = (DeviceVotes.on(CPU, some_votes(votes, x), none) for x in (~left_out, left_out))
    guide = ConfusionGuide.start(votes, np.full((40, 3), 1 / 3))
    belief = torch.tensor([0.5, 0.3, 0.2]).log()
    found = predicted(lambda b: belief.expand(b.n_items, 3), guide.log_vote, rest, out)
    confusion = guide.confusion().detach().numpy()
    worker, label = votes.worker[left_out], votes.label[left_out]
    each = np.log((confusion[worker, :, label] * [0.5, 0.3, 0.2]).sum(1))
    assert_allclose(found, (each.mean(), each.std() / np.sqrt(len(each))), rtol=1e-5)


def test_short_of_epochs_it_warns(crowd: World) -> None:
    model = Slope()
    done = run(model, crowd, score=lambda: Score(-model.value.item(), 0.0), n_epochs=5)
    assert not done.settled and "raise n_epochs" in done.problems[0]


class Breaks(Slope):
    """Its loss is no number once the value is below -2.5: after two steps of -2."""

    def forward(self, votes: ItemVotes) -> Tensor:
        return torch.where(self.value > -2.5, 2.0, torch.nan) * self.value


def test_a_loss_that_is_no_number_keeps_the_last_good_state(crowd: World) -> None:
    model = Breaks(1.0)
    done = run(model, crowd)
    assert "loss was nan in epoch 3 at learning_rate=1" in done.problems[0]
    assert model.value.item() == -1  # of epoch 2, whose loss was a number
    assert len(done.loss) == 2 and not done.settled


class BreakingGuide(ConfusionGuide):
    """Gives up in the course of its 60th batch."""

    n_calls = 0

    def log_vote(self, votes: ItemVotes) -> Tensor:
        self.n_calls += 1
        return super().log_vote(votes) * (1.0 if self.n_calls < 60 else torch.nan)


def test_a_loss_that_is_no_number_warns_through_the_method(crowd: World) -> None:
    with pytest.warns(
        ConvergenceWarning, match=r"loss was nan in epoch \d+ at learning_rate=0.001"
    ):
        fit = aggregator("consensus", guide=BreakingGuide.start).fit(crowd.votes)
    assert np.isfinite(fit.posterior).all() and not fit.history.converged
    assert (fit.labels == crowd.truth).mean() > 0.7


def test_stopped_it_answers_with_the_best_state(crowd: World) -> None:
    seen: list[Sweep] = []

    def watch(sweep: Sweep) -> bool:
        seen.append(sweep)
        return sweep.number == 8

    fit = aggregator("consensus", n_epochs=50).fit(crowd.votes, on_sweep=watch)
    assert fit.history.stopped and len(seen) == fit.history.n_sweeps == 8
    assert fit.history.held_out is not None and len(fit.history.held_out) == 8
    assert [s.of for s in seen] == [50] * 8


def test_the_second_training_is_told_and_can_be_stopped(crowd: World) -> None:
    seen: list[Sweep] = []
    whole = aggregator("consensus", patience=3).fit(crowd.votes, on_sweep=seen.append)
    first = whole.history.n_sweeps
    assert whole.history.converged and len(seen) == seen[-1].number == seen[-1].of > first
    stopped = aggregator("consensus", patience=3).fit(
        crowd.votes, on_sweep=lambda sweep: sweep.number == first + 1
    )
    assert stopped.history.stopped and stopped.history.n_sweeps == first
    assert np.isfinite(stopped.posterior).all()
    assert told_after(None, 1, 2) is None


QUICK = {name: {"n_epochs": 30, "left_out": 0.0} for name in ("consensus", "consensus-onecoin")}


@pytest.mark.parametrize("name", ["consensus", "consensus-onecoin", "bila", "laa"])
def test_a_seed_gives_the_same_bits(crowd: World, name: str) -> None:
    first, second = (
        aggregator(name, **QUICK.get(name, {}), seed=5).fit(crowd.votes) for _ in range(2)
    )
    assert_array_equal(first.posterior, second.posterior)
    assert_array_equal(first.history.bound, second.history.bound)


def test_the_optimiser_is_its_formula() -> None:
    """Two steps by hand; rows without a gradient stay."""
    table = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    dense, sparse = (nn.Parameter(table.clone()) for _ in range(2))
    steps = ((5.0, -0.5), (0.25, 0.1))
    value, ms = np.array([1.0, 2.0]), np.ones(2)
    optimisers = [ClippedRmsprop([p], 0.1) for p in (dense, sparse)]
    for step in steps:
        g = np.clip(step, -1, 1)
        ms = 0.9 * ms + 0.1 * g**2
        value = value - 0.1 * g / np.sqrt(ms + 1e-10)
        dense.grad = torch.tensor([step, (0.0, 0.0)])
        halves = torch.tensor([step, step]) / 2  # a row named twice adds up
        at = torch.tensor([[0, 0]])
        sparse.grad = torch.sparse_coo_tensor(at, halves, (2, 2), check_invariants=True)
        for optimiser in optimisers:
            optimiser.step()
    for parameter in (dense, sparse):
        assert_allclose(parameter.detach().numpy()[0], value, rtol=1e-6)
        assert_allclose(parameter.detach().numpy()[1], [3.0, 4.0])
