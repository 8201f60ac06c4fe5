"""How the chosen clients of a round are trained: one after another, or side by side.

`one_by_one` runs every client's steps in turn and serves every network. `side_by_side` stacks the
parameters of the clients and takes the same step of all of them at once (`torch.func.vmap` over the
network), which saves most of the overhead of small networks. Both carry out the same plans and give
the same updates, up to rounding.

What clients descend is the `loss` of their task, cross-entropy by default; another one goes one by
one.

Where clients have unequal numbers of samples, batches are padded and the padding is weighed with
zero; a client that is through leaves the stack. Batch normalisation would see the padding, so
networks that have it go one by one (`engine_for`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import vmap
from torch.nn.functional import cross_entropy

from fedsec.core.functional import (
    Parameters,
    State,
    as_function,
    gradient,
    has_batch_statistics,
)
from fedsec.core.record import Kind, Update
from fedsec.data.images import Images
from fedsec.errors import SettingsError
from fedsec.federated.local import FullGradient, LocalTraining, Plan
from fedsec.federated.loss import CROSS_ENTROPY, CrossEntropy, TaskLoss

Local = LocalTraining | FullGradient


@dataclass(frozen=True, eq=False)
class Trained:
    """What came back from a client: its update, and what was measured on the way.

    loss, loss_rms  mean, and root of the mean square, of its samples' losses in the first epoch
    seconds         that its training took; a share by steps where clients ran side by side
    """

    update: Update
    loss: float
    loss_rms: float
    seconds: float


Engine = Callable[[nn.Module, State, Images, Sequence[Plan], Local, int], list[Trained]]
"""(net, state sent out, training set, plans, local, round) -> what came back, in that order."""


def engine_for(net: nn.Module, loss: TaskLoss = CROSS_ENTROPY) -> Engine:
    """The faster engine that serves this network and this loss."""
    if not isinstance(loss, CrossEntropy):
        return partial(one_by_one, loss=loss)
    return one_by_one if has_batch_statistics(net) else side_by_side


def one_by_one(
    net: nn.Module, state: State, train: Images, plans: Sequence[Plan], local: Local, number: int,
    loss: TaskLoss = CROSS_ENTROPY,
) -> list[Trained]:  # fmt: skip
    """Train the clients in turn. Needs room for one model beside the updates."""
    net.train()
    return [_train_one(net, state, train, one, local, number, loss) for one in plans]


def _train_one(
    net: nn.Module, state: State, train: Images, steps: Plan, local: Local, number: int,
    loss: TaskLoss,
) -> Trained:  # fmt: skip
    started = time.perf_counter()
    mine = state.clone()
    weights = [value.requires_grad_() for value in mine.parameters.values()]
    start = list(state.parameters.values())
    momentum: list[Tensor] | None = None
    total = torch.zeros(2, dtype=torch.float64, device=train.x.device)
    draws = loss.draws(steps, train.x.device)
    for index, batch in enumerate(_to_device(steps.batches, train)):
        ids = batch[: _filled(steps, index)]
        losses = loss.losses(net, mine, train.x[ids], train.y[ids], draws)
        if index < steps.first:
            total += _sums(losses.detach())
        if isinstance(local, FullGradient):
            found = gradient(losses.mean(), mine.parameters)
            return _came_back("gradient", found, mine.buffers, steps, total, started, number)
        slopes = list(torch.autograd.grad(losses.mean(), weights))
        with torch.no_grad():
            momentum = _descend(weights, slopes, momentum, start, steps.lr, local)
    with torch.no_grad():
        delta = {name: value - state.parameters[name] for name, value in mine.parameters.items()}
    return _came_back("delta", delta, mine.buffers, steps, total, started, number)


def _came_back(
    kind: Kind, tensors: Parameters, buffers: Parameters, steps: Plan, total: Tensor,
    started: float, number: int,
) -> Trained:  # fmt: skip
    mean, square = (total / steps.n).tolist()
    update = Update(
        kind=kind, tensors={name: value.detach() for name, value in tensors.items()},
        round=number, client=steps.client, n=steps.n, buffers=buffers,
    )  # fmt: skip
    return Trained(update, mean, square**0.5, time.perf_counter() - started)


def side_by_side(
    net: nn.Module, state: State, train: Images, plans: Sequence[Plan], local: Local, number: int
) -> list[Trained]:
    """Train the clients at once. Needs room for one model, gradient and momentum for each of them.

    Raises SettingsError for a network with batch normalisation.
    """
    if has_batch_statistics(net):
        raise SettingsError(
            "batch normalisation would see the padding of the batches: train one by one,"
            " or use group normalisation"
        )
    net.train()
    started = time.perf_counter()
    longest_first = sorted(range(len(plans)), key=lambda k: -len(plans[k].batches))
    ordered = [plans[k] for k in longest_first]
    ids, share = _stacked(ordered, train)
    weights = [
        value.expand(len(plans), *value.shape).clone() for value in state.parameters.values()
    ]
    met: list[Tensor] = []
    forward = _forward(net, state)
    momentum: list[Tensor] | None = None
    gradients: list[Tensor] = []
    n_active = [sum(len(one.batches) > step for one in ordered) for step in range(ids.shape[1])]
    rates = torch.tensor([one.lr for one in ordered], dtype=weights[0].dtype, device=train.x.device)
    rate: Tensor | float = ordered[0].lr if len({one.lr for one in ordered}) == 1 else rates
    for step, n in enumerate(n_active):
        if step == 0 or n != n_active[step - 1]:
            active = [value[:n].requires_grad_() for value in weights]
            momentum = None if momentum is None else [value[:n] for value in momentum]
        rows = ids[:n, step].reshape(-1)
        logits = forward(active, train.x[rows].unflatten(0, (n, -1)))
        losses = cross_entropy(logits.flatten(0, 1), train.y[rows], reduction="none")
        losses = losses.unflatten(0, (n, -1))
        slopes = list(torch.autograd.grad((losses * share[:n, step]).sum(), active))
        met.append(losses.detach())
        with torch.no_grad():
            if isinstance(local, FullGradient):
                gradients = slopes
                break
            at = rate if isinstance(rate, float) else rate[:n]
            momentum = _descend(
                active, slopes, momentum, list(state.parameters.values()), at, local
            )
    sent = gradients or [
        value.detach() - start
        for value, start in zip(weights, state.parameters.values(), strict=True)
    ]
    total = _first_sums(met, share, ordered)
    return _unstacked(
        sent, state, plans, longest_first, total, isinstance(local, FullGradient), started, number
    )


def _forward(net: nn.Module, state: State) -> Callable[[list[Tensor], Tensor], Tensor]:
    """(stacked parameters, (client, sample, ...)) -> (client, sample, class)."""
    names, call = list(state.parameters), as_function(net)

    def one(parameters: list[Tensor], x: Tensor) -> Tensor:
        return call(dict(zip(names, parameters, strict=True)), state.buffers, x)

    stacked: Callable[[list[Tensor], Tensor], Tensor] = vmap(one, randomness="different")
    return stacked


def _stacked(
    plans: Sequence[Plan], train: Images
) -> tuple[Int[Tensor, "client step sample"], Float[Tensor, "client step sample"]]:
    """Sample indices (0 where padded), and each sample's share in the mean of its batch."""
    width = max(one.batches.shape[1] for one in plans)
    ids = np.full((len(plans), len(plans[0].batches), width), -1, dtype=np.int64)
    for k, one in enumerate(plans):
        ids[k, : one.batches.shape[0], : one.batches.shape[1]] = one.batches
    share = (ids >= 0) / np.maximum((ids >= 0).sum(axis=2, keepdims=True), 1)
    return (
        torch.from_numpy(np.maximum(ids, 0)).to(train.x.device),
        torch.from_numpy(share).to(train.x),
    )


