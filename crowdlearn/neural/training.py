"""Epochs of mini-batches, stopped by votes that training has not seen.

A tenth of the votes is kept out (never an item's only vote). After every epoch each of them is
predicted from what the model believes of its item by the item's other votes:
    score = mean over votes left out of  ln sum over k of  p(k | other votes) p(label | k, worker)
Training ends when the score has not risen for `patience` epochs. The epoch to take is the first
whose score lies within so many standard errors of the best: the score is a mean over few votes,
and of states that it cannot tell apart the least trained is the least over-confident (the one
standard error rule of Breiman, Friedman, Olshen and Stone, 1984). No truth enters. With nothing
kept out, training takes all its epochs.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from crowdlearn.aggregation import History, OnSweep, Sweep
from crowdlearn.neural.batches import DeviceVotes, ItemVotes
from crowdlearn.votes import Votes

LEAST_GAIN = 1e-4  # nats a vote; a smaller rise of the score counts as none


class Score(NamedTuple):
    """Mean log probability of the votes left out, with its standard error; nats a vote."""

    mean: float
    error: float


@dataclass(eq=False)
class Training:
    """How a training went, and the state to take from it."""

    loss: list[float] = field(default_factory=list)  # nats an item, one an epoch
    score: list[float] = field(default_factory=list)  # of the votes left out; empty without any
    best_epoch: int = 0  # counts from 1
    best: Score = Score(-math.inf, 0.0)
    stopped: bool = False
    settled: bool = False
    problems: tuple[str, ...] = ()

    def epoch_within(self, n_errors: float) -> int:
        """The first epoch whose score is within so many standard errors of the best."""
        enough = self.best.mean - n_errors * self.best.error
        return 1 + next(n for n, score in enumerate(self.score) if score >= enough)

    def history(self, bound_name: str) -> History:
        """As every method tells it; `bound` is minus the loss."""
        return History(
            bound=-np.array(self.loss),
            change=np.full(len(self.loss), np.nan),
            bound_name=bound_name,
            converged=self.settled,
            stopped=self.stopped,
            held_out=np.array(self.score) if self.score else None,
        )


def train(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    votes: DeviceVotes,
    *,
    n_epochs: int,
    batch_items: int,
    learning_rate: float,
    score: Callable[[], Score] | None = None,
    patience: int = 1,
    shuffle: torch.Generator | None = None,
    on_sweep: OnSweep | None = None,
) -> Training:
    """Train `model(batch) -> loss` in place, and leave it in its best state.

    `shuffle` draws the order of the items anew every epoch; without it the order is theirs.
    """
    with one_thread(votes.device.type == "cpu" and batch_items > 0):
        return _train(
            model,
            partial(_epoch, model, optimiser, votes, batch_items, shuffle),
            n_epochs=n_epochs,
            learning_rate=learning_rate,
            score=score,
            patience=patience,
            on_sweep=on_sweep,
        )


@contextmanager
def one_thread(wanted: bool) -> Iterator[None]:
    """Small steps gain nothing from threads, and lose much where other work wants the cores.

    Sums then run in one order, so that a seed gives the same bits on any number of cores.
    """
    before = torch.get_num_threads()
    if wanted:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(
    model: nn.Module,
    run_epoch: Callable[[], float],
    *,
    n_epochs: int,
    learning_rate: float,
    score: Callable[[], Score] | None,
    patience: int,
    on_sweep: OnSweep | None,
) -> Training:
    run, best = Training(), copy.deepcopy(model.state_dict())
    for epoch in range(1, n_epochs + 1):
        before = best if score else copy.deepcopy(model.state_dict())
        loss = run_epoch()
        if not math.isfinite(loss):
            model.load_state_dict(best)
            run.problems = (
                f"the loss was {loss} in epoch {epoch} at learning_rate={learning_rate:g}; the "
                f"state of epoch {run.best_epoch} was kept: lower learning_rate",
            )
            return run
        run.loss.append(loss)
        if score is not None:
            found = score()
            run.score.append(found.mean)
            if found.mean > run.best.mean + (LEAST_GAIN if run.best_epoch else 0.0):
                run.best_epoch, run.best = epoch, found
                best = copy.deepcopy(model.state_dict())
        else:  # a state is known to be good when the next epoch has seen its loss
            run.best_epoch, best = epoch - 1, before
        run.settled = score is not None and epoch - run.best_epoch >= patience
        if on_sweep is not None:
            run.stopped = bool(on_sweep(Sweep(epoch, n_epochs, math.nan, -loss)))
        if run.settled or run.stopped:
            break
    if score is None:
        run.best_epoch = len(run.loss)
    else:
        model.load_state_dict(best)
    run.settled = (run.settled or score is None) and not run.stopped
    if not (run.settled or run.stopped):
        run.problems = (
            f"n_epochs={n_epochs} ended training before the votes left out had been foretold no "
            f"better for {patience} epochs; the best was epoch {run.best_epoch}: raise n_epochs",
        )
    return run


def _epoch(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    votes: DeviceVotes,
    batch_items: int,
    shuffle: torch.Generator | None,
) -> float:
    """One pass; the mean loss of an item before each step."""
    order = votes.in_order()
    if shuffle is not None:
        order = torch.randperm(votes.n_items, generator=shuffle).to(order.device)
    total = torch.zeros((), device=order.device)
    for index in votes.batches(order, batch_items):
        optimiser.zero_grad()
        loss = model(votes.batch(index))
        loss.backward()
        optimiser.step()
        total += loss.detach() * len(index)
    return float(total) / votes.n_items


def choose_left_out(
    votes: Votes, share: float, rng: np.random.Generator
) -> Bool[np.ndarray, " vote"]:
    """Which votes to keep out: about this share, one an item stays at least."""
    key = rng.random(votes.n_votes)
    out = key < share
    item = votes.item
    kept = np.bincount(item, ~out, votes.n_items) > 0
    lowest = np.minimum.reduceat(key, votes.item_offsets[:-1][votes.votes_per_item > 0])
    stays = np.zeros(votes.n_items)
    stays[votes.votes_per_item > 0] = lowest
    return out & (kept[item] | (key != stays[item]))


def some_votes(votes: Votes, chosen: Bool[np.ndarray, " vote"]) -> Votes:
    """The votes where `chosen` is true, items and workers as they are."""
    offsets = np.zeros(votes.n_items + 1, dtype=np.int64)
    np.cumsum(np.bincount(votes.item[chosen], minlength=votes.n_items), out=offsets[1:])
    return Votes(
        items=votes.items,
        workers=votes.workers,
        classes=votes.classes,
        item_offsets=offsets,
        worker=votes.worker[chosen],
        label=votes.label[chosen],
    )


ITEMS_AT_ONCE = 20_000


@torch.no_grad()
def predicted(
    believes: Callable[[ItemVotes], Float[Tensor, "item class"]],
    log_vote: Callable[[ItemVotes], Float[Tensor, "vote class"]],
    rest: DeviceVotes,
    out: DeviceVotes,
) -> Score:
    """How well the votes `out` are foretold; `believes` gives log posteriors of items."""
    total, squares, count = 0.0, 0.0, 0
    for index in rest.batches(rest.in_order(), ITEMS_AT_ONCE):
        left_out = out.batch(index)
        belief = believes(rest.batch(index))[left_out.item]
        each = torch.logsumexp(belief + log_vote(left_out), 1).double()
        total, squares = total + float(each.sum()), squares + float(each.square().sum())
        count += len(each)
    count = max(count, 1)
    variance = max(squares / count - (total / count) ** 2, 0.0)
    return Score(total / count, math.sqrt(variance / count))


def told_after(on_sweep: OnSweep | None, before: int, of: int) -> OnSweep | None:
    """Tells of a later stage as of one run: `before` epochs are behind it, `of` are all."""
    if on_sweep is None:
        return None
    return lambda sweep: on_sweep(replace(sweep, number=before + sweep.number, of=of))
