"""Epochs of mini-batches, stopped by votes that training has not seen.

A tenth of the votes is kept out (never an item's only vote). After every epoch each of them is
predicted from what the model believes of its item by the item's other votes:
    score = mean over votes left out of  ln sum over k of  p(k | other votes) p(label | k, worker)
Training ends when the score has not risen for `patience` epochs, and the best state is taken.
No truth enters. With nothing kept out, training takes all its epochs.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from crowdlearn.aggregation import History, OnSweep, Sweep
from crowdlearn.neural.batches import DeviceVotes, ItemVotes
from crowdlearn.votes import Votes

LEAST_GAIN = 1e-4  # nats a vote; a smaller rise of the score counts as none


@dataclass(eq=False)
class Training:
    """How a training went, and the state to take from it."""

    loss: list[float] = field(default_factory=list)  # nats an item, one an epoch
    score: list[float] = field(default_factory=list)  # of the votes left out; empty without any
    best_epoch: int = 0  # counts from 1
    best_score: float = -math.inf
    stopped: bool = False
    settled: bool = False
    problems: tuple[str, ...] = ()

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
    score: Callable[[], float] | None = None,
    patience: int = 1,
    shuffle: torch.Generator | None = None,
    on_sweep: OnSweep | None = None,
) -> Training:
    """Train `model(batch) -> loss` in place, and leave it in its best state.

    `shuffle` draws the order of the items anew every epoch; without it the order is theirs.
    """
    run, best = Training(), copy.deepcopy(model.state_dict())
    for epoch in range(1, n_epochs + 1):
        before = best if score else copy.deepcopy(model.state_dict())
        loss = _epoch(model, optimiser, votes, batch_items, shuffle)
        if not math.isfinite(loss):
            model.load_state_dict(best)
            run.problems = (
                f"the loss was {loss} in epoch {epoch} at learning_rate={learning_rate:g}; the "
                f"state of epoch {run.best_epoch} was kept: lower learning_rate",
            )
            return run
        run.loss.append(loss)
        if score is not None:
            run.score.append(score())
            if run.score[-1] > run.best_score + (LEAST_GAIN if run.best_epoch else 0.0):
                run.best_epoch, run.best_score = epoch, run.score[-1]
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
            f"votes left out were still predicted better after {n_epochs} epochs: raise n_epochs",
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
) -> float:
    """Mean log probability of the votes `out`; `believes` gives log posteriors of items."""
    total, count = 0.0, 0
    for index in rest.batches(rest.in_order(), ITEMS_AT_ONCE):
        left_out = out.batch(index)
        belief = believes(rest.batch(index))[left_out.item]
        total += float(torch.logsumexp(belief + log_vote(left_out), 1).sum())
        count += len(left_out.item)
    return total / max(count, 1)