def _first_sums(
    met: Sequence[Float[Tensor, "_ sample"]],
    share: Float[Tensor, "client step sample"],
    plans: Sequence[Plan],
) -> Float[Tensor, "client moment"]:
    """Sums of the losses, and of their squares, over each client's first epoch; longest first."""
    first = torch.tensor([one.first for one in plans], device=share.device)
    share = share[:, : int(first.max())]
    losses = torch.zeros_like(share, dtype=torch.float64)
    for step, of_step in enumerate(met[: share.shape[1]]):
        losses[: len(of_step), step] = of_step.double()
    steps = torch.arange(share.shape[1], device=share.device)
    losses *= (share > 0) & (steps < first[:, None])[:, :, None]
    return torch.stack((losses.sum((1, 2)), (losses**2).sum((1, 2))), dim=1)


def _unstacked(
    sent: Sequence[Tensor], state: State, plans: Sequence[Plan], order: Sequence[int],
    total: Tensor, is_gradient: bool, started: float, number: int,
) -> list[Trained]:  # fmt: skip
    seconds = time.perf_counter() - started
    n_steps = sum(len(one.batches) for one in plans)
    found: dict[int, Trained] = {}
    for place, k in enumerate(order):
        one = plans[k]
        mean, square = (total[place] / one.n).tolist()
        update = Update(
            kind="gradient" if is_gradient else "delta",
            tensors=dict(zip(state.parameters, (value[place] for value in sent), strict=True)),
            round=number, client=one.client, n=one.n,
            buffers={name: value.clone() for name, value in state.buffers.items()},
        )  # fmt: skip
        found[k] = Trained(update, mean, square**0.5, seconds * len(one.batches) / n_steps)
    return [found[k] for k in range(len(plans))]


def _descend(
    weights: list[Tensor], slopes: list[Tensor], momentum: list[Tensor] | None,
    start: list[Tensor], lr: float | Tensor, local: LocalTraining,
) -> list[Tensor] | None:  # fmt: skip
    """One step of SGD in place, as torch.optim.SGD takes it; gives the momentum."""
    if local.prox:
        torch._foreach_add_(
            slopes, torch._foreach_sub(weights, _like(start, weights)), alpha=local.prox
        )
    if local.weight_decay:
        torch._foreach_add_(slopes, weights, alpha=local.weight_decay)
    if local.momentum:
        if momentum is None:
            momentum = slopes
        else:
            torch._foreach_mul_(momentum, local.momentum)
            torch._foreach_add_(momentum, slopes)
        slopes = momentum
    if isinstance(lr, Tensor):
        slopes = [slope * lr.view(-1, *[1] * (slope.dim() - 1)) for slope in slopes]
        torch._foreach_sub_(weights, slopes)
    else:
        torch._foreach_add_(weights, slopes, alpha=-lr)
    return momentum


def _like(start: list[Tensor], weights: list[Tensor]) -> list[Tensor]:
    return [value.expand_as(weight) for value, weight in zip(start, weights, strict=True)]


def _sums(losses: Float[Tensor, " sample"]) -> Float[Tensor, " moment"]:
    exact = losses.double()
    return torch.stack((exact.sum(), (exact**2).sum()))


def _to_device(ids: Int[np.ndarray, "step batch"], train: Images) -> Int[Tensor, "step sample"]:
    return torch.from_numpy(ids).to(train.x.device)


def _filled(steps: Plan, index: int) -> int:
    return int((steps.batches[index] >= 0).sum())
